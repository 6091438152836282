-- Samples of about the right size, each currency against the US dollar. No bank quoted them: they
-- are there so that a fresh installation can convert. The way back is 1/rate to 18 places.
insert into smp_global.currency_rates (base, quote, valid_from, rate, source)
values
    ('USD', 'VND', '2026-01-01', 26270,                'seed'),
    ('VND', 'USD', '2026-01-01', 0.000038066235249334, 'seed'),
    ('USD', 'SGD', '2026-01-01', 1.2858,               'seed'),
    ('SGD', 'USD', '2026-01-01', 0.777725929382485612, 'seed'),
    ('USD', 'THB', '2026-01-01', 31.505,               'seed'),
    ('THB', 'USD', '2026-01-01', 0.031740993493096334, 'seed'),
    ('USD', 'IDR', '2026-01-01', 16680,                'seed'),
    ('IDR', 'USD', '2026-01-01', 0.000059952038369305, 'seed'),
    ('USD', 'MYR', '2026-01-01', 4.0595,               'seed'),
    ('MYR', 'USD', '2026-01-01', 0.246335755634930410, 'seed'),
    ('USD', 'PHP', '2026-01-01', 58.79,                'seed'),
    ('PHP', 'USD', '2026-01-01', 0.017009695526450077, 'seed'),
    ('USD', 'CNY', '2026-01-01', 6.9895,               'seed'),
    ('CNY', 'USD', '2026-01-01', 0.143071750482867158, 'seed'),
    ('USD', 'EUR', '2026-01-01', 0.8514,               'seed'),
    ('EUR', 'USD', '2026-01-01', 1.174536058256988490, 'seed'),
    ('USD', 'JPY', '2026-01-01', 156.72,               'seed'),
    ('JPY', 'USD', '2026-01-01', 0.006380806533945891, 'seed')
on conflict do nothing;
