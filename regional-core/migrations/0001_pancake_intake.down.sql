-- Drops every event. For development and for undoing a first installation, never for a live region.
revoke select on _core_migrations from core_app;
drop table pancake_rejected_request;
drop table pancake_webhook_event;
