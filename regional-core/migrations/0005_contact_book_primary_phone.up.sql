-- no-transaction
--
-- A contact's own number in E.164, once for each account, and at last a foreign key to the account.
-- In steps, for the reasons that 0003 gives.

-- A contact whose account is missing is somebody's data. It is shown and left: a person decides.
do $$
declare
    orphans bigint;
begin
    select count(*) into orphans from contact_book
    where not exists (
        select from account
        where account.account_id = contact_book.account_id
          and account.country_code = contact_book.country_code);
    if orphans > 0 then
        raise exception '% contacts in contact_book have no account in their country', orphans
            using hint = 'Find them with: select contact_id, country_code, account_id from contact_book c '
                'where not exists (select from account a where a.account_id = c.account_id '
                'and a.country_code = c.country_code). Give each an account, then run this again.';
    end if;
end
$$;

-- next step
set local lock_timeout = '3s';
alter table contact_book add column if not exists primary_phone text;
alter table contact_book drop constraint if exists contact_book_primary_phone_is_e164;
alter table contact_book add constraint contact_book_primary_phone_is_e164
    check (primary_phone ~ '^\+[1-9][0-9]{6,14}$') not valid;
alter table contact_book drop constraint if exists contact_book_account_fkey;
alter table contact_book add constraint contact_book_account_fkey
    foreign key (country_code, account_id) references account (country_code, account_id) not valid;

-- next step
-- An earlier run may have left it, invalid.
drop index concurrently if exists contact_book_account_primary_phone_key;

-- next step
create unique index concurrently contact_book_account_primary_phone_key
    on contact_book (account_id, primary_phone);

-- next step
alter table contact_book validate constraint contact_book_primary_phone_is_e164;

-- next step
alter table contact_book validate constraint contact_book_account_fkey;

-- next step
set local lock_timeout = '3s';
alter table contact_book add constraint contact_book_account_primary_phone_key
    unique using index contact_book_account_primary_phone_key;
comment on column contact_book.account_id is 'The customer.';
comment on column contact_book.primary_phone is
    'The contact''s own phone number in E.164, no two the same at one account. Personal data.';
