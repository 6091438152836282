lock table account, contact_book in access exclusive mode;

-- next step
select 'hard', 'drops contact_book.primary_phone', count(primary_phone) from contact_book
union all
select 'hard', 'drops the foreign key that keeps the account of contact_book', count(*)
from contact_book;
