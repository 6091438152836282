-- Jobs on a schedule, and the layers beside the webhook: polling and reconciliation of Pancake's records, and up
-- to where each connection is complete.

set local lock_timeout = '3s';

create table job_run (
    run_id       uuid        primary key,
    number       bigint      generated always as identity,
    country_code text        not null check (country_code ~ '^[A-Z]{2}$'),
    job          text        not null check (job in (
        'poll', 'reconciliation', 'source_sync', 'expiry', 'retention', 'stuck_events', 'rollup')),
    state        text        not null
        check (state in ('requested', 'running', 'ok', 'failed', 'interrupted')),
    requested_by text        check (octet_length(requested_by) between 1 and 256),
    parameters   jsonb       not null default '{}'
        check (jsonb_typeof(parameters) = 'object' and octet_length(parameters::text) <= 4096),
    progress     jsonb       not null default '{}'
        check (jsonb_typeof(progress) = 'object' and octet_length(progress::text) <= 16384),
    error        text        check (octet_length(error) <= 1024),
    created_at   timestamptz not null default clock_timestamp(),
    started_at   timestamptz,
    finished_at  timestamptz,
    constraint job_run_requested_iff_not_started
        check ((state = 'requested') = (started_at is null)),
    constraint job_run_finished_iff_ended
        check ((state in ('ok', 'failed', 'interrupted')) = (finished_at is not null))
);

create index job_run_latest_idx on job_run (country_code, job, number);
-- One at a time, in however many cores.
create unique index job_run_running_key on job_run (country_code, job) where state = 'running';
create unique index job_run_requested_key on job_run (country_code, job) where state = 'requested';

comment on table job_run is 'A run of a job for a country, by its schedule or because somebody asked for it.';
comment on column job_run.run_id is 'UUIDv7 made by the core.';
comment on column job_run.number is 'The order of the runs, whatever the clock did.';
comment on column job_run.country_code is 'ISO 3166-1 alpha-2: whose.';
comment on column job_run.job is 'Which job.';
comment on column job_run.state is
    'requested = somebody asked for it, and no core has begun; interrupted = its core ended before it did.';
comment on column job_run.requested_by is 'The "sub" of who asked for it. Null = its schedule.';
comment on column job_run.parameters is 'What was asked for beside the job itself. No personal data.';
comment on column job_run.progress is 'How far it is, in figures. No personal data.';
comment on column job_run.error is 'Why it failed: our words, nothing received.';
comment on column job_run.created_at is 'When the row was made, by the database''s clock.';
comment on column job_run.started_at is 'When it began, by the database''s clock.';
comment on column job_run.finished_at is 'When it ended, or was found to have ended.';

grant select, insert, update, delete on job_run to core_app;
create policy core_app_serves on job_run to core_app using (true) with check (true);
create policy staff_see on job_run for select to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
create policy staff_add on job_run for insert to core_staff
    with check (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager') and state = 'requested');
alter table job_run enable row level security;
grant select on job_run to core_staff;
grant insert (run_id, country_code, job, state, requested_by, parameters) on job_run to core_staff;

-- What Pancake said of a connection's key, and whether its webhooks bring what its lists have.
alter table pancake_connection
    add column api_key_set_at timestamptz,
    add column api_key_accepted_at timestamptz,
    add column api_key_refused_at timestamptz,
    add column webhook_seen_on timestamptz,
    add column missed_records integer not null default 0 check (missed_records >= 0),
    add column missed_since timestamptz;
update pancake_connection set api_key_set_at = updated_at where api_key_encrypted is not null;
comment on column pancake_connection.api_key_set_at is 'When the key was given. Null = there is none.';
comment on column pancake_connection.api_key_accepted_at is 'When Pancake took it last. Pancake disables idle keys.';
comment on column pancake_connection.api_key_refused_at is
    'Since when Pancake refuses it. Null = it does not, as far as we know.';
comment on column pancake_connection.webhook_seen_on is
    'The latest "modified_on" of a record that a webhook brought and a list of Pancake''s has.';
comment on column pancake_connection.missed_records is
    'How many records that are newer than that no webhook brought.';
comment on column pancake_connection.missed_since is 'The "modified_on" of the first of them.';
grant select (api_key_set_at, api_key_accepted_at, api_key_refused_at) on pancake_connection to core_staff;
grant update (api_key_set_at, api_key_accepted_at, api_key_refused_at) on pancake_connection to core_staff;

create policy staff_see on pancake_watermark for select to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
grant select on pancake_watermark to core_staff;
create policy staff_see on pancake_reconciliation_run for select to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
grant select on pancake_reconciliation_run to core_staff;
comment on column pancake_watermark.layer is
    'Of which layers. One row, "all": polling and reconciliation move it, and it counts what any layer brought.';
