delete from module_permission_action where module = 'pancake_crm_integration';
