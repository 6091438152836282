lock table pancake_connection in access exclusive mode;

-- next step
select 'hard', 'keeps staff from adding to pancake_connection', 0::bigint;
