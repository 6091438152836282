-- Makes this database a region's: master data comes from the hub, and only the applier writes it.
-- Run by the owner; run again, it changes nothing.
do $$
declare name text; trigger_name text;
begin
    for name in select table_name from smp_global.table_digest
    loop
        foreach trigger_name in array array['hub_lock', 'hub_version', 'hub_insert', 'hub_update', 'hub_delete']
        loop
            execute format('drop trigger if exists %I on smp_global.%I', trigger_name, name);
        end loop;
        execute format('create or replace trigger region_guard before insert or update or delete on smp_global.%I '
            'for each statement execute function smp_global.refuse_write()', name);
        execute format('revoke all on smp_global.%I from master_data_editor, master_data_relay', name);
        execute format('grant select on smp_global.%I to master_data_reader', name);
        execute format('grant select, insert, update, delete on smp_global.%I to master_data_applier', name);
    end loop;
end $$;
-- The hub has seen to the references. Here a parent may come after its child: compaction keeps the last
-- change of a row, and a parent may have changed since.
alter table smp_global.countries drop constraint if exists countries_default_currency_fkey;
alter table smp_global.currency_rates drop constraint if exists currency_rates_base_fkey;
alter table smp_global.currency_rates drop constraint if exists currency_rates_quote_fkey;
alter table smp_global.tax_configs drop constraint if exists tax_configs_country_fkey;

revoke all on all tables in schema smp_global from master_data_relay;
revoke all on all sequences in schema smp_global from master_data_relay;
revoke execute on function smp_global.log_heartbeat(), smp_global.log_digests(), smp_global.restate(bigint),
    smp_global.log_tombstones(bigint) from master_data_relay;
grant usage on schema smp_global to
    master_data_reader, master_data_relay, master_data_applier;
grant select on smp_global.node to master_data_reader, master_data_relay, master_data_applier;
-- A cheap answer to "has anything changed?".
grant select on smp_global.table_digest to master_data_reader;
grant select on smp_global.table_digest to master_data_applier;
grant select on smp_global.applied_position, smp_global.applied_heartbeat to master_data_reader;
grant select, insert, update, delete on smp_global.deleted_row, smp_global.applied_heartbeat,
    smp_global.digest_check, smp_global.parked_record to master_data_applier;
grant select, update on smp_global.applied_position to master_data_applier;
grant execute on function smp_global.recount_digest(text), smp_global.rebase_digests()
    to master_data_applier;
