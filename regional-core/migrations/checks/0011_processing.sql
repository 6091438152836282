lock table pancake_webhook_event, ticket in access exclusive mode;

-- next step
select 'hard', 'drops pancake_webhook_event.ticket_id', count(ticket_id) from pancake_webhook_event
union all
select 'hard', 'drops pancake_webhook_event.account_id', count(account_id) from pancake_webhook_event
union all
select 'hard', 'drops pancake_webhook_event.cause', count(cause) from pancake_webhook_event
union all select 'hard', 'drops ticket.record_id', count(record_id) from ticket;
