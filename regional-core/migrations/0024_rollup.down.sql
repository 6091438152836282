-- The figures of the days are lost, and when tickets were first taken up.
drop table pancake_daily;
alter table ticket drop column first_response_at;
