drop table pancake_replay;
drop index pancake_webhook_event_replayable_idx;
