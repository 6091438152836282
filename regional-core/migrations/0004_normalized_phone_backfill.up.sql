-- Where the job stands that normalises the phone numbers of the accounts that were there before. The
-- job itself is a command: in batches, so that a million rows hold up nobody. A migration that did it
-- would hold its rows until it ends.

create table backfill_run (
    name            text        primary key check (octet_length(name) between 1 and 64),
    last_account_id uuid,
    rows_done       bigint      not null default 0 check (rows_done >= 0),
    rows_changed    bigint      not null default 0 check (rows_changed between 0 and rows_done),
    started_at      timestamptz,
    updated_at      timestamptz not null default now(),
    finished_at     timestamptz check (finished_at >= started_at)
);

comment on table backfill_run is
    'How far a job over all rows is. It commits a batch and this row together, so it can go on.';
comment on column backfill_run.name is 'The job: table and column.';
comment on column backfill_run.last_account_id is 'All up to this one are done. Null = none yet.';
comment on column backfill_run.rows_done is 'How many rows were looked at.';
comment on column backfill_run.rows_changed is 'How many of them were changed.';
comment on column backfill_run.started_at is 'When it began. Null = not yet.';
comment on column backfill_run.updated_at is 'When the last batch was committed.';
comment on column backfill_run.finished_at is 'When it ended. Null = it has not.';

insert into backfill_run (name) values ('account_normalized_phone');

grant select, update on backfill_run to core_app;
