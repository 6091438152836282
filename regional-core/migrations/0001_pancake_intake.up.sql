-- What a core promises about Pancake's records: each one that was answered with 200 stands here.
--
-- Personal data (name, phone number, e-mail, and all of it again inside the payload) stays in these
-- two tables of this region's database. It goes into no log, metric or error text.

create table pancake_webhook_event (
    event_id            uuid        primary key,
    country_code        text        not null check (country_code ~ '^[A-Z]{2}$'),
    region_id           text        not null check (octet_length(region_id) between 2 and 32),
    connection_id       text        not null check (octet_length(connection_id) between 1 and 64),
    layer               text        not null
        check (layer in ('webhook', 'poll', 'reconcile', 'spool', 'replay')),
    status              text        not null default 'received'
        check (status in ('received', 'ingested', 'processed', 'failed', 'dead_letter',
                          'skipped_source_disabled', 'skipped_kill_switch')),
    record_id           uuid,
    modified_on         timestamptz,
    payload_hash        bytea       not null check (octet_length(payload_hash) = 32),
    payload             bytea       not null check (octet_length(payload) between 2 and 1048576),
    name                text,
    phone_number        text,
    email               text,
    source_ids          text[]      not null default '{}',
    record_created_on   timestamptz,
    verdict             text
        check (verdict in ('verified', 'unsigned', 'stale', 'invalid')),
    route_version       bigint      check (route_version between 0 and 4294967295),
    hop_signature_input text        check (octet_length(hop_signature_input) between 1 and 1024),
    hop_signature       text        check (octet_length(hop_signature) between 1 and 128),
    received_at         timestamptz not null default now(),
    constraint pancake_webhook_event_delivery_key
        unique nulls not distinct
            (record_id, modified_on, payload_hash, country_code, connection_id),
    constraint pancake_webhook_event_webhook_has_receipt check (
        layer <> 'webhook'
        or (verdict is not null and route_version is not null
            and hop_signature_input is not null and hop_signature is not null)
    )
);

-- What the processing claims from, oldest first; it stays as small as the backlog.
create index pancake_webhook_event_received_idx
    on pancake_webhook_event (received_at) where status = 'received';

comment on table pancake_webhook_event is
    'One delivery of one Pancake record, kept byte for byte. Holds personal data.';
comment on column pancake_webhook_event.event_id is
    'UUIDv7 made by the core: unique over all regions, so that a country''s rows can move.';
comment on column pancake_webhook_event.country_code is 'ISO 3166-1 alpha-2, as signed in the hop.';
comment on column pancake_webhook_event.region_id is
    'The region that took it in: part of what the hop''s signature covers.';
comment on column pancake_webhook_event.connection_id is
    'The Pancake connection. With it stands the path that was signed: /v1/pancake/{connection}/records.';
comment on column pancake_webhook_event.layer is 'The way by which the record came to us.';
comment on column pancake_webhook_event.status is
    'received = committed; ingested = claimed by processing; processed = its ticket is committed.';
comment on column pancake_webhook_event.record_id is 'Pancake''s id of the record, if it sent one.';
comment on column pancake_webhook_event.modified_on is
    'When the record was changed in Pancake, if it said so; without an offset it is UTC.';
comment on column pancake_webhook_event.payload_hash is
    'SHA-256 of the payload. Tells deliveries of one connection apart, not layers.';
comment on column pancake_webhook_event.payload is
    'The body as received. bytea, not jsonb: jsonb refuses U+0000 and forgets spelling and order.';
comment on column pancake_webhook_event.name is
    'Read from the payload; U+0000 and lone surrogates are U+FFFD. Personal data.';
comment on column pancake_webhook_event.phone_number is
    'Read from the payload as it was written, not normalised. Personal data.';
comment on column pancake_webhook_event.email is 'Read from the payload. Personal data.';
comment on column pancake_webhook_event.source_ids is 'The ids in the payload''s "source".';
comment on column pancake_webhook_event.record_created_on is 'The payload''s "created_on".';
comment on column pancake_webhook_event.verdict is
    'What the edge found of Pancake''s signature. Null where no edge was on the way.';
comment on column pancake_webhook_event.route_version is
    'The version of the route table by which the edge sent it here.';
comment on column pancake_webhook_event.hop_signature_input is
    'Receipt: the hop''s Signature-Input (RFC 9421), as received. See `regional-core verify-receipt`.';
comment on column pancake_webhook_event.hop_signature is
    'Receipt: the hop''s Signature (RFC 9421), as received.';
comment on column pancake_webhook_event.received_at is 'By the core''s clock, before the commit.';

create table pancake_rejected_request (
    rejected_id         uuid        primary key,
    country_code        text        not null check (country_code ~ '^[A-Z]{2}$'),
    region_id           text        not null check (octet_length(region_id) between 2 and 32),
    connection_id       text        not null check (octet_length(connection_id) between 1 and 64),
    cause               text        not null check (octet_length(cause) between 1 and 64),
    body_sha256         bytea       not null check (octet_length(body_sha256) = 32),
    body                bytea       not null check (octet_length(body) <= 1048576),
    verdict             text        not null
        check (verdict in ('verified', 'unsigned', 'stale', 'invalid')),
    route_version       bigint      not null check (route_version between 0 and 4294967295),
    hop_signature_input text        not null
        check (octet_length(hop_signature_input) between 1 and 1024),
    hop_signature       text        not null check (octet_length(hop_signature) between 1 and 128),
    received_at         timestamptz not null default now(),
    last_received_at    timestamptz not null default now(),
    times_received      bigint      not null default 1 check (times_received >= 1),
    constraint pancake_rejected_request_body_key
        unique (country_code, connection_id, body_sha256, cause),
    constraint pancake_rejected_request_last_is_not_before_first
        check (last_received_at >= received_at)
);

comment on table pancake_rejected_request is
    'A rightly signed body that is no record, or that the database refused: kept byte for byte and '
    'answered 200 invalid_payload. The same body again only raises times_received, so that a sender '
    'that repeats itself cannot fill the disk. May hold personal data.';
comment on column pancake_rejected_request.rejected_id is 'UUIDv7 made by the core.';
comment on column pancake_rejected_request.country_code is
    'ISO 3166-1 alpha-2, as signed in the hop.';
comment on column pancake_rejected_request.region_id is 'The region that took it in.';
comment on column pancake_rejected_request.connection_id is 'The Pancake connection.';
comment on column pancake_rejected_request.cause is
    'Why: not_utf8, not_json, not_an_object, id_not_a_uuid, refused_by_database.';
comment on column pancake_rejected_request.body_sha256 is 'SHA-256 of the body.';
comment on column pancake_rejected_request.body is 'The body as received.';
comment on column pancake_rejected_request.verdict is
    'What the edge found of Pancake''s signature, the first time.';
comment on column pancake_rejected_request.route_version is
    'The version of the route table, the first time.';
comment on column pancake_rejected_request.hop_signature_input is
    'Receipt: the hop''s Signature-Input (RFC 9421) of the first time, as received.';
comment on column pancake_rejected_request.hop_signature is
    'Receipt: the hop''s Signature (RFC 9421) of the first time, as received.';
comment on column pancake_rejected_request.received_at is 'The first time, by the core''s clock.';
comment on column pancake_rejected_request.last_received_at is
    'The last time, by the core''s clock.';
comment on column pancake_rejected_request.times_received is 'How often this very body came.';

-- The app takes in and reads back; it deletes nothing. What processing may update is granted by the
-- migration that brings the processing.
grant select, insert on pancake_webhook_event to core_app;
grant select, insert on pancake_rejected_request to core_app;
grant update (last_received_at, times_received) on pancake_rejected_request to core_app;
-- For /readyz: is the schema current?
grant select on _core_migrations to core_app;
