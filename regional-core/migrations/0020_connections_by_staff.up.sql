-- Staff add connections and say which workspace one is of, each in their country. Until here a connection was
-- there once a record came by it. The key of Pancake's interface is still out of their reach.

set local lock_timeout = '3s';
create policy staff_add on pancake_connection for insert to core_staff
    with check (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
grant insert (connection_id, country_code, workspace) on pancake_connection to core_staff;
grant update (workspace) on pancake_connection to core_staff;
comment on column pancake_connection.status is
    'suspended = Pancake stopped it, after too many failures; disabled = we did: what is received after '
    'status_changed_at becomes skipped_source_disabled.';
