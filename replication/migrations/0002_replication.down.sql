-- Takes the replication off. The five tables keep their rows.
do $$
declare name text; trigger_name text;
begin
    for name in select table_name from smp_global.table_digest
    loop
        foreach trigger_name in array array['digest_insert', 'digest_update', 'digest_delete', 'no_truncate',
            'hub_lock', 'hub_version', 'hub_insert', 'hub_update', 'hub_delete', 'region_guard']
        loop
            execute format('drop trigger if exists %I on smp_global.%I', trigger_name, name);
        end loop;
    end loop;
end $$;
drop function smp_global.refuse_write();
drop function smp_global.log_tombstones(bigint);
drop function smp_global.restate(bigint);
drop function smp_global.log_digests();
drop function smp_global.log_heartbeat();
drop function smp_global.capture_change();
drop function smp_global.set_row_version();
drop function smp_global.take_write_lock();
drop function smp_global.refuse_truncate();
drop function smp_global.rebase_digests();
drop function smp_global.recount_digest(text);
drop function smp_global.keep_digest();
drop function smp_global.row_hash(text);
drop table smp_global.parked_record, smp_global.digest_check, smp_global.applied_heartbeat,
    smp_global.applied_position, smp_global.table_digest, smp_global.deleted_row, smp_global.region_report,
    smp_global.relay_state, smp_global.change_log, smp_global.node;
drop sequence smp_global.change_seq;
