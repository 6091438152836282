-- The keys that staff gave stay.
revoke update (api_key_encrypted) on pancake_connection from core_staff;
alter table pancake_connection drop column has_api_key;
