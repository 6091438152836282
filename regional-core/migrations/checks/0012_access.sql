lock table account, app_setting, contact_book, customer_consent, notification, pancake_connection,
    pancake_connection_status, pancake_reconciliation_run, pancake_rejected_request, pancake_source,
    pancake_watermark, pancake_webhook_event, staff, staff_absence, staff_source, ticket, ticket_assignment,
    audit_log in access exclusive mode;

-- next step
select 'hard', 'drops audit_log', count(*) from audit_log;
