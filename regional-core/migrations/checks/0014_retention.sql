lock table pancake_webhook_event, pancake_rejected_request in access exclusive mode;

-- next step
select 'hard', 'drops pancake_webhook_event.blanked_at', count(blanked_at) from pancake_webhook_event
union all
select 'hard', 'drops pancake_rejected_request.blanked_at', count(blanked_at) from pancake_rejected_request;
