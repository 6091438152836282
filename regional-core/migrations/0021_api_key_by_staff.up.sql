-- Staff give a connection the key of Pancake's interface, and see whether it has one. What is kept of it, sealed, is out
-- of their reach as before.
--
-- The table has a row for each connection, so it is changed at once.

set local lock_timeout = '3s';
alter table pancake_connection add column has_api_key boolean not null
    generated always as (api_key_encrypted is not null) stored;
comment on column pancake_connection.has_api_key is 'Whether api_key_encrypted is there.';
grant select (has_api_key), update (api_key_encrypted) on pancake_connection to core_staff;
