-- The events stay. What people set up goes: connections with their keys, sources, watermarks.
drop table pancake_reconciliation_run;
drop table pancake_watermark;
drop table pancake_source;
drop table pancake_connection_status;
drop table pancake_connection;
drop index pancake_webhook_event_normalized_phone_idx;
alter table pancake_webhook_event drop column normalized_phone;
