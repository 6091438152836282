-- no-transaction
--
-- Retention: what is personal in an event that is done with goes after a while. Its keys and its hash stay, so
-- that the same delivery is still known, and is still counted.

set local lock_timeout = '3s';
alter table pancake_webhook_event add column if not exists blanked_at timestamptz;
alter table pancake_webhook_event alter column payload drop not null;
alter table pancake_webhook_event drop constraint if exists pancake_webhook_event_blanked_is_blank;
alter table pancake_webhook_event add constraint pancake_webhook_event_blanked_is_blank check (
    case when blanked_at is null then payload is not null
         else num_nonnulls(payload, name, phone_number, email, normalized_phone) = 0 end
) not valid;

-- next step
set local lock_timeout = '3s';
alter table pancake_rejected_request add column if not exists blanked_at timestamptz;
alter table pancake_rejected_request drop constraint if exists pancake_rejected_request_blanked_is_blank;
alter table pancake_rejected_request add constraint pancake_rejected_request_blanked_is_blank
    check (blanked_at is null or body = '') not valid;

-- next step
drop index concurrently if exists pancake_webhook_event_unblanked_idx;

-- next step
create index concurrently pancake_webhook_event_unblanked_idx
    on pancake_webhook_event (country_code, received_at) where blanked_at is null;

-- next step
drop index concurrently if exists pancake_rejected_request_unblanked_idx;

-- next step
create index concurrently pancake_rejected_request_unblanked_idx
    on pancake_rejected_request (country_code, last_received_at) where blanked_at is null;

-- next step
alter table pancake_webhook_event validate constraint pancake_webhook_event_blanked_is_blank;

-- next step
alter table pancake_rejected_request validate constraint pancake_rejected_request_blanked_is_blank;

-- next step
comment on column pancake_webhook_event.payload is
    'The body as received; null once it was blanked. bytea, not jsonb: jsonb refuses U+0000 and forgets spelling '
    'and order.';
comment on column pancake_webhook_event.blanked_at is
    'When its personal data went: payload, name, phone numbers, e-mail. Null = all is there.';
comment on column pancake_rejected_request.blanked_at is 'When its body went. Null = it is there.';

-- The app may blank what is old, and change nothing else of what was received.
create function blank_old_events(country text, days integer, most bigint) returns bigint
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare blanked bigint;
begin
    with old as (
        select event_id from pancake_webhook_event
        where country_code = country and blanked_at is null
          and status not in ('received', 'ingested', 'failed')
          and received_at < statement_timestamp() - make_interval(days => greatest(days, 1))
        order by received_at limit most for update skip locked
    )
    update pancake_webhook_event as e
    set payload = null, name = null, phone_number = null, email = null, normalized_phone = null,
        blanked_at = clock_timestamp()
    from old where e.event_id = old.event_id;
    get diagnostics blanked = row_count;
    return blanked;
end $$;
comment on function blank_old_events(text, integer, bigint) is
    'Takes the personal data out of events of a country that are done with and older than so many days, the '
    'oldest first. Returns how many those were.';

create function blank_old_rejected_requests(country text, days integer, most bigint) returns bigint
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare blanked bigint;
begin
    with old as (
        select rejected_id from pancake_rejected_request
        where country_code = country and blanked_at is null
          and last_received_at < statement_timestamp() - make_interval(days => greatest(days, 1))
        order by last_received_at limit most for update skip locked
    )
    update pancake_rejected_request as r set body = '', blanked_at = clock_timestamp()
    from old where r.rejected_id = old.rejected_id;
    get diagnostics blanked = row_count;
    return blanked;
end $$;
comment on function blank_old_rejected_requests(text, integer, bigint) is
    'The same for the bodies of rejected requests.';

revoke execute on function blank_old_events(text, integer, bigint),
    blank_old_rejected_requests(text, integer, bigint) from public;
grant execute on function blank_old_events(text, integer, bigint),
    blank_old_rejected_requests(text, integer, bigint) to core_app;
grant select (blanked_at) on pancake_webhook_event, pancake_rejected_request to core_staff;
