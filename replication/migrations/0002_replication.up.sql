-- What carries master data from the hub to every region, and what proves that it arrived.
--
-- In the hub, triggers write every change into `change_log` (an outbox), in the order of the commits: a
-- writer holds one advisory lock from its first statement to its commit, so `seq` rises as commits do,
-- and whoever has seen a row has seen all rows below it. `replicator relay` publishes the log. In a
-- region, `replicator apply` writes the tables and `applied_position` in one transaction.
--
-- A row's version is the `seq` of its last change, so it rises over deletions too. The upper bits of a
-- `seq` are the stream's epoch (`seq >> 40`), so a stream that begins anew stands above all before it.
--
-- Which of the two a database is, says `node`; hub.sql and region.sql make it one.

create table smp_global.node (
    only_one  boolean primary key default true check (only_one),
    region_id text    not null check (octet_length(region_id) between 2 and 32),
    role      text    not null check (role in ('hub', 'region'))
);
comment on table smp_global.node is 'Whose database this is, and its part in master data.';

create sequence smp_global.change_seq as bigint start 1099511627777; -- epoch 1

create table smp_global.change_log (
    seq          bigint      primary key,
    kind         text        not null
        check (kind in ('row', 'delete', 'tombstone', 'heartbeat', 'digest', 'restate_begin', 'restate_end')),
    table_name   text,
    key          jsonb,
    content      json,
    committed_at timestamptz not null default clock_timestamp(),
    check ((kind in ('row', 'delete', 'tombstone', 'digest')) = (table_name is not null)),
    check ((kind in ('row', 'delete', 'tombstone')) = (key is not null))
);
comment on table smp_global.change_log is
    'The outbox of the hub. Published rows are removed after a day.';
comment on column smp_global.change_log.seq is
    'Order of the commits. The epoch of the stream is in the bits above the 40th.';
comment on column smp_global.change_log.key is 'The primary key as an object.';
comment on column smp_global.change_log.content is
    'row: the whole row. digest: {rows, hash}. restate_end: {since, rows}, the seq of its
    beginning and how many rows were sent.';
comment on column smp_global.change_log.committed_at is
    'When the change was made, by the hub''s clock: within the transaction, shortly before its commit.';

create table smp_global.relay_state (
    only_one         boolean primary key default true check (only_one),
    published_seq    bigint      not null default 0,
    published_offset bigint      not null default -1,
    published_at     timestamptz,
    restated_seq     bigint      not null default 0,
    restated_at      timestamptz
);
insert into smp_global.relay_state default values;
comment on table smp_global.relay_state is
    'Up to where the change log is in Kafka, and the offset of its last record there; where the last restate '
    'ended.';

create table smp_global.region_report (
    region_id    text        primary key,
    answered_at  timestamptz,
    applied_seq  bigint      not null default 0,
    compared_seq bigint      not null default 0,
    differs      boolean     not null default false,
    error        text
);
comment on table smp_global.region_report is
    'In the hub: what each region''s replicator said last of its position, and why it said nothing since.';

create table smp_global.deleted_row (
    table_name  text   not null,
    key         jsonb  not null,
    row_version bigint not null,
    primary key (table_name, key)
);
comment on table smp_global.deleted_row is
    'In a region: versions of deleted rows, so that an older change that comes late does not bring one back. '
    'In the hub: deletions that not every region has passed yet.';

create table smp_global.table_digest (
    table_name text    primary key,
    row_count  bigint  not null default 0,
    hash       numeric not null default 0
);
insert into smp_global.table_digest (table_name)
values ('currencies'), ('countries'), ('currency_rates'), ('tax_configs'), ('i18n_translations');
comment on table smp_global.table_digest is
    'What is in each table, kept by triggers: the number of rows and the sum of their hashes. Equal '
    'digests at one position are equal tables. Its rows are also the list of the tables that are replicated.';

create table smp_global.applied_position (
    only_one       boolean     primary key default true check (only_one),
    next_offset    bigint      not null default 0,
    applied_seq    bigint      not null default 0,
    restate_since  bigint      not null default 0,
    applied_at     timestamptz not null default now()
);
insert into smp_global.applied_position default values;
comment on table smp_global.applied_position is
    'In a region: up to where the stream is applied. Written in the transaction that applies.';
comment on column smp_global.applied_position.restate_since is
    'Where the last finished restate began. No row is older, so what comes and is older is ignored.';

create table smp_global.applied_heartbeat (
    only_one     boolean     primary key default true check (only_one),
    seq          bigint      not null,
    committed_at timestamptz not null,
    published_at timestamptz not null,
    received_at  timestamptz not null,
    applied_at   timestamptz not null
);
comment on table smp_global.applied_heartbeat is
    'In a region: the last heartbeat of the hub, with the time at each hop.';

create table smp_global.digest_check (
    table_name    text        primary key,
    seq           bigint      not null,
    hub_rows      bigint      not null,
    hub_hash      numeric     not null,
    region_rows   bigint      not null,
    region_hash   numeric     not null,
    is_same       boolean     not null,
    checked_at    timestamptz not null default now(),
    differs_since timestamptz
);
comment on table smp_global.digest_check is
    'In a region: each table against the hub''s digest, at exactly the position of that digest.';

create table smp_global.parked_record (
    parked_id    bigint generated always as identity primary key,
    kafka_offset bigint      not null,
    record_key   bytea,
    record_value bytea,
    headers      jsonb       not null,
    cause        text        not null check (octet_length(cause) between 1 and 1024),
    parked_at    timestamptz not null default now(),
    healed_at    timestamptz
);
comment on table smp_global.parked_record is
    'In a region: records that could not be applied, whole, with the cause. They block nothing.';
comment on column smp_global.parked_record.healed_at is
    'When a restate had sent every row again, so that nothing is missing because of this record.';

-- 64 bits of a hash that no version of PostgreSQL computes differently.
-- A row as text depends on two settings, so whoever calls it sets both.
create function smp_global.row_hash(line text) returns bigint
language sql immutable strict parallel safe
return ('x' || substr(md5(line), 1, 16))::bit(64)::bigint;

create function smp_global.keep_digest() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, YMD' as $$
declare
    added_rows bigint := 0; added_hash numeric := 0;
    gone_rows bigint := 0; gone_hash numeric := 0;
begin
    if tg_op in ('INSERT', 'UPDATE') then
        select count(*), coalesce(sum(smp_global.row_hash(r::text)), 0)
        into added_rows, added_hash from new_rows r;
    end if;
    if tg_op in ('DELETE', 'UPDATE') then
        select count(*), coalesce(sum(smp_global.row_hash(r::text)), 0)
        into gone_rows, gone_hash from old_rows r;
    end if;
    if added_rows + gone_rows > 0 then
        update smp_global.table_digest
        set row_count = row_count + added_rows - gone_rows, hash = hash + added_hash - gone_hash
        where table_name = tg_table_name;
    end if;
    return null;
end $$;

-- The digest of a table as it is now, computed from all of its rows.
create function smp_global.recount_digest(name text, out row_count bigint, out hash numeric)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, YMD' as $$
begin
    execute format(
        'select count(*), coalesce(sum(smp_global.row_hash(r::text)), 0) from smp_global.%I r',
        name) into row_count, hash;
end $$;

-- Sets each table's digest to what its rows come to: after a restate, whatever was done behind the triggers.
create function smp_global.rebase_digests() returns void
language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    update smp_global.table_digest d set row_count = r.row_count, hash = r.hash
    from smp_global.table_digest t, lateral smp_global.recount_digest(t.table_name) r
    where t.table_name = d.table_name;
end;

create function smp_global.refuse_truncate() returns trigger
language plpgsql as $$
begin
    raise exception 'smp_global.%: truncate is not replicated; use delete', tg_table_name;
end $$;

do $$
declare name text;
begin
    for name in select table_name from smp_global.table_digest
    loop
        execute format('create trigger digest_insert after insert on smp_global.%I '
            'referencing new table as new_rows for each statement execute function smp_global.keep_digest()', name);
        execute format('create trigger digest_update after update on smp_global.%I '
            'referencing old table as old_rows new table as new_rows for each statement execute function smp_global.keep_digest()', name);
        execute format('create trigger digest_delete after delete on smp_global.%I '
            'referencing old table as old_rows for each statement execute function smp_global.keep_digest()', name);
        execute format('create trigger no_truncate before truncate on smp_global.%I '
            'for each statement execute function smp_global.refuse_truncate()', name);
    end loop;
end $$;

-- The lock that all writers of the hub take, one after the other: "smp" in ASCII.
create function smp_global.take_write_lock() returns trigger
language plpgsql as $$
begin
    perform pg_advisory_xact_lock(7564656);
    return null;
end $$;

create function smp_global.set_row_version() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- A restate changes nothing but the version.
    if tg_op = 'INSERT' or new is distinct from old then
        new.updated_at := now();
    end if;
    new.row_version := nextval('smp_global.change_seq');
    return new;
end $$;

-- Writes the outbox. The argument is the primary key of a row `r` as an SQL expression.
create function smp_global.capture_change() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
begin
    if tg_op in ('INSERT', 'UPDATE') then
        execute format(
            'insert into smp_global.change_log (seq, kind, table_name, key, content) '
            'select r.row_version, ''row'', %L, %s, to_json(r) from new_rows r order by r.row_version',
            tg_table_name, tg_argv[0]);
        execute format(
            'delete from smp_global.deleted_row d using new_rows r '
            'where d.table_name = %L and d.key = %s', tg_table_name, tg_argv[0]);
    end if;
    if tg_op in ('DELETE', 'UPDATE') then
        -- A key that an update leaves is deleted.
        execute format(
            'with gone as (select %2$s as key from old_rows r %3$s), '
            'logged as (insert into smp_global.change_log (seq, kind, table_name, key) '
            'select nextval(''smp_global.change_seq''), ''delete'', %1$L, key from gone returning seq, key) '
            'insert into smp_global.deleted_row as d (table_name, key, row_version) '
            'select %1$L, key, seq from logged on conflict (table_name, key) '
            'do update set row_version = excluded.row_version',
            tg_table_name, tg_argv[0],
            case when tg_op = 'UPDATE'
                then format('except select %s from new_rows r', tg_argv[0]) else '' end);
    end if;
    perform pg_notify('smp_global_change', '');
    return null;
end $$;

-- What follows is for `replicator relay`. Each takes the writers' lock, so that its record stands at its
-- exact place between their changes.

create function smp_global.log_heartbeat() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_advisory_xact_lock(7564656);
    insert into smp_global.change_log (seq, kind) values (nextval('smp_global.change_seq'), 'heartbeat');
end $$;

create function smp_global.log_digests() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_advisory_xact_lock(7564656);
    insert into smp_global.change_log (seq, kind, table_name, content)
    select nextval('smp_global.change_seq'), 'digest', table_name,
           json_build_object('rows', row_count, 'hash', hash::text)
    from smp_global.table_digest;
end $$;

-- Sends every row again, between two marks: what a region still has that is older than the first mark is
-- in the hub no more. `above` is the seq that the stream must be above from now on: given where the stream
-- is found to be ahead of this database (a restored backup), or lost.
create function smp_global.restate(above bigint default null) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare begun bigint; name text;
begin
    perform pg_advisory_xact_lock(7564656);
    if above is not null then
        perform setval('smp_global.change_seq',
            ((greatest(above, nextval('smp_global.change_seq')) >> 40) + 1) << 40, true);
    end if;
    begun := nextval('smp_global.change_seq');
    insert into smp_global.change_log (seq, kind) values (begun, 'restate_begin');
    -- Each update gives every row a new version and logs it, as any update does.
    for name in select table_name from smp_global.table_digest
    loop
        execute format('update smp_global.%I set row_version = row_version', name);
    end loop;
    perform smp_global.rebase_digests();
    insert into smp_global.change_log (seq, kind, content)
    select nextval('smp_global.change_seq'), 'restate_end',
           json_build_object('since', begun, 'rows', sum(row_count)::bigint)
    from smp_global.table_digest;
    update smp_global.relay_state
    set restated_seq = currval('smp_global.change_seq'), restated_at = clock_timestamp();
    perform smp_global.log_digests();
    return begun;
end $$;

-- Takes deletions out of the stream that every region has passed: behind each goes a record without a value,
-- and compaction removes both in time. Returns how many.
create function smp_global.log_tombstones(passed bigint) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare logged bigint;
begin
    perform pg_advisory_xact_lock(7564656);
    with gone as (
        delete from smp_global.deleted_row where row_version <= passed returning table_name, key
    )
    insert into smp_global.change_log (seq, kind, table_name, key)
    select nextval('smp_global.change_seq'), 'tombstone', table_name, key from gone;
    get diagnostics logged = row_count;
    if logged > 0 then
        perform pg_notify('smp_global_change', '');
    end if;
    return logged;
end $$;

revoke execute on function smp_global.log_heartbeat(), smp_global.log_digests(), smp_global.restate(bigint),
    smp_global.log_tombstones(bigint), smp_global.recount_digest(text), smp_global.rebase_digests() from public;

-- A trigger that is there needs nobody's right to run its function; a new one on a table of somebody's own
-- would run it with the owner's.
revoke execute on function smp_global.keep_digest(), smp_global.refuse_truncate(), smp_global.take_write_lock(),
    smp_global.set_row_version(), smp_global.capture_change() from public;

-- In a region, only the applier writes: also not the owner, by mistake.
create function smp_global.refuse_write() returns trigger
language plpgsql as $$
begin
    if current_user <> 'master_data_applier' then
        raise exception 'smp_global.%: master data is written in the hub only', tg_table_name
            using errcode = 'insufficient_privilege';
    end if;
    return null;
end $$;
revoke execute on function smp_global.refuse_write() from public;
