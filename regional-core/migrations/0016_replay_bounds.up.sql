-- A replay's bounds: how far it was counted, and at which event it ends, whatever is held back meanwhile.

set local lock_timeout = '3s';
alter table pancake_replay add column is_truncated boolean not null default false;
alter table pancake_replay add column until_event uuid;
comment on column pancake_replay.is_truncated is
    'Whether there were more than are counted: then total is what was found among those.';
comment on column pancake_replay.until_event is
    'The last event that it may move: the latest when it began to run. Null = it has not begun.';

grant insert (is_truncated) on pancake_replay to core_staff;
