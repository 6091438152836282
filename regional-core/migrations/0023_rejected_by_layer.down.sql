-- What came by no edge stays, with a receipt that says nothing.
alter table pancake_rejected_request drop constraint pancake_rejected_request_has_receipt;
update pancake_rejected_request
set verdict = coalesce(verdict, 'unsigned'), route_version = coalesce(route_version, 0),
    hop_signature_input = coalesce(hop_signature_input, '-'), hop_signature = coalesce(hop_signature, '-')
where verdict is null or route_version is null or hop_signature_input is null or hop_signature is null;
alter table pancake_rejected_request
    alter column verdict set not null,
    alter column route_version set not null,
    alter column hop_signature_input set not null,
    alter column hop_signature set not null,
    drop column layer;
