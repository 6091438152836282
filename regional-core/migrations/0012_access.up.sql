-- no-transaction
--
-- What staff may see: row-level security, by country and role; and who changed what.
--
-- The core answers staff as `core_staff`, which owns nothing and sees nothing until the transaction says for
-- whom it asks: `smp.countries` (separated by commas), `smp.role`, `smp.subject` and `smp.staff_id`. A setting
-- that is not set matches no row. The core's own work goes on as `core_app`, which sees every row. The owner
-- is not held back: migrations and dumps see all.
--
-- One table a step, so that no two locks are held at once.

do $$
begin
    if not exists (select from pg_roles where rolname = 'core_staff') then
        raise exception 'the role core_staff is not there'
            using hint = 'Run `regional-core bootstrap` again, as at the installation, then this';
    end if;
end
$$;
create or replace function smp_countries() returns text[] language sql stable parallel safe
    return string_to_array(current_setting('smp.countries', true), ',');
create or replace function smp_role() returns text language sql stable parallel safe
    return nullif(current_setting('smp.role', true), '');
create or replace function smp_subject() returns text language sql stable parallel safe
    return nullif(current_setting('smp.subject', true), '');
create or replace function smp_staff() returns uuid language sql stable parallel safe
    return nullif(current_setting('smp.staff_id', true), '')::uuid;

-- next step
drop index concurrently if exists pancake_webhook_event_country_idx;

-- next step
-- Events as they are listed. The scan goes backwards.
create index concurrently pancake_webhook_event_country_idx
    on pancake_webhook_event (country_code, received_at, event_id);

-- next step
drop index concurrently if exists pancake_webhook_event_unprocessed_idx;

-- next step
-- What waits, failed or was skipped: listed, counted, and the oldest of it. As small as that is.
create index concurrently pancake_webhook_event_unprocessed_idx
    on pancake_webhook_event (country_code, status, received_at, event_id) where status <> 'processed';

-- next step
drop index concurrently if exists pancake_rejected_request_country_idx;

-- next step
create index concurrently pancake_rejected_request_country_idx
    on pancake_rejected_request (country_code, received_at, rejected_id);

-- next step
drop index concurrently if exists ticket_country_idx;

-- next step
create index concurrently ticket_country_idx on ticket (country_code, created_at, ticket_id);

-- next step
drop index concurrently if exists ticket_assignee_idx;

-- next step
create index concurrently ticket_assignee_idx
    on ticket (assignee_id, created_at, ticket_id) where assignee_id is not null;

-- next step
drop index concurrently if exists notification_staff_idx;

-- next step
create index concurrently notification_staff_idx
    on notification (staff_id, created_at, notification_id) where staff_id is not null;

-- next step
drop index concurrently if exists notification_role_idx;

-- next step
create index concurrently notification_role_idx
    on notification (country_code, role, created_at, notification_id) where role is not null;

-- next step
-- Somebody sees themselves, and the office sees everybody.
set local lock_timeout = '3s';
drop policy if exists core_app_serves on staff;
create policy core_app_serves on staff to core_app using (true) with check (true);
drop policy if exists staff_see on staff;
create policy staff_see on staff for select to core_staff
    using (country_code = any (smp_countries()) and (smp_role() in ('admin', 'manager') or subject = smp_subject()));
drop policy if exists staff_add on staff;
create policy staff_add on staff for insert to core_staff
    with check (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
drop policy if exists staff_change on staff;
create policy staff_change on staff for update to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
alter table staff enable row level security;
grant select on staff to core_staff;
grant insert (staff_id, country_code, subject, display_name, role, capacity) on staff to core_staff;
grant update (display_name, role, is_active, capacity, updated_at) on staff to core_staff;

-- next step
set local lock_timeout = '3s';
drop policy if exists core_app_serves on staff_absence;
create policy core_app_serves on staff_absence to core_app using (true) with check (true);
drop policy if exists staff_see on staff_absence;
create policy staff_see on staff_absence for select to core_staff
    using (country_code = any (smp_countries()) and (smp_role() in ('admin', 'manager') or staff_id = smp_staff()));
drop policy if exists staff_add on staff_absence;
create policy staff_add on staff_absence for insert to core_staff
    with check (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
drop policy if exists staff_remove on staff_absence;
create policy staff_remove on staff_absence for delete to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
alter table staff_absence enable row level security;
grant select, insert, delete on staff_absence to core_staff;

-- next step
set local lock_timeout = '3s';
drop policy if exists core_app_serves on staff_source;
create policy core_app_serves on staff_source to core_app using (true) with check (true);
drop policy if exists staff_see on staff_source;
create policy staff_see on staff_source for select to core_staff
    using (country_code = any (smp_countries()) and (smp_role() in ('admin', 'manager') or staff_id = smp_staff()));
drop policy if exists staff_add on staff_source;
create policy staff_add on staff_source for insert to core_staff
    with check (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
drop policy if exists staff_remove on staff_source;
create policy staff_remove on staff_source for delete to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
alter table staff_source enable row level security;
grant select, insert, delete on staff_source to core_staff;

-- next step
-- A telesale's own; the check keeps them from giving one away.
set local lock_timeout = '3s';
drop policy if exists core_app_serves on ticket;
create policy core_app_serves on ticket to core_app using (true) with check (true);
drop policy if exists staff_see on ticket;
create policy staff_see on ticket for select to core_staff
    using (country_code = any (smp_countries()) and (smp_role() in ('admin', 'manager') or assignee_id = smp_staff()));
drop policy if exists staff_change on ticket;
create policy staff_change on ticket for update to core_staff
    using (country_code = any (smp_countries()) and (smp_role() in ('admin', 'manager') or assignee_id = smp_staff()));
alter table ticket enable row level security;
grant select on ticket to core_staff;
grant update (status, assignee_id, updated_at, closed_at) on ticket to core_staff;

-- next step
-- Whose ticket one sees. The ticket's own policy holds in there too.
set local lock_timeout = '3s';
drop policy if exists core_app_serves on account;
create policy core_app_serves on account to core_app using (true) with check (true);
drop policy if exists staff_see on account;
create policy staff_see on account for select to core_staff
    using (country_code = any (smp_countries()) and (smp_role() in ('admin', 'manager') or exists (
        select from ticket as own where own.country_code = account.country_code and own.account_id = account.account_id)));
alter table account enable row level security;
grant select on account to core_staff;

-- next step
set local lock_timeout = '3s';
drop policy if exists core_app_serves on contact_book;
create policy core_app_serves on contact_book to core_app using (true) with check (true);
drop policy if exists staff_see on contact_book;
create policy staff_see on contact_book for select to core_staff
    using (country_code = any (smp_countries()) and (smp_role() in ('admin', 'manager') or exists (
        select from ticket as own where own.country_code = contact_book.country_code and own.account_id = contact_book.account_id)));
alter table contact_book enable row level security;
grant select on contact_book to core_staff;

-- next step
set local lock_timeout = '3s';
drop policy if exists core_app_serves on ticket_assignment;
create policy core_app_serves on ticket_assignment to core_app using (true) with check (true);
drop policy if exists staff_see on ticket_assignment;
create policy staff_see on ticket_assignment for select to core_staff
    using (country_code = any (smp_countries()) and (smp_role() in ('admin', 'manager') or exists (
        select from ticket as own where own.country_code = ticket_assignment.country_code and own.ticket_id = ticket_assignment.ticket_id)));
drop policy if exists staff_add on ticket_assignment;
create policy staff_add on ticket_assignment for insert to core_staff
    with check (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
alter table ticket_assignment enable row level security;
grant select, insert on ticket_assignment to core_staff;

-- next step
set local lock_timeout = '3s';
drop policy if exists core_app_serves on notification;
create policy core_app_serves on notification to core_app using (true) with check (true);
drop policy if exists staff_see on notification;
create policy staff_see on notification for select to core_staff
    using (country_code = any (smp_countries()) and (staff_id = smp_staff() or role = smp_role()));
drop policy if exists staff_add on notification;
create policy staff_add on notification for insert to core_staff
    with check (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
drop policy if exists staff_change on notification;
create policy staff_change on notification for update to core_staff
    using (country_code = any (smp_countries()) and (staff_id = smp_staff() or role = smp_role()));
alter table notification enable row level security;
grant select, insert on notification to core_staff;
grant update (read_at) on notification to core_staff;

-- next step
-- Nothing reads it for staff yet.
set local lock_timeout = '3s';
drop policy if exists core_app_serves on customer_consent;
create policy core_app_serves on customer_consent to core_app using (true) with check (true);
alter table customer_consent enable row level security;

-- next step
set local lock_timeout = '3s';
drop policy if exists core_app_serves on app_setting;
create policy core_app_serves on app_setting to core_app using (true) with check (true);
drop policy if exists staff_see on app_setting;
create policy staff_see on app_setting for select to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
drop policy if exists staff_add on app_setting;
create policy staff_add on app_setting for insert to core_staff
    with check (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
drop policy if exists staff_change on app_setting;
create policy staff_change on app_setting for update to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
alter table app_setting enable row level security;
grant select on app_setting to core_staff;
grant insert (country_code, app_settings, updated_by) on app_setting to core_staff;
grant update (app_settings, version, updated_at, updated_by) on app_setting to core_staff;

-- next step
-- Not the key of Pancake's interface.
set local lock_timeout = '3s';
drop policy if exists core_app_serves on pancake_connection;
create policy core_app_serves on pancake_connection to core_app using (true) with check (true);
drop policy if exists staff_see on pancake_connection;
create policy staff_see on pancake_connection for select to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
drop policy if exists staff_change on pancake_connection;
create policy staff_change on pancake_connection for update to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
alter table pancake_connection enable row level security;
grant select (connection_id, country_code, workspace, status, status_changed_at, created_at, updated_at)
    on pancake_connection to core_staff;
grant update (status, status_changed_at, updated_at) on pancake_connection to core_staff;

-- next step
set local lock_timeout = '3s';
drop policy if exists core_app_serves on pancake_connection_status;
create policy core_app_serves on pancake_connection_status to core_app using (true) with check (true);
drop policy if exists staff_see on pancake_connection_status;
create policy staff_see on pancake_connection_status for select to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
drop policy if exists staff_add on pancake_connection_status;
create policy staff_add on pancake_connection_status for insert to core_staff
    with check (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
alter table pancake_connection_status enable row level security;
grant select, insert on pancake_connection_status to core_staff;

-- next step
set local lock_timeout = '3s';
drop policy if exists core_app_serves on pancake_source;
create policy core_app_serves on pancake_source to core_app using (true) with check (true);
drop policy if exists staff_see on pancake_source;
create policy staff_see on pancake_source for select to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
drop policy if exists staff_change on pancake_source;
create policy staff_change on pancake_source for update to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
alter table pancake_source enable row level security;
grant select on pancake_source to core_staff;
grant update (name, is_active, updated_at, updated_by) on pancake_source to core_staff;

-- next step
set local lock_timeout = '3s';
drop policy if exists core_app_serves on pancake_watermark;
create policy core_app_serves on pancake_watermark to core_app using (true) with check (true);
alter table pancake_watermark enable row level security;

-- next step
set local lock_timeout = '3s';
drop policy if exists core_app_serves on pancake_reconciliation_run;
create policy core_app_serves on pancake_reconciliation_run to core_app using (true) with check (true);
alter table pancake_reconciliation_run enable row level security;

-- next step
-- Not the bodies.
set local lock_timeout = '3s';
drop policy if exists core_app_serves on pancake_rejected_request;
create policy core_app_serves on pancake_rejected_request to core_app using (true) with check (true);
drop policy if exists staff_see on pancake_rejected_request;
create policy staff_see on pancake_rejected_request for select to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
alter table pancake_rejected_request enable row level security;
grant select (rejected_id, country_code, region_id, connection_id, cause, body_sha256, verdict, route_version,
              received_at, last_received_at, times_received)
    on pancake_rejected_request to core_staff;

-- next step
set local lock_timeout = '3s';
drop policy if exists core_app_serves on pancake_webhook_event;
create policy core_app_serves on pancake_webhook_event to core_app using (true) with check (true);
drop policy if exists staff_see on pancake_webhook_event;
create policy staff_see on pancake_webhook_event for select to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
alter table pancake_webhook_event enable row level security;
grant select (event_id, country_code, region_id, connection_id, layer, status, record_id, modified_on, payload_hash,
              payload, name, phone_number, email, source_ids, record_created_on, verdict, route_version,
              received_at, normalized_phone, attempts, due_at, cause, account_id, ticket_id, settled_at)
    on pancake_webhook_event to core_staff;

-- next step
grant select on module_permission_action, crm_master_data, notification_template to core_staff;

create table audit_log (
    audit_id     uuid        primary key,
    country_code text        not null check (country_code ~ '^[A-Z]{2}$'),
    happened_at  timestamptz not null default clock_timestamp(),
    subject      text        not null check (octet_length(subject) between 1 and 256),
    role         text        not null check (role in ('admin', 'manager', 'telesale')),
    action       text        not null check (octet_length(action) between 1 and 64),
    entity       text        not null check (octet_length(entity) between 1 and 64),
    entity_id    text        not null check (octet_length(entity_id) between 1 and 512),
    changes      jsonb       not null default '{}'
        check (jsonb_typeof(changes) = 'object' and octet_length(changes::text) <= 65536),
    request_id   text        check (octet_length(request_id) between 1 and 128)
);

create index audit_log_country_idx on audit_log (country_code, happened_at);

comment on table audit_log is
    'Who changed what by the API for staff, written with the change. Nobody but the owner reads, changes or deletes it.';
comment on column audit_log.audit_id is 'UUIDv7 made by the core.';
comment on column audit_log.country_code is 'ISO 3166-1 alpha-2: whose row was changed.';
comment on column audit_log.happened_at is 'When, by the database''s clock.';
comment on column audit_log.subject is 'The "sub" of who did it.';
comment on column audit_log.role is 'As what they did it.';
comment on column audit_log.action is 'What they did: update, create, delete, assign, read_payload, ….';
comment on column audit_log.entity is 'To what: a kind of row.';
comment on column audit_log.entity_id is 'To which one.';
comment on column audit_log.changes is
    'Field → {"from", "to"}; only {"changed": true} where the value may be personal data.';
comment on column audit_log.request_id is 'The request''s X-Request-Id, if it had one.';

-- No policy for core_app: a row is written for somebody.
create policy staff_add on audit_log for insert to core_staff
    with check (country_code = any (smp_countries()) and role = smp_role() and subject = smp_subject());
alter table audit_log enable row level security;
grant insert (audit_id, country_code, subject, role, action, entity, entity_id, changes, request_id)
    on audit_log to core_staff;
