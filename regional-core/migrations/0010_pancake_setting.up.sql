-- Each country's switches of the Pancake integration. It begins switched off: events are kept, and no
-- ticket is made until an admin says so.
alter table app_setting alter column app_settings
    set default '{"pancake_integration": {"kill_switch": true, "processing_paused": false}}';
update app_setting
set app_settings = app_settings
        || '{"pancake_integration": {"kill_switch": true, "processing_paused": false}}',
    version = version + 1, updated_at = now(), updated_by = null
where not app_settings ? 'pancake_integration';
