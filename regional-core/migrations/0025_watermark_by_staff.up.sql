-- Who says that a connection is of another workspace makes its watermarks untrue: they go with the change.

set local lock_timeout = '3s';
create policy staff_forget on pancake_watermark for delete to core_staff
    using (country_code = any (smp_countries()) and smp_role() in ('admin', 'manager'));
grant delete on pancake_watermark to core_staff;
