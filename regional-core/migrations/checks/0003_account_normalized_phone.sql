lock table account in access exclusive mode;

-- next step
select 'hard', 'drops account.normalized_phone', count(normalized_phone) from account
union all select 'hard', 'drops account.pancake_metadata', count(pancake_metadata) from account;
