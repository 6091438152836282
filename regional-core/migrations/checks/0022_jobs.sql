lock table job_run, pancake_connection, pancake_watermark, pancake_reconciliation_run in access exclusive mode;

-- next step
select 'hard', 'drops job_run', count(*) from job_run;
