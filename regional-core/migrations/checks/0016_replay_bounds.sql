lock table pancake_replay in access exclusive mode;

-- next step
select 'hard', 'drops pancake_replay.until_event', count(until_event) from pancake_replay
union all
select 'hard', 'drops pancake_replay.is_truncated', count(*) from pancake_replay where is_truncated;
