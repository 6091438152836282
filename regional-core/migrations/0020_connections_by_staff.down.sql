-- The connections that staff added stay.
drop policy staff_add on pancake_connection;
revoke insert (connection_id, country_code, workspace), update (workspace) on pancake_connection from core_staff;
comment on column pancake_connection.status is
    'suspended = Pancake stopped it, after too many failures; disabled = we did.';
