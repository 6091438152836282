lock table pancake_watermark in access exclusive mode;

-- next step
select 'hard', 'keeps staff from changing the workspace of a connection', 0::bigint;
