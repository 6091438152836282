-- The runs are lost, and what was learnt of each connection. The keys and the watermarks stay.
drop policy staff_see on pancake_reconciliation_run;
revoke select on pancake_reconciliation_run from core_staff;
drop policy staff_see on pancake_watermark;
revoke select on pancake_watermark from core_staff;
alter table pancake_connection
    drop column api_key_set_at, drop column api_key_accepted_at, drop column api_key_refused_at,
    drop column webhook_seen_on, drop column missed_records, drop column missed_since;
drop table job_run;
