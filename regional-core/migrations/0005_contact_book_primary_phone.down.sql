-- From here on nothing keeps a contact's account right. The next "up" finds what went wrong meanwhile,
-- and stops.
alter table contact_book
    drop constraint contact_book_account_primary_phone_key,
    drop constraint contact_book_account_fkey,
    drop column primary_phone;
comment on column contact_book.account_id is
    'The customer. Migration 0005 makes it a foreign key: until then nothing keeps it right.';
