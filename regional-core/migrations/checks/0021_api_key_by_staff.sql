lock table pancake_connection in access exclusive mode;

-- next step
select 'hard', 'keeps staff from giving a connection its API key', 0::bigint;
