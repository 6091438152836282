-- no-transaction
--
-- What polling or reconciliation finds and cannot take for a record is kept like a webhook's body. It came by no
-- edge, so it has no receipt.

set local lock_timeout = '3s';
alter table pancake_rejected_request add column if not exists layer text not null default 'webhook';
alter table pancake_rejected_request
    alter column verdict drop not null,
    alter column route_version drop not null,
    alter column hop_signature_input drop not null,
    alter column hop_signature drop not null;
alter table pancake_rejected_request drop constraint if exists pancake_rejected_request_layer_check;
alter table pancake_rejected_request add constraint pancake_rejected_request_layer_check
    check (layer in ('webhook', 'poll', 'reconcile', 'spool', 'replay')) not valid;
alter table pancake_rejected_request drop constraint if exists pancake_rejected_request_has_receipt;
alter table pancake_rejected_request add constraint pancake_rejected_request_has_receipt check (
    layer in ('poll', 'reconcile')
    or (verdict is not null and route_version is not null
        and hop_signature_input is not null and hop_signature is not null)
) not valid;

-- next step
alter table pancake_rejected_request validate constraint pancake_rejected_request_layer_check;

-- next step
alter table pancake_rejected_request validate constraint pancake_rejected_request_has_receipt;

-- next step
comment on column pancake_rejected_request.layer is 'The way by which it came to us first.';
comment on column pancake_rejected_request.cause is
    'Why: not_utf8, not_json, not_an_object, id_not_a_uuid, too_large, refused_by_database.';
comment on column pancake_rejected_request.verdict is
    'What the edge found of Pancake''s signature. Null where no edge was on the way.';
grant select (layer) on pancake_rejected_request to core_staff;
