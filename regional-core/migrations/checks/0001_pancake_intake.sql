-- What "down" asks before it acts, in two steps: first the locks that keep the answer right until the
-- end of the transaction, then the answer. Its rows are (kind, what, rows): `hard` and `soft` say what
-- that form does to how many rows; a `reference` with rows rules the hard form out. A plan that is only
-- shown takes no lock. sqlx does not look into this folder.
lock table pancake_webhook_event, pancake_rejected_request in access exclusive mode;

-- next step
select 'hard', 'drops pancake_webhook_event', count(*) from pancake_webhook_event
union all select 'hard', 'drops pancake_rejected_request', count(*) from pancake_rejected_request;
