-- no-transaction
--
-- One spelling of a customer's phone number, by which a Pancake record finds its account.
--
-- `account` may hold millions of rows while the old code writes to it, so nothing here holds a lock for
-- long: the index is built concurrently, which PostgreSQL allows outside of a transaction only, and the
-- constraint is made first and checked later. `regional-core migrate` runs each step by itself. Whatever
-- stopped an earlier run, the steps before the last do it over; the last one is committed together with
-- the row in _core_migrations.

-- The lock is short once it is there. Whoever waits for it makes all others wait behind: better to stop
-- and be run again.
set local lock_timeout = '3s';
alter table account add column if not exists normalized_phone text;
alter table account add column if not exists pancake_metadata jsonb;
alter table account drop constraint if exists account_normalized_phone_is_e164;
alter table account add constraint account_normalized_phone_is_e164
    check (normalized_phone ~ '^\+[1-9][0-9]{6,14}$') not valid;
alter table account drop constraint if exists account_pancake_metadata_is_small;
alter table account add constraint account_pancake_metadata_is_small
    check (octet_length(pancake_metadata::text) <= 65536) not valid;

-- next step
-- A build that broke off leaves an index that is invalid: it is never used, but every write pays for it.
drop index concurrently if exists account_normalized_phone_idx;

-- next step
-- Not unique: among the accounts that are there, several may share a number.
create index concurrently account_normalized_phone_idx
    on account (country_code, normalized_phone) where normalized_phone is not null;

-- next step
alter table account validate constraint account_normalized_phone_is_e164;
alter table account validate constraint account_pancake_metadata_is_small;
comment on column account.normalized_phone is
    'The phone number in E.164, by which an account is found. Null where it is none. Personal data.';
comment on column account.pancake_metadata is
    'What Pancake says of the customer and no other column holds. May be personal data.';
