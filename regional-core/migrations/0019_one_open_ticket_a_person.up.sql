-- no-transaction
--
-- Whatever goes wrong, of records without an id no person has two open tickets in a connection.
--
-- `ticket` is written to all the time, so its index is built concurrently: in steps, for the reasons that
-- 0003 gives.

-- Which of two somebody works on is not known here. They are shown and left: a person decides.
do $$
declare
    persons bigint;
begin
    select count(*) into persons from (
        select from ticket
        where record_id is null and connection_id is not null and account_id is not null and status <> 'closed'
        group by account_id, connection_id having count(*) > 1) as person;
    if persons > 0 then
        raise exception '% persons have more than one open ticket of records without an id', persons
            using hint = 'Find them with: select country_code, account_id, connection_id, array_agg(ticket_id) '
                'from ticket where record_id is null and connection_id is not null and account_id is not null '
                'and status <> ''closed'' group by 1, 2, 3 having count(*) > 1. Close all but one of each, then '
                'run this again.';
    end if;
end
$$;

-- next step
-- An earlier run may have left it, invalid.
drop index concurrently if exists ticket_open_person_key;

-- next step
create unique index concurrently ticket_open_person_key on ticket (account_id, connection_id)
    where record_id is null and connection_id is not null and status <> 'closed';

-- next step
-- What it was for is found by the one above.
set local lock_timeout = '3s';
drop index if exists ticket_without_record_idx;
