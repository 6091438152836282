-- What the five indicators are computed from: when somebody first took up a ticket, and a row a day.

set local lock_timeout = '3s';
alter table ticket add column first_response_at timestamptz;
comment on column ticket.first_response_at is
    'When somebody first took it up: its status became another than open. Null = not yet, or before this was noted.';
grant update (first_response_at) on ticket to core_staff;

create table pancake_daily (
    country_code          text        not null check (country_code ~ '^[A-Z]{2}$'),
    day                   date        not null,
    time_zone             text        not null check (octet_length(time_zone) between 1 and 64),
    events                bigint      not null check (events >= 0),
    processed             bigint      not null check (processed >= 0),
    failed                bigint      not null check (failed >= 0),
    dead_letters          bigint      not null check (dead_letters >= 0),
    skipped               bigint      not null check (skipped >= 0),
    found_by_poll         bigint      not null check (found_by_poll >= 0),
    found_by_reconcile    bigint      not null check (found_by_reconcile >= 0),
    process_p95_seconds   double precision,
    tickets               bigint      not null check (tickets >= 0),
    assigned_automatically bigint     not null check (assigned_automatically >= 0),
    assigned_by_hand      bigint      not null check (assigned_by_hand >= 0),
    first_response_p95_seconds double precision,
    missing               bigint      not null check (missing >= 0),
    computed_at           timestamptz not null default clock_timestamp(),
    primary key (country_code, day)
);

comment on table pancake_daily is
    'A day of a country in figures, computed anew every hour while it lasts and once after. No personal data.';
comment on column pancake_daily.country_code is 'ISO 3166-1 alpha-2: whose.';
comment on column pancake_daily.day is 'By the clock of the country''s first time zone.';
comment on column pancake_daily.time_zone is 'Which that was.';
comment on column pancake_daily.events is 'Events received that day, by whatever layer.';
comment on column pancake_daily.processed is 'Those of them that are processed.';
comment on column pancake_daily.failed is 'Those that are tried again.';
comment on column pancake_daily.dead_letters is 'Those that need somebody.';
comment on column pancake_daily.skipped is 'Those that a switch held back.';
comment on column pancake_daily.found_by_poll is 'Those that polling brought.';
comment on column pancake_daily.found_by_reconcile is 'Those that reconciliation brought.';
comment on column pancake_daily.process_p95_seconds is
    'From receipt to the ticket''s commit, of 95 of 100 processed events at most. Null = there was none.';
comment on column pancake_daily.tickets is 'Tickets of Pancake''s leads that were opened that day.';
comment on column pancake_daily.assigned_automatically is 'Those of them that the distribution gave to somebody.';
comment on column pancake_daily.assigned_by_hand is 'Those that a person gave to somebody, first or later.';
comment on column pancake_daily.first_response_p95_seconds is
    'Until somebody took a ticket up, of 95 of 100 at most; one that nobody took up yet counts with its age.';
comment on column pancake_daily.missing is 'Records that the reconciliations of that day found missing.';
comment on column pancake_daily.computed_at is 'When.';

grant select, insert, update on pancake_daily to core_app;
create policy core_app_serves on pancake_daily to core_app using (true) with check (true);
create policy staff_see on pancake_daily for select to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
alter table pancake_daily enable row level security;
grant select on pancake_daily to core_staff;
