-- Viet Nam's rates. The reduction of VAT by two points has been given for some months at a time since
-- 2022, with a gap in the first half of 2023; what it covers is in the annexes of the decrees.
insert into smp_global.tax_configs (country, kind, category, valid_from, rate, note)
values
    ('VN', 'vat', 'standard', '2009-01-01', 0.10, 'Law 13/2008/QH12.'),
    ('VN', 'vat', 'standard', '2025-07-01', 0.10, 'Law 48/2024/QH15.'),
    ('VN', 'vat', 'reduced',  '2009-01-01', 0.05, 'Law 13/2008/QH12.'),
    ('VN', 'vat', 'reduced',  '2025-07-01', 0.05, 'Law 48/2024/QH15.'),
    ('VN', 'vat', 'zero',     '2009-01-01', 0,    'Law 13/2008/QH12. Exports, mainly.'),
    ('VN', 'vat', 'zero',     '2025-07-01', 0,    'Law 48/2024/QH15. Exports, mainly.'),
    ('VN', 'vat', 'temporary_reduction', '2022-02-01', 0.08,
     'Resolution 43/2022/QH15, Decree 15/2022/ND-CP, until 2022-12-31. For goods and services of '
     'the standard rate, except those that the decree lists.'),
    ('VN', 'vat', 'temporary_reduction', '2023-01-01', null,
     'Not in force: the standard rate applies.'),
    ('VN', 'vat', 'temporary_reduction', '2023-07-01', 0.08,
     'Resolution 101/2023/QH15, Decree 44/2023/ND-CP, until 2023-12-31.'),
    ('VN', 'vat', 'temporary_reduction', '2024-01-01', 0.08,
     'Resolution 110/2023/QH15, Decree 94/2023/ND-CP, until 2024-06-30.'),
    ('VN', 'vat', 'temporary_reduction', '2024-07-01', 0.08,
     'Resolution 142/2024/QH15, Decree 72/2024/ND-CP, until 2024-12-31.'),
    ('VN', 'vat', 'temporary_reduction', '2025-01-01', 0.08,
     'Resolution 174/2024/QH15, Decree 180/2024/ND-CP, until 2025-06-30.'),
    ('VN', 'vat', 'temporary_reduction', '2025-07-01', 0.08,
     'Resolution 204/2025/QH15, Decree 174/2025/ND-CP, until 2026-12-31.'),
    ('VN', 'vat', 'temporary_reduction', '2027-01-01', null,
     'Resolution 204/2025/QH15 ends. Not in force: the standard rate applies.'),
    ('VN', 'cit', 'standard', '2016-01-01', 0.20,
     'Law 32/2013/QH13, from 2025-10-01 Law 67/2025/QH15, which has lower rates for small '
     'companies (15 % and 17 %, by revenue).')
on conflict do nothing;
