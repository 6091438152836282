lock table ticket in access exclusive mode;

-- next step
select 'hard', 'drops the index that keeps the open tickets of records without an id one a person', count(*)
from ticket where record_id is null and connection_id is not null and account_id is not null and status <> 'closed';
