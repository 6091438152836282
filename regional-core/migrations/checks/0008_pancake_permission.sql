lock table module_permission_action in share row exclusive mode;

-- next step
select 'hard', 'deletes pancake_crm_integration from module_permission_action', count(*)
from module_permission_action where module = 'pancake_crm_integration';
