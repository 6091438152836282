-- The source of the tickets that come of Pancake's records. A soft "down" leaves the row disabled, so
-- it may be there.
insert into crm_master_data (id, type, name)
values ('ticket_source_pancake', 'ticket_source', 'Pancake')
on conflict (id) do update set disabled = false, updated_at = now();
