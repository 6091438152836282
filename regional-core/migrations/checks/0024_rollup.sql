lock table pancake_daily, ticket in access exclusive mode;

-- next step
select 'hard', 'drops pancake_daily', count(*) from pancake_daily
union all select 'hard', 'forgets when tickets were first taken up', count(*) from ticket where first_response_at is not null;
