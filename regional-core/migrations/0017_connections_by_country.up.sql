-- A connection is a country's: another country may have one of the same name, with sources of its own. Until
-- here it belonged to the country that named it first, and to the others it was closed for ever.
--
-- These tables have a row for each thing that people set up, so their keys are changed at once.

set local lock_timeout = '3s';
alter table pancake_connection drop constraint pancake_connection_pkey;
alter table pancake_connection add primary key (connection_id, country_code);
alter table pancake_source drop constraint pancake_source_pkey;
alter table pancake_source add primary key (connection_id, source_id, country_code);
alter table pancake_watermark drop constraint pancake_watermark_pkey;
alter table pancake_watermark add primary key (connection_id, table_name, layer, country_code);
