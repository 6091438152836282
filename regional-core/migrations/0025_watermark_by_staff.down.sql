-- The watermarks stay.
revoke delete on pancake_watermark from core_staff;
drop policy staff_forget on pancake_watermark;
