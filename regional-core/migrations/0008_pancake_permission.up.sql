-- Pancake's settings are for admins.
insert into module_permission_action (module, action, role) values
    ('pancake_crm_integration', 'access', 'admin'),
    ('pancake_crm_integration', 'manage_connection', 'admin'),
    ('pancake_crm_integration', 'manage_source', 'admin'),
    ('pancake_crm_integration', 'toggle_switch', 'admin'),
    ('pancake_crm_integration', 'replay', 'admin'),
    ('pancake_crm_integration', 'view_report', 'admin');
