create index ticket_without_record_idx on ticket (account_id)
    where record_id is null and connection_id is not null and status <> 'closed';
drop index ticket_open_person_key;
