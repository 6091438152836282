alter table pancake_replay drop column until_event, drop column is_truncated;
