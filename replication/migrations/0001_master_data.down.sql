-- Drops all master data. For development and for undoing a first installation, never for a live
-- region.
drop table smp_global.i18n_translations;
drop table smp_global.tax_configs;
drop table smp_global.currency_rates;
drop table smp_global.countries;
drop table smp_global.currencies;
drop function smp_global.is_label(text, integer);
drop function smp_global.is_locale(text);
