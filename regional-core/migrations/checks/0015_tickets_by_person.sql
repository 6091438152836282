lock table ticket in access exclusive mode;

-- next step
select 'hard', 'drops ticket.record_received_at', count(record_received_at) from ticket;
