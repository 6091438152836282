lock table pancake_reconciliation_run, pancake_watermark, pancake_source, pancake_connection_status,
    pancake_connection in access exclusive mode;

-- next step
select 'hard', 'deletes from pancake_connection those whose name another country had first',
       count(*) - count(distinct connection_id)
from pancake_connection
union all
select 'hard', 'deletes their pancake_source', count(*) from pancake_source join (
    select country_code, connection_id,
           row_number() over (partition by connection_id order by created_at, country_code) as place
    from pancake_connection) as connection using (country_code, connection_id)
where place > 1;
