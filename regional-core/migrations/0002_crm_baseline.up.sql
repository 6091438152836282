-- The CRM as it is without Pancake: customers, staff, tickets, notifications, permissions, settings.
--
-- References stay in one country: where a row of a country refers to another, the key carries the
-- country too, so that no statement can join one country's customer to another country's ticket. The
-- tables without a country hold no customer's data and are the same for everybody.
--
-- Nothing is deleted by the app. Names, phone numbers, e-mail addresses and what staff write about
-- customers are personal data: they go into no log, metric or error text.

create table account (
    account_id    uuid        primary key,
    country_code  text        not null check (country_code ~ '^[A-Z]{2}$'),
    name          text        check (octet_length(name) <= 1024),
    phone_code    text        check (octet_length(phone_code) <= 16),
    phone_number  text        check (octet_length(phone_number) <= 256),
    phone_enabled boolean     not null default true,
    email         text        check (octet_length(email) <= 320),
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    constraint account_country_key unique (country_code, account_id)
);

comment on table account is 'A customer. Holds personal data.';
comment on column account.account_id is 'UUIDv7 made by the core.';
comment on column account.country_code is 'ISO 3166-1 alpha-2: the country whose customer it is.';
comment on column account.name is 'Personal data.';
comment on column account.phone_code is 'The calling code as it was entered, mostly "+84" or "84".';
comment on column account.phone_number is 'As it was entered, not normalised. Personal data.';
comment on column account.phone_enabled is 'Whether the number may be called.';
comment on column account.email is 'Personal data.';
comment on column account.created_at is 'When the row was made.';
comment on column account.updated_at is 'When the row was changed last.';

create table contact_book (
    contact_id   uuid        primary key,
    country_code text        not null check (country_code ~ '^[A-Z]{2}$'),
    account_id   uuid        not null,
    name         text        check (octet_length(name) <= 1024),
    phone_number text        check (octet_length(phone_number) <= 256),
    email        text        check (octet_length(email) <= 320),
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    constraint contact_book_country_key unique (country_code, contact_id)
);

create index contact_book_account_idx on contact_book (account_id);

comment on table contact_book is 'A person to talk to at a customer. Holds personal data.';
comment on column contact_book.contact_id is 'UUIDv7 made by the core.';
comment on column contact_book.country_code is 'ISO 3166-1 alpha-2: the country of its account.';
comment on column contact_book.account_id is
    'The customer. Migration 0005 makes it a foreign key: until then nothing keeps it right.';
comment on column contact_book.name is 'Personal data.';
comment on column contact_book.phone_number is 'As it was entered, not normalised. Personal data.';
comment on column contact_book.email is 'Personal data.';
comment on column contact_book.created_at is 'When the row was made.';
comment on column contact_book.updated_at is 'When the row was changed last.';

create table staff (
    staff_id         uuid        primary key,
    country_code     text        not null check (country_code ~ '^[A-Z]{2}$'),
    subject          text        not null check (octet_length(subject) between 1 and 256),
    display_name     text        not null check (octet_length(display_name) between 1 and 1024),
    role             text        not null check (role in ('admin', 'manager', 'telesale')),
    is_active        boolean     not null default true,
    capacity         integer     not null default 50 check (capacity > 0),
    last_assigned_at timestamptz,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    constraint staff_country_key unique (country_code, staff_id),
    constraint staff_subject_key unique (country_code, subject)
);

comment on table staff is 'Who works in the CRM. Somebody who works for two countries has two rows.';
comment on column staff.staff_id is 'UUIDv7 made by the core.';
comment on column staff.country_code is 'ISO 3166-1 alpha-2: the country that is worked for.';
comment on column staff.subject is 'The "sub" of the person''s token.';
comment on column staff.display_name is 'How colleagues see the name. Personal data.';
comment on column staff.role is 'What the person may do: see module_permission_action.';
comment on column staff.is_active is 'Whoever left stays as a row, and gets no ticket.';
comment on column staff.capacity is 'How many tickets may be open at once before no more are assigned.';
comment on column staff.last_assigned_at is
    'When a ticket was assigned last: whoever waited longest is next. Null = never.';
comment on column staff.created_at is 'When the row was made.';
comment on column staff.updated_at is 'When the row was changed last.';

create table staff_absence (
    absence_id   uuid        primary key,
    country_code text        not null check (country_code ~ '^[A-Z]{2}$'),
    staff_id     uuid        not null,
    starts_at    timestamptz not null,
    ends_at      timestamptz not null,
    reason       text        check (octet_length(reason) <= 1024),
    constraint staff_absence_ends_after_start check (ends_at > starts_at),
    constraint staff_absence_staff_fkey foreign key (country_code, staff_id)
        references staff (country_code, staff_id)
);

create index staff_absence_staff_idx on staff_absence (staff_id, ends_at);

comment on table staff_absence is 'When somebody gets no ticket: leave, illness.';
comment on column staff_absence.absence_id is 'UUIDv7 made by the core.';
comment on column staff_absence.country_code is 'ISO 3166-1 alpha-2: that of the staff.';
comment on column staff_absence.staff_id is 'Who is absent.';
comment on column staff_absence.starts_at is 'The first moment of the absence.';
comment on column staff_absence.ends_at is 'The first moment after it.';
comment on column staff_absence.reason is 'Free text; may be personal data.';

create table staff_source (
    staff_id     uuid not null,
    country_code text not null check (country_code ~ '^[A-Z]{2}$'),
    source_id    text not null check (octet_length(source_id) between 1 and 256),
    primary key (staff_id, source_id),
    constraint staff_source_staff_fkey foreign key (country_code, staff_id)
        references staff (country_code, staff_id)
);

comment on table staff_source is
    'Which sources'' leads somebody takes. Whoever has no row here takes those of every source.';
comment on column staff_source.staff_id is 'Who takes them.';
comment on column staff_source.country_code is 'ISO 3166-1 alpha-2: that of the staff.';
comment on column staff_source.source_id is 'The source''s id, as the record names it.';

create table crm_master_data (
    id         text        primary key check (octet_length(id) between 1 and 64),
    type       text        not null check (octet_length(type) between 1 and 64),
    name       text        not null check (octet_length(name) between 1 and 1024),
    disabled   boolean     not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

comment on table crm_master_data is
    'The choices of the CRM''s lists. Changed by migrations only; the same in every country.';
comment on column crm_master_data.id is 'Named by whoever wrote the migration.';
comment on column crm_master_data.type is 'The list to which it belongs.';
comment on column crm_master_data.name is 'What it is called where no translation is.';
comment on column crm_master_data.disabled is 'No longer offered; what refers to it keeps it.';
comment on column crm_master_data.created_at is 'When the row was made.';
comment on column crm_master_data.updated_at is 'When the row was changed last.';

insert into crm_master_data (id, type, name) values
    ('ticket_source_1', 'ticket_source', 'Website'),
    ('ticket_source_2', 'ticket_source', 'Hotline'),
    ('ticket_source_3', 'ticket_source', 'Walk-in'),
    ('ticket_source_4', 'ticket_source', 'Referral'),
    ('ticket_source_5', 'ticket_source', 'Facebook'),
    ('ticket_source_6', 'ticket_source', 'Zalo'),
    ('ticket_source_7', 'ticket_source', 'E-mail'),
    ('ticket_source_8', 'ticket_source', 'Other');

create table ticket (
    ticket_id    uuid        primary key,
    country_code text        not null check (country_code ~ '^[A-Z]{2}$'),
    account_id   uuid,
    contact_id   uuid,
    source_id    text        not null references crm_master_data (id),
    status       text        not null default 'open'
        check (status in ('open', 'in_progress', 'closed')),
    subject      text        check (octet_length(subject) <= 1024),
    assignee_id  uuid,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    closed_at    timestamptz,
    constraint ticket_country_key unique (country_code, ticket_id),
    constraint ticket_closed_at_iff_closed check ((status = 'closed') = (closed_at is not null)),
    constraint ticket_account_fkey foreign key (country_code, account_id)
        references account (country_code, account_id),
    constraint ticket_contact_fkey foreign key (country_code, contact_id)
        references contact_book (country_code, contact_id),
    constraint ticket_assignee_fkey foreign key (country_code, assignee_id)
        references staff (country_code, staff_id)
);

create index ticket_account_idx on ticket (account_id);
create index ticket_open_by_assignee_idx on ticket (assignee_id) where status <> 'closed';
create index ticket_unassigned_idx on ticket (country_code, created_at)
    where assignee_id is null and status <> 'closed';

comment on table ticket is 'Something to be done for a customer.';
comment on column ticket.ticket_id is 'UUIDv7 made by the core.';
comment on column ticket.country_code is 'ISO 3166-1 alpha-2: that of account, contact and assignee.';
comment on column ticket.account_id is 'The customer, where it is known.';
comment on column ticket.contact_id is 'The person, where it is known.';
comment on column ticket.source_id is 'Where it came from: a ticket_source of crm_master_data.';
comment on column ticket.status is 'open = nobody began; in_progress; closed.';
comment on column ticket.subject is 'What it is about. May be personal data.';
comment on column ticket.assignee_id is 'Whose ticket it is. Null = nobody''s yet.';
comment on column ticket.created_at is 'When the row was made.';
comment on column ticket.updated_at is 'When the row was changed last.';
comment on column ticket.closed_at is 'When it was closed; null until then, and again when reopened.';

create table ticket_assignment (
    assignment_id uuid        primary key,
    country_code  text        not null check (country_code ~ '^[A-Z]{2}$'),
    ticket_id     uuid        not null,
    staff_id      uuid        not null,
    method        text        not null check (method in ('automatic', 'manual')),
    assigned_by   text        check (octet_length(assigned_by) between 1 and 256),
    assigned_at   timestamptz not null default now(),
    constraint ticket_assignment_manual_has_author
        check ((method = 'manual') = (assigned_by is not null)),
    constraint ticket_assignment_ticket_fkey foreign key (country_code, ticket_id)
        references ticket (country_code, ticket_id),
    constraint ticket_assignment_staff_fkey foreign key (country_code, staff_id)
        references staff (country_code, staff_id)
);

create index ticket_assignment_ticket_idx on ticket_assignment (ticket_id);
create index ticket_assignment_staff_idx on ticket_assignment (staff_id, assigned_at);

comment on table ticket_assignment is 'Who got which ticket when. Rows are added, never changed.';
comment on column ticket_assignment.assignment_id is 'UUIDv7 made by the core.';
comment on column ticket_assignment.country_code is 'ISO 3166-1 alpha-2: that of ticket and staff.';
comment on column ticket_assignment.ticket_id is 'Which ticket.';
comment on column ticket_assignment.staff_id is 'Who got it.';
comment on column ticket_assignment.method is 'automatic = by the distribution; manual = by a person.';
comment on column ticket_assignment.assigned_by is
    'The "sub" of the person who did it by hand. Null where nobody did.';
comment on column ticket_assignment.assigned_at is 'When.';

create table notification_template (
    code       text        primary key check (octet_length(code) between 1 and 64),
    subject    jsonb       not null
        check (jsonb_typeof(subject) = 'object' and octet_length(subject::text) <= 65536),
    body       jsonb       not null
        check (jsonb_typeof(body) = 'object' and octet_length(body::text) <= 65536),
    disabled   boolean     not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

comment on table notification_template is
    'What a notification says, in each language. Changed by migrations only.';
comment on column notification_template.code is 'How the program names it.';
comment on column notification_template.subject is
    'Locale → text. No personal data: it shows on locked screens.';
comment on column notification_template.body is
    'Locale → text, with {placeholders} for what stands in the notification''s data.';
comment on column notification_template.disabled is 'Not sent any more; old notifications keep it.';
comment on column notification_template.created_at is 'When the row was made.';
comment on column notification_template.updated_at is 'When the row was changed last.';

create table notification (
    notification_id uuid        primary key,
    country_code    text        not null check (country_code ~ '^[A-Z]{2}$'),
    staff_id        uuid,
    role            text        check (role in ('admin', 'manager', 'telesale')),
    template_code   text        not null references notification_template (code),
    ticket_id       uuid,
    data            jsonb       not null default '{}'
        check (jsonb_typeof(data) = 'object' and octet_length(data::text) <= 65536),
    created_at      timestamptz not null default now(),
    read_at         timestamptz,
    constraint notification_is_for_a_person_or_a_role check (num_nonnulls(staff_id, role) = 1),
    constraint notification_staff_fkey foreign key (country_code, staff_id)
        references staff (country_code, staff_id),
    constraint notification_ticket_fkey foreign key (country_code, ticket_id)
        references ticket (country_code, ticket_id)
);

create index notification_unread_by_staff_idx on notification (staff_id, created_at)
    where read_at is null and staff_id is not null;
create index notification_unread_by_role_idx on notification (country_code, role, created_at)
    where read_at is null and role is not null;

comment on table notification is 'Something that a person, or everybody of a role, should know.';
comment on column notification.notification_id is 'UUIDv7 made by the core.';
comment on column notification.country_code is 'ISO 3166-1 alpha-2: that of staff and ticket.';
comment on column notification.staff_id is 'For whom. Null where it is for a role.';
comment on column notification.role is 'For everybody of this role in the country, or null.';
comment on column notification.template_code is 'What it says.';
comment on column notification.ticket_id is 'The ticket that it is about, if there is one.';
comment on column notification.data is 'What the template''s {placeholders} become. May be personal data.';
comment on column notification.created_at is 'When the row was made.';
comment on column notification.read_at is 'When it was read. Null = not yet.';

create table customer_consent (
    consent_id   uuid        primary key,
    country_code text        not null check (country_code ~ '^[A-Z]{2}$'),
    account_id   uuid        not null,
    consent_data jsonb       not null default '{}'
        check (jsonb_typeof(consent_data) = 'object' and octet_length(consent_data::text) <= 65536),
    given_at     timestamptz not null default now(),
    withdrawn_at timestamptz,
    constraint customer_consent_withdrawn_after_given check (withdrawn_at >= given_at),
    constraint customer_consent_account_fkey foreign key (country_code, account_id)
        references account (country_code, account_id)
);

create index customer_consent_account_idx on customer_consent (account_id);

comment on table customer_consent is 'What a customer agreed to, and when it was taken back.';
comment on column customer_consent.consent_id is 'UUIDv7 made by the core.';
comment on column customer_consent.country_code is 'ISO 3166-1 alpha-2: that of the account.';
comment on column customer_consent.account_id is 'Who agreed.';
comment on column customer_consent.consent_data is 'To what, by which form, by which words.';
comment on column customer_consent.given_at is 'When it was given.';
comment on column customer_consent.withdrawn_at is 'When it was taken back. Null = it holds.';

create table module_permission_action (
    module     text        not null check (octet_length(module) between 1 and 64),
    action     text        not null check (octet_length(action) between 1 and 64),
    role       text        not null check (role in ('admin', 'manager', 'telesale')),
    created_at timestamptz not null default now(),
    primary key (module, action, role)
);

comment on table module_permission_action is
    'What a role may do: a row allows, no row refuses. Changed by migrations only.';
comment on column module_permission_action.module is 'A part of the CRM.';
comment on column module_permission_action.action is 'What is done there.';
comment on column module_permission_action.role is 'Who may do it.';
comment on column module_permission_action.created_at is 'When the row was made.';

create table app_setting (
    country_code text        primary key check (country_code ~ '^[A-Z]{2}$'),
    app_settings jsonb       not null default '{}'
        check (jsonb_typeof(app_settings) = 'object' and octet_length(app_settings::text) <= 65536),
    version      bigint      not null default 1 check (version >= 1),
    updated_at   timestamptz not null default now(),
    updated_by   text        check (octet_length(updated_by) between 1 and 256)
);

comment on table app_setting is
    'The switches of a country, one row each: a country that is switched off leaves the others on.';
comment on column app_setting.country_code is 'ISO 3166-1 alpha-2.';
comment on column app_setting.app_settings is 'One key for each part of the CRM.';
comment on column app_setting.version is
    'Rises by one with each change, so that of two who change it at once the second is refused.';
comment on column app_setting.updated_at is 'When it was changed last.';
comment on column app_setting.updated_by is 'The "sub" of who changed it; null = a migration.';

grant select, insert, update
    on account, contact_book, staff, ticket, notification, customer_consent, app_setting
    to core_app;
-- An absence that is called off and a source that is taken away leave no trace that anybody needs.
grant select, insert, update, delete on staff_absence, staff_source to core_app;
grant select, insert on ticket_assignment to core_app;
grant select on crm_master_data, notification_template, module_permission_action to core_app;
