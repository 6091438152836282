lock table pancake_reconciliation_run, pancake_watermark, pancake_source, pancake_connection_status,
    pancake_connection, pancake_webhook_event in access exclusive mode;

-- next step
select 'hard', 'drops pancake_reconciliation_run', count(*) from pancake_reconciliation_run
union all select 'hard', 'drops pancake_watermark', count(*) from pancake_watermark
union all select 'hard', 'drops pancake_source', count(*) from pancake_source
union all select 'hard', 'drops pancake_connection_status', count(*) from pancake_connection_status
union all select 'hard', 'drops pancake_connection', count(*) from pancake_connection
union all
select 'hard', 'drops pancake_webhook_event.normalized_phone', count(normalized_phone)
from pancake_webhook_event;
