-- Makes this database the hub's: changes are captured, the editors may write, the relay may publish.
-- Run by the owner; run again, it changes nothing.
do $$
declare
    name text; key_of_r text;
begin
    for name in select table_name from smp_global.table_digest
    loop
        select 'jsonb_build_object(' || string_agg(format('%L, r.%I', a.attname, a.attname), ', ' order by a.attname) || ')'
        into strict key_of_r
        from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
        where i.indrelid = format('smp_global.%I', name)::regclass and i.indisprimary;

        execute format('drop trigger if exists region_guard on smp_global.%I', name);
        execute format('create or replace trigger hub_lock before insert or update or delete on smp_global.%I '
            'for each statement execute function smp_global.take_write_lock()', name);
        execute format('create or replace trigger hub_version before insert or update on smp_global.%I '
            'for each row execute function smp_global.set_row_version()', name);
        execute format('create or replace trigger hub_insert after insert on smp_global.%I '
            'referencing new table as new_rows for each statement '
            'execute function smp_global.capture_change(%L)', name, key_of_r);
        execute format('create or replace trigger hub_update after update on smp_global.%I '
            'referencing old table as old_rows new table as new_rows for each statement '
            'execute function smp_global.capture_change(%L)', name, key_of_r);
        execute format('create or replace trigger hub_delete after delete on smp_global.%I '
            'referencing old table as old_rows for each statement '
            'execute function smp_global.capture_change(%L)', name, key_of_r);

        execute format('revoke all on smp_global.%I from master_data_applier', name);
        execute format('grant select on smp_global.%I to master_data_reader, master_data_relay', name);
        execute format('grant select, insert, update, delete on smp_global.%I to master_data_editor', name);
    end loop;
end $$;
-- References are seen to where master data is written; in a region they would stand in its way (region.sql).
do $$
declare reference record;
begin
    for reference in
        select * from (values
            ('countries', 'countries_default_currency_fkey', 'default_currency', 'currencies'),
            ('currency_rates', 'currency_rates_base_fkey', 'base', 'currencies'),
            ('currency_rates', 'currency_rates_quote_fkey', 'quote', 'currencies'),
            ('tax_configs', 'tax_configs_country_fkey', 'country', 'countries')
        ) as r (child, name, child_column, parent)
        where not exists (select from pg_constraint c
            where c.conname = r.name and c.conrelid = format('smp_global.%I', r.child)::regclass)
    loop
        execute format('alter table smp_global.%I add constraint %I foreign key (%I) '
            'references smp_global.%I (code) deferrable initially immediate',
            reference.child, reference.name, reference.child_column, reference.parent);
    end loop;
end $$;

revoke all on all tables in schema smp_global from master_data_applier;
grant usage on schema smp_global to
    master_data_reader, master_data_editor, master_data_relay, master_data_applier;
grant select on smp_global.node to master_data_reader, master_data_relay, master_data_applier;
-- Cheap answers to "has anything changed?", a deletion too.
grant select on smp_global.table_digest to master_data_reader;
grant select (seq) on smp_global.change_log to master_data_reader;
grant select on smp_global.table_digest, smp_global.deleted_row to master_data_relay;
grant select, delete on smp_global.change_log to master_data_relay;
grant select, update on smp_global.relay_state to master_data_relay;
grant select, insert, update, delete on smp_global.region_report to master_data_relay;
grant select on smp_global.change_seq to master_data_relay;
grant execute on function smp_global.log_heartbeat(), smp_global.log_digests(), smp_global.restate(bigint),
    smp_global.log_tombstones(bigint), smp_global.recount_digest(text) to master_data_relay;
