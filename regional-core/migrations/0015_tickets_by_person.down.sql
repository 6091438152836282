drop index ticket_without_record_idx;
alter table ticket drop column record_received_at;
