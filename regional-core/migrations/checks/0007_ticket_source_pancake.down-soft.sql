-- A ticket keeps the source that it came from: the row stays, and is no longer offered.
update crm_master_data set disabled = true, updated_at = now()
where id = 'ticket_source_pancake';
