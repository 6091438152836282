-- no-transaction
--
-- Replays: events that were skipped, that failed, or that are dead letters, sent through processing again.

-- `pancake_webhook_event` is written to all the time, so its index is built concurrently: in steps, for the
-- reasons that 0003 gives.

drop index concurrently if exists pancake_webhook_event_replayable_idx;

-- next step
create index concurrently pancake_webhook_event_replayable_idx
    on pancake_webhook_event (country_code, event_id)
    where status in ('skipped_kill_switch', 'skipped_source_disabled', 'failed', 'dead_letter');

-- next step
create table pancake_replay (
    replay_id    uuid        primary key,
    country_code text        not null check (country_code ~ '^[A-Z]{2}$'),
    filter       jsonb       not null
        check (jsonb_typeof(filter) = 'object' and octet_length(filter::text) <= 65536),
    state        text        not null default 'counted'
        check (state in ('counted', 'running', 'done', 'cancelled')),
    total        bigint      not null check (total >= 0),
    done         bigint      not null default 0 check (done >= 0),
    after_event  uuid,
    created_by   text        not null check (octet_length(created_by) between 1 and 256),
    created_at   timestamptz not null default now(),
    finished_at  timestamptz,
    constraint pancake_replay_finished_at_iff_ended
        check ((state in ('done', 'cancelled')) = (finished_at is not null))
);

create index pancake_replay_running_idx on pancake_replay (created_at) where state = 'running';

comment on table pancake_replay is
    'A selection of events that somebody counted, and then let wait for processing again. Running one twice '
    'moves nothing twice: an event that waits, or was processed, is in no selection.';
comment on column pancake_replay.replay_id is 'UUIDv7 made by the core.';
comment on column pancake_replay.country_code is 'ISO 3166-1 alpha-2: whose events.';
comment on column pancake_replay.filter is 'Which events; null or absent is any. No personal data.';
comment on column pancake_replay.state is
    'counted = nothing has been moved; running = batch by batch; cancelled = what was moved stays moved.';
comment on column pancake_replay.total is 'How many there were when it was counted.';
comment on column pancake_replay.done is 'How many have been moved.';
comment on column pancake_replay.after_event is 'Where it goes on: events are taken in the order of their ids.';
comment on column pancake_replay.created_by is 'The "sub" of whoever counted it.';
comment on column pancake_replay.created_at is 'When it was counted.';
comment on column pancake_replay.finished_at is 'When it ended.';

grant select, insert, update on pancake_replay to core_app;

create policy core_app_serves on pancake_replay to core_app using (true) with check (true);
create policy staff_see on pancake_replay for select to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
create policy staff_add on pancake_replay for insert to core_staff
    with check (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
create policy staff_change on pancake_replay for update to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
alter table pancake_replay enable row level security;
grant select on pancake_replay to core_staff;
grant insert (replay_id, country_code, filter, total, created_by) on pancake_replay to core_staff;
grant update (state, finished_at) on pancake_replay to core_staff;
