-- A ticket that is being made holds a share of this row: this waits for it, and lets no other begin.
select from crm_master_data where id = 'ticket_source_pancake' for update;

-- next step
select 'hard', 'deletes ticket_source_pancake from crm_master_data', count(*)
from crm_master_data where id = 'ticket_source_pancake'
union all
select 'soft', 'disables ticket_source_pancake in crm_master_data', count(*)
from crm_master_data where id = 'ticket_source_pancake' and not disabled
union all
select 'reference', 'ticket refers to it', count(*)
from ticket where source_id = 'ticket_source_pancake';
