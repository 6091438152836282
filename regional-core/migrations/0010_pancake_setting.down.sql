-- The other keys of a country stay as they are.
alter table app_setting alter column app_settings set default '{}';
update app_setting
set app_settings = app_settings - 'pancake_integration',
    version = version + 1, updated_at = now(), updated_by = null
where app_settings ? 'pancake_integration';
