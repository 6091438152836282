-- no-transaction
--
-- What the core knows of Pancake: connections, sources, how far each table was polled, and what the
-- reconciliation found. And the normalised phone number of each event.
--
-- `pancake_webhook_event` is written to all the time and is the largest table, so its index is built
-- concurrently: in steps, for the reasons that 0003 gives. The new tables are all made in the last one.

set local lock_timeout = '3s';
alter table pancake_webhook_event add column if not exists normalized_phone text;
alter table pancake_webhook_event
    drop constraint if exists pancake_webhook_event_normalized_phone_is_e164;
alter table pancake_webhook_event add constraint pancake_webhook_event_normalized_phone_is_e164
    check (normalized_phone ~ '^\+[1-9][0-9]{6,14}$') not valid;

-- next step
-- An earlier run may have left it, invalid.
drop index concurrently if exists pancake_webhook_event_normalized_phone_idx;

-- next step
create index concurrently pancake_webhook_event_normalized_phone_idx
    on pancake_webhook_event (country_code, normalized_phone) where normalized_phone is not null;

-- next step
alter table pancake_webhook_event
    validate constraint pancake_webhook_event_normalized_phone_is_e164;

-- next step
comment on column pancake_webhook_event.normalized_phone is
    'phone_number in E.164, written when the event is processed. Personal data.';

create table pancake_connection (
    connection_id     text        primary key check (octet_length(connection_id) between 1 and 64),
    country_code      text        not null check (country_code ~ '^[A-Z]{2}$'),
    workspace         text        check (octet_length(workspace) between 1 and 256),
    api_key_encrypted bytea       check (octet_length(api_key_encrypted) between 1 and 4096),
    status            text        not null default 'active'
        check (status in ('active', 'suspended', 'disabled')),
    status_changed_at timestamptz not null default now(),
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now(),
    constraint pancake_connection_country_key unique (country_code, connection_id)
);

comment on table pancake_connection is
    'A Pancake workspace that sends to us. Its token and webhook secret are the edge''s, not ours.';
comment on column pancake_connection.connection_id is 'As the edge names it in the hop.';
comment on column pancake_connection.country_code is 'ISO 3166-1 alpha-2: whose leads it brings.';
comment on column pancake_connection.workspace is 'Pancake''s name of it, for its REST interface.';
comment on column pancake_connection.api_key_encrypted is
    'The key of Pancake''s REST interface, sealed by the core. Null = not polled.';
comment on column pancake_connection.status is
    'suspended = Pancake stopped it, after too many failures; disabled = we did.';
comment on column pancake_connection.status_changed_at is 'Since when the status holds.';
comment on column pancake_connection.created_at is 'When the row was made.';
comment on column pancake_connection.updated_at is 'When the row was changed last.';

-- A connection belongs to one country. Should events name two, the latest one is where it is now.
insert into pancake_connection (connection_id, country_code)
select distinct on (connection_id) connection_id, country_code
from pancake_webhook_event
order by connection_id, received_at desc, event_id desc;

create table pancake_connection_status (
    change_id     uuid        primary key,
    country_code  text        not null check (country_code ~ '^[A-Z]{2}$'),
    connection_id text        not null,
    status        text        not null check (status in ('active', 'suspended', 'disabled')),
    reason        text        check (octet_length(reason) <= 1024),
    changed_by    text        check (octet_length(changed_by) between 1 and 256),
    changed_at    timestamptz not null default now(),
    constraint pancake_connection_status_connection_fkey foreign key (country_code, connection_id)
        references pancake_connection (country_code, connection_id)
);

create index pancake_connection_status_connection_idx
    on pancake_connection_status (connection_id, changed_at);

comment on table pancake_connection_status is
    'Each change of a connection''s status. Rows are added, never changed.';
comment on column pancake_connection_status.change_id is 'UUIDv7 made by the core.';
comment on column pancake_connection_status.country_code is
    'ISO 3166-1 alpha-2: that of the connection.';
comment on column pancake_connection_status.connection_id is 'Which connection.';
comment on column pancake_connection_status.status is 'What it became.';
comment on column pancake_connection_status.reason is 'Why.';
comment on column pancake_connection_status.changed_by is
    'The "sub" of who changed it. Null = the core found it so.';
comment on column pancake_connection_status.changed_at is 'When.';

create table pancake_source (
    country_code  text        not null check (country_code ~ '^[A-Z]{2}$'),
    connection_id text        not null,
    source_id     text        not null check (octet_length(source_id) between 1 and 256),
    name          text        check (octet_length(name) <= 1024),
    is_active     boolean     not null default false,
    first_seen_at timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    updated_by    text        check (octet_length(updated_by) between 1 and 256),
    primary key (connection_id, source_id),
    constraint pancake_source_connection_fkey foreign key (country_code, connection_id)
        references pancake_connection (country_code, connection_id)
);

comment on table pancake_source is
    'Where a connection''s leads come from, and whether we take them. A source that is new is off.';
comment on column pancake_source.country_code is 'ISO 3166-1 alpha-2: that of the connection.';
comment on column pancake_source.connection_id is 'Whose source it is.';
comment on column pancake_source.source_id is
    'As the records name it; "(none)" stands for records that name none.';
comment on column pancake_source.name is 'What staff call it.';
comment on column pancake_source.is_active is 'Off: its events become skipped_source_disabled.';
comment on column pancake_source.first_seen_at is 'When a record named it first.';
comment on column pancake_source.updated_at is 'When the row was changed last.';
comment on column pancake_source.updated_by is 'The "sub" of who changed it. Null = nobody did.';

create table pancake_watermark (
    connection_id  text        not null,
    country_code   text        not null check (country_code ~ '^[A-Z]{2}$'),
    table_name     text        not null check (table_name in ('lead', 'account', 'contact')),
    layer          text        not null check (octet_length(layer) between 1 and 32),
    complete_until timestamptz,
    gaps           jsonb       not null default '[]'
        check (jsonb_typeof(gaps) = 'array' and octet_length(gaps::text) <= 65536),
    updated_at     timestamptz not null default now(),
    primary key (connection_id, table_name, layer),
    constraint pancake_watermark_connection_fkey foreign key (country_code, connection_id)
        references pancake_connection (country_code, connection_id)
);

comment on table pancake_watermark is 'Up to which moment we have all that Pancake has.';
comment on column pancake_watermark.connection_id is 'Of which connection.';
comment on column pancake_watermark.country_code is 'ISO 3166-1 alpha-2: that of the connection.';
comment on column pancake_watermark.table_name is 'Of which of Pancake''s tables.';
comment on column pancake_watermark.layer is 'The way by which it was asked for: see the events'' layer.';
comment on column pancake_watermark.complete_until is
    'All that was changed before is here, but for the gaps. Null = nothing was asked for yet.';
comment on column pancake_watermark.gaps is 'Spans before it that are still to be asked for.';
comment on column pancake_watermark.updated_at is 'When the row was changed last.';

create table pancake_reconciliation_run (
    run_id        uuid        primary key,
    country_code  text        not null check (country_code ~ '^[A-Z]{2}$'),
    connection_id text        not null,
    window_from   timestamptz not null,
    window_to     timestamptz not null,
    started_at    timestamptz not null default now(),
    finished_at   timestamptz check (finished_at >= started_at),
    checked       bigint      not null default 0 check (checked >= 0),
    missing       bigint      not null default 0 check (missing >= 0),
    healed        bigint      not null default 0 check (healed between 0 and missing),
    error         text        check (octet_length(error) <= 1024),
    constraint pancake_reconciliation_run_window_is_a_span check (window_to > window_from),
    constraint pancake_reconciliation_run_connection_fkey foreign key (country_code, connection_id)
        references pancake_connection (country_code, connection_id)
);

create index pancake_reconciliation_run_connection_idx
    on pancake_reconciliation_run (connection_id, started_at);

comment on table pancake_reconciliation_run is
    'A comparison of Pancake''s records with ours over a span of time.';
comment on column pancake_reconciliation_run.run_id is 'UUIDv7 made by the core.';
comment on column pancake_reconciliation_run.country_code is
    'ISO 3166-1 alpha-2: that of the connection.';
comment on column pancake_reconciliation_run.connection_id is 'Of which connection.';
comment on column pancake_reconciliation_run.window_from is 'The first moment that was compared.';
comment on column pancake_reconciliation_run.window_to is 'The first moment that was not.';
comment on column pancake_reconciliation_run.started_at is 'When it began.';
comment on column pancake_reconciliation_run.finished_at is 'When it ended. Null = not yet, or never.';
comment on column pancake_reconciliation_run.checked is 'How many of Pancake''s records were compared.';
comment on column pancake_reconciliation_run.missing is 'How many of them we did not have.';
comment on column pancake_reconciliation_run.healed is 'How many of those were brought in.';
comment on column pancake_reconciliation_run.error is
    'Why it did not end well: our words, nothing received. Null = it did.';

grant select, insert, update
    on pancake_connection, pancake_source, pancake_watermark, pancake_reconciliation_run
    to core_app;
grant select, insert on pancake_connection_status to core_app;
