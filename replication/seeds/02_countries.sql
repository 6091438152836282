-- The countries that the platform opens with.
insert into smp_global.countries
    (code, alpha3, numeric_code, name, default_currency, default_locale, time_zones, calling_code)
values
    ('VN', 'VNM', '704', 'Viet Nam',    'VND', 'vi-VN', array['Asia/Ho_Chi_Minh'], '84'),
    ('SG', 'SGP', '702', 'Singapore',   'SGD', 'en-SG', array['Asia/Singapore'],   '65'),
    ('TH', 'THA', '764', 'Thailand',    'THB', 'th-TH', array['Asia/Bangkok'],     '66'),
    ('ID', 'IDN', '360', 'Indonesia',   'IDR', 'id-ID',
     array['Asia/Jakarta', 'Asia/Pontianak', 'Asia/Makassar', 'Asia/Jayapura'], '62'),
    ('MY', 'MYS', '458', 'Malaysia',    'MYR', 'ms-MY',
     array['Asia/Kuala_Lumpur', 'Asia/Kuching'], '60'),
    ('PH', 'PHL', '608', 'Philippines', 'PHP', 'en-PH', array['Asia/Manila'],      '63'),
    ('CN', 'CHN', '156', 'China',       'CNY', 'zh-CN',
     array['Asia/Shanghai', 'Asia/Urumqi'], '86'),
    ('US', 'USA', '840', 'United States of America', 'USD', 'en-US',
     array['America/New_York', 'America/Detroit', 'America/Kentucky/Louisville',
           'America/Kentucky/Monticello', 'America/Indiana/Indianapolis',
           'America/Indiana/Vincennes', 'America/Indiana/Winamac', 'America/Indiana/Marengo',
           'America/Indiana/Petersburg', 'America/Indiana/Vevay', 'America/Chicago',
           'America/Indiana/Tell_City', 'America/Indiana/Knox', 'America/Menominee',
           'America/North_Dakota/Center', 'America/North_Dakota/New_Salem',
           'America/North_Dakota/Beulah', 'America/Denver', 'America/Boise', 'America/Phoenix',
           'America/Los_Angeles', 'America/Anchorage', 'America/Juneau', 'America/Sitka',
           'America/Metlakatla', 'America/Yakutat', 'America/Nome', 'America/Adak',
           'Pacific/Honolulu'], '1')
on conflict do nothing;
