lock table pancake_replay, pancake_webhook_event in access exclusive mode;

-- next step
select 'hard', 'drops pancake_replay', count(*) from pancake_replay;
