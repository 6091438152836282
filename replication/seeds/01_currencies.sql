-- Ten currencies. The cash increments are what cash is rounded to in shops: five sen by rule; five
-- cents, 25 satang, 100 rupiah and one jiao by custom.
insert into smp_global.currencies (code, numeric_code, name, minor_units, cash_increment, symbol)
values
    ('VND', '704', 'Dong',              0, null, '₫'),
    ('SGD', '702', 'Singapore Dollar',  2, 0.05, 'S$'),
    ('THB', '764', 'Baht',              2, 0.25, '฿'),
    ('IDR', '360', 'Rupiah',            2, 100,  'Rp'),
    ('MYR', '458', 'Malaysian Ringgit', 2, 0.05, 'RM'),
    ('PHP', '608', 'Philippine Peso',   2, null, '₱'),
    ('CNY', '156', 'Yuan Renminbi',     2, 0.1,  '¥'),
    ('USD', '840', 'US Dollar',         2, null, '$'),
    ('EUR', '978', 'Euro',              2, null, '€'),
    ('JPY', '392', 'Yen',               0, null, '¥')
on conflict do nothing;
