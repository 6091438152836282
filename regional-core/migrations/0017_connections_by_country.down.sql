-- A name belongs to one country again: to the one that had it first. What others set up under it goes.
create temporary table other_connection on commit drop as
    select country_code, connection_id from (
        select country_code, connection_id,
               row_number() over (partition by connection_id order by created_at, country_code) as place
        from pancake_connection) as connection
    where place > 1;
delete from pancake_reconciliation_run
    where (country_code, connection_id) in (select country_code, connection_id from other_connection);
delete from pancake_watermark
    where (country_code, connection_id) in (select country_code, connection_id from other_connection);
delete from pancake_source
    where (country_code, connection_id) in (select country_code, connection_id from other_connection);
delete from pancake_connection_status
    where (country_code, connection_id) in (select country_code, connection_id from other_connection);
delete from pancake_connection
    where (country_code, connection_id) in (select country_code, connection_id from other_connection);
alter table pancake_watermark drop constraint pancake_watermark_pkey;
alter table pancake_watermark add primary key (connection_id, table_name, layer);
alter table pancake_source drop constraint pancake_source_pkey;
alter table pancake_source add primary key (connection_id, source_id);
alter table pancake_connection drop constraint pancake_connection_pkey;
alter table pancake_connection add primary key (connection_id);
