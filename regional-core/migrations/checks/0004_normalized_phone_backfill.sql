lock table backfill_run in access exclusive mode;

-- next step
select 'hard', 'drops backfill_run', count(*) from backfill_run
union all
select 'hard', 'empties account.normalized_phone', count(*) from account
where phone_number is not null and normalized_phone is not null;
