-- The audit trail is lost, and nothing keeps staff to their country: stop the API for staff first.
drop table audit_log;
do $$
declare
    name text;
    policy text;
begin
    foreach name in array array[
        'account', 'app_setting', 'contact_book', 'customer_consent', 'notification', 'pancake_connection',
        'pancake_connection_status', 'pancake_reconciliation_run', 'pancake_rejected_request', 'pancake_source',
        'pancake_watermark', 'pancake_webhook_event', 'staff', 'staff_absence', 'staff_source', 'ticket',
        'ticket_assignment'
    ] loop
        for policy in select policyname from pg_policies where schemaname = 'public' and tablename = name loop
            execute format('drop policy %I on %I', policy, name);
        end loop;
        execute format('alter table %I disable row level security', name);
        execute format('revoke all on %I from core_staff', name);
    end loop;
end
$$;
revoke all on module_permission_action, crm_master_data, notification_template from core_staff;
drop function smp_countries(), smp_role(), smp_subject(), smp_staff();
drop index pancake_webhook_event_country_idx, pancake_webhook_event_unprocessed_idx,
    pancake_rejected_request_country_idx, ticket_country_idx, ticket_assignee_idx, notification_staff_idx,
    notification_role_idx;
