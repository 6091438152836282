-- Drops the CRM: every customer, ticket and setting. Where these tables hold more than a trial, take a
-- dump first.
drop table app_setting;
drop table module_permission_action;
drop table customer_consent;
drop table notification;
drop table notification_template;
drop table ticket_assignment;
drop table ticket;
drop table crm_master_data;
drop table staff_source;
drop table staff_absence;
drop table staff;
drop table contact_book;
drop table account;
