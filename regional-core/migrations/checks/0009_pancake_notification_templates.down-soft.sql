-- A notification that was sent can still be read: the rows stay, and none is sent by them any more.
update notification_template set disabled = true, updated_at = now()
where code in ('noti_pancake_new_lead', 'noti_pancake_unassigned', 'noti_pancake_failed');
