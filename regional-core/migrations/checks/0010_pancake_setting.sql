lock table app_setting in access exclusive mode;

-- next step
select 'hard', 'removes pancake_integration from app_setting', count(*)
from app_setting where app_settings ? 'pancake_integration'
union all
select 'hard', 'forgets a kill switch that is off', count(*)
from app_setting where app_settings #>> '{pancake_integration,kill_switch}' = 'false';
