-- As in 0007: a notification that is being made holds a share of its template.
select from notification_template
where code in ('noti_pancake_new_lead', 'noti_pancake_unassigned', 'noti_pancake_failed')
for update;

-- next step
select 'hard', 'deletes noti_pancake_… from notification_template', count(*)
from notification_template
where code in ('noti_pancake_new_lead', 'noti_pancake_unassigned', 'noti_pancake_failed')
union all
select 'soft', 'disables noti_pancake_… in notification_template', count(*)
from notification_template
where code in ('noti_pancake_new_lead', 'noti_pancake_unassigned', 'noti_pancake_failed')
    and not disabled
union all
select 'reference', 'notification uses them', count(*)
from notification
where template_code in ('noti_pancake_new_lead', 'noti_pancake_unassigned', 'noti_pancake_failed');
