lock table app_setting, module_permission_action, customer_consent, notification,
    notification_template, ticket_assignment, ticket, crm_master_data, staff_source, staff_absence,
    staff, contact_book, account in access exclusive mode;

-- next step
select 'hard', 'drops app_setting', count(*) from app_setting
union all select 'hard', 'drops module_permission_action', count(*) from module_permission_action
union all select 'hard', 'drops customer_consent', count(*) from customer_consent
union all select 'hard', 'drops notification', count(*) from notification
union all select 'hard', 'drops notification_template', count(*) from notification_template
union all select 'hard', 'drops ticket_assignment', count(*) from ticket_assignment
union all select 'hard', 'drops ticket', count(*) from ticket
union all select 'hard', 'drops crm_master_data', count(*) from crm_master_data
union all select 'hard', 'drops staff_source', count(*) from staff_source
union all select 'hard', 'drops staff_absence', count(*) from staff_absence
union all select 'hard', 'drops staff', count(*) from staff
union all select 'hard', 'drops contact_book', count(*) from contact_book
union all select 'hard', 'drops account', count(*) from account;
