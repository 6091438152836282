-- The numbers can be computed again from phone_number; what Pancake said cannot.
drop index account_normalized_phone_idx;
alter table account drop column pancake_metadata, drop column normalized_phone;
