lock table pancake_replay in access exclusive mode;

-- next step
select 'hard', 'drops pancake_replay', count(*) from pancake_replay;
