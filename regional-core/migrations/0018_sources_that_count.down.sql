-- What was cut stays so: the payload has the rest.
comment on column pancake_webhook_event.source_ids is 'The ids in the payload''s "source".';
comment on column pancake_webhook_event.received_at is 'By the core''s clock, before the commit.';
