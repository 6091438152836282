-- Where no notification uses one. Where one does,
-- checks/0009_pancake_notification_templates.down-soft.sql.
delete from notification_template
where code in ('noti_pancake_new_lead', 'noti_pancake_unassigned', 'noti_pancake_failed');
