lock table pancake_rejected_request in access exclusive mode;

-- next step
select 'hard', 'forgets by which layer a rejected request came', count(*) from pancake_rejected_request
where layer <> 'webhook';
