-- Tickets and customers stay; which event made them is forgotten. Events that failed wait again.
create index pancake_webhook_event_received_idx
    on pancake_webhook_event (received_at) where status = 'received';
revoke update (status, attempts, due_at, cause, account_id, ticket_id, settled_at, normalized_phone)
    on pancake_webhook_event from core_app;
update pancake_webhook_event set status = 'received', due_at = null where status = 'failed';
drop index ticket_open_record_key, ticket_record_idx;
alter table ticket
    drop column connection_id,
    drop column record_id,
    drop column record_modified_on,
    drop column record_digest,
    drop column phone_state;
drop index pancake_webhook_event_due_idx, pancake_webhook_event_backlog_idx;
alter table pancake_webhook_event
    drop column attempts,
    drop column due_at,
    drop column cause,
    drop column account_id,
    drop column ticket_id,
    drop column settled_at;
comment on column pancake_webhook_event.status is
    'received = committed; ingested = claimed by processing; processed = its ticket is committed.';
