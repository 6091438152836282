-- Lets Vietnam's events through, for tests/load/pancake.js: the kill switch is on and a source off at first.
-- And twenty telesales, who take whatever comes.
insert into app_setting (country_code) values ('VN') on conflict do nothing;
update app_setting
set app_settings = jsonb_set(app_settings, '{pancake_integration}', '{"kill_switch": false, "processing_paused": false}')
where country_code = 'VN';
insert into pancake_connection (connection_id, country_code) values ('vn-main', 'VN') on conflict do nothing;
insert into pancake_source (country_code, connection_id, source_id, is_active)
values ('VN', 'vn-main', '-11', true)
on conflict (connection_id, source_id, country_code) do update set is_active = true;
insert into staff (staff_id, country_code, subject, display_name, role, capacity)
select gen_random_uuid(), 'VN', 'load-' || n, 'Telesale ' || n, 'telesale', 1000000 from generate_series(1, 20) as n
on conflict (country_code, subject) do nothing;
