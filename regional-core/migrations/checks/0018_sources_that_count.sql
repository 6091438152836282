lock table pancake_webhook_event in share update exclusive mode;

-- next step
select 'hard', 'leaves pancake_webhook_event.source_ids as it is', 0::bigint;
