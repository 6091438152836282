-- What was blanked cannot come back: such events get an empty object for a payload.
drop function blank_old_events(text, integer, bigint), blank_old_rejected_requests(text, integer, bigint);
drop index pancake_webhook_event_unblanked_idx, pancake_rejected_request_unblanked_idx;
alter table pancake_webhook_event drop constraint pancake_webhook_event_blanked_is_blank;
update pancake_webhook_event set payload = '{}' where payload is null;
alter table pancake_webhook_event drop column blanked_at, alter column payload set not null;
alter table pancake_rejected_request
    drop constraint pancake_rejected_request_blanked_is_blank,
    drop column blanked_at;
comment on column pancake_webhook_event.payload is
    'The body as received. bytea, not jsonb: jsonb refuses U+0000 and forgets spelling and order.';
