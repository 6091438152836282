-- Where no ticket refers to it. Where one does, checks/0007_ticket_source_pancake.down-soft.sql.
delete from crm_master_data where id = 'ticket_source_pancake';
