-- no-transaction
--
-- From event to ticket: what processing writes, and by what it finds its work.
--
-- `pancake_webhook_event` is written to all the time, so its indexes are built concurrently: in steps, for
-- the reasons that 0003 gives.

set local lock_timeout = '3s';
alter table pancake_webhook_event add column if not exists attempts smallint not null default 0;
alter table pancake_webhook_event add column if not exists due_at timestamptz;
alter table pancake_webhook_event add column if not exists cause text;
alter table pancake_webhook_event add column if not exists account_id uuid;
alter table pancake_webhook_event add column if not exists ticket_id uuid;
alter table pancake_webhook_event add column if not exists settled_at timestamptz;
alter table pancake_webhook_event drop constraint if exists pancake_webhook_event_failed_is_due;
alter table pancake_webhook_event add constraint pancake_webhook_event_failed_is_due
    check ((status = 'failed') = (due_at is not null)) not valid;
alter table pancake_webhook_event drop constraint if exists pancake_webhook_event_cause_is_short;
alter table pancake_webhook_event add constraint pancake_webhook_event_cause_is_short
    check (octet_length(cause) between 1 and 256) not valid;
alter table ticket add column if not exists connection_id text;
alter table ticket add column if not exists record_id uuid;
alter table ticket add column if not exists record_modified_on timestamptz;
alter table ticket add column if not exists record_digest bytea;
alter table ticket add column if not exists phone_state text;
alter table ticket drop constraint if exists ticket_pancake_is_whole;
alter table ticket add constraint ticket_pancake_is_whole check (
    (connection_id is null) = (record_digest is null)
    and (connection_id is null) = (phone_state is null)
    and (connection_id is not null or (record_id is null and record_modified_on is null))
    and octet_length(connection_id) between 1 and 64
    and octet_length(record_digest) = 32
    and phone_state in ('usable', 'missing', 'too_long', 'unreadable', 'invalid')
) not valid;

-- next step
drop index concurrently if exists pancake_webhook_event_backlog_idx;

-- next step
-- What waits, source by source, so that a busy one does not keep the others waiting.
create index concurrently pancake_webhook_event_backlog_idx on pancake_webhook_event
    (country_code, connection_id, (left(coalesce(source_ids[1], '(none)'), 64)), received_at)
    where status = 'received';

-- next step
drop index concurrently if exists pancake_webhook_event_due_idx;

-- next step
create index concurrently pancake_webhook_event_due_idx
    on pancake_webhook_event (due_at) where status = 'failed';

-- next step
drop index concurrently if exists ticket_record_idx;

-- next step
create index concurrently ticket_record_idx
    on ticket (record_id, connection_id) where record_id is not null;

-- next step
drop index concurrently if exists ticket_open_record_key;

-- next step
-- Whatever goes wrong, no record has two open tickets.
create unique index concurrently ticket_open_record_key on ticket (country_code, connection_id, record_id)
    where record_id is not null and status <> 'closed';

-- next step
alter table pancake_webhook_event validate constraint pancake_webhook_event_failed_is_due;

-- next step
alter table pancake_webhook_event validate constraint pancake_webhook_event_cause_is_short;

-- next step
alter table ticket validate constraint ticket_pancake_is_whole;

-- next step
-- The claim takes from the index above.
drop index if exists pancake_webhook_event_received_idx;

comment on column pancake_webhook_event.status is
    'received = committed; processed = its ticket is committed; failed = tried again at due_at; '
    'dead_letter = not tried again by itself; skipped_… = a switch was set when its turn came.';
comment on column pancake_webhook_event.attempts is 'How often processing it failed since it was received or replayed.';
comment on column pancake_webhook_event.due_at is 'When it is tried again. Only where status is failed.';
comment on column pancake_webhook_event.cause is
    'Why it failed last: a kind and what the database named, never a value.';
comment on column pancake_webhook_event.account_id is 'The customer it was found to be about.';
comment on column pancake_webhook_event.ticket_id is 'The ticket that it opened, changed, or left as it was.';
comment on column pancake_webhook_event.settled_at is
    'When it got its present status from processing, by the database''s clock. Null = not yet.';
comment on column ticket.connection_id is 'The Pancake connection it came through. Null = not from Pancake.';
comment on column ticket.record_id is 'Pancake''s id of the record it is about, if that has one.';
comment on column ticket.record_modified_on is
    'The "modified_on" of the newest event that it took in: an older one changes nothing.';
comment on column ticket.record_digest is
    'SHA-256 of the fields that it took in, to know them again where there is no "modified_on".';
comment on column ticket.phone_state is
    'Whether the record''s phone number can be called: usable, or what is wrong with it.';

grant update (status, attempts, due_at, cause, account_id, ticket_id, settled_at, normalized_phone)
    on pancake_webhook_event to core_app;
