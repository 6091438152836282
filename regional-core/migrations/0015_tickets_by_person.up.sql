-- no-transaction
--
-- By what processing finds the ticket of a person whose record has no id, and when a ticket was told what it
-- says: among records without a "modified_on", only what was received later is news.
--
-- `ticket` is written to all the time, so its index is built concurrently: in steps, for the reasons that
-- 0003 gives.

set local lock_timeout = '3s';
alter table ticket add column if not exists record_received_at timestamptz;

-- next step
drop index concurrently if exists ticket_without_record_idx;

-- next step
-- One or none a person and connection, however many records name that person.
create index concurrently ticket_without_record_idx on ticket (account_id)
    where record_id is null and connection_id is not null and status <> 'closed';

-- next step
comment on column ticket.record_received_at is
    'When the newest event that it took in was received. Null = not from Pancake, or taken in before this was kept.';
