//! What each field may be, in words; and which field a constraint of the schema is about.
//!
//! The only place that knows the constraints by name. A test of the schema holds that it knows them all.

use crate::error::FieldError;

pub(super) const NUMERIC_CODE: &str = "three digits are expected, as a text";
pub(super) const NAME: &str = "1 to 128 bytes of composed text (NFC) are expected, without control characters or \
                               spaces around it";
pub(super) const MINOR_UNITS: &str = "a whole number from 0 to 4 is expected";
pub(super) const CASH_INCREMENT: &str = "a decimal as a text is expected, above 0 and at most 1000000, in whole \
                                         minor units; or null";
pub(super) const SYMBOL: &str = "1 to 16 bytes of composed text (NFC) are expected, without control characters or \
                                 spaces around it";
pub(super) const BOOLEAN: &str = "true or false is expected";
pub(super) const ALPHA3: &str = "three capital letters of ISO 3166-1 are expected";
pub(super) const CURRENCY: &str = "three capital letters of ISO 4217 are expected";
pub(super) const LOCALE: &str = "a BCP 47 tag of language, script, region and variants is expected, of at most 35 \
                                 bytes and in its usual spelling, such as vi-VN";
pub(super) const TIME_ZONES: &str =
    "a list of 1 to 64 IANA zones is expected, such as Asia/Ho_Chi_Minh";
pub(super) const CALLING_CODE: &str = "one to three digits without a leading 0 are expected";
pub(super) const RATE: &str = "a decimal as a text is expected, above 0 and below 1000000000, with at most 18 \
                               decimals; or null";
pub(super) const SOURCE: &str =
    "1 to 64 of a-z, 0-9, _, ., : and - are expected, a letter or digit first";
pub(super) const TAX_RATE: &str = "a decimal as a text is expected, from 0 to below 1 (0.08 is 8 %), with at most 6 \
                                   decimals; or null";
pub(super) const NOTE: &str = "1 to 1024 bytes of composed text (NFC) are expected, without control characters or \
                               spaces around it; or null";
pub(super) const TEXT: &str = "1 to 8192 bytes of composed text (NFC) are expected, without control characters but \
                               line feeds";

const ALPHA2: &str = "two capital letters of ISO 3166-1 are expected";
const NO_CURRENCY: &str = "there is no such currency";
const NO_COUNTRY: &str = "there is no such country";
const DAY: &str = "a day from 1900-01-01 to 2999-12-31 is expected";
const WORD: &str = "a-z, 0-9 and single _ are expected, a letter first";
const VERSION: &str = "it is set by the hub";

/// Constraint, field, and what to say.
const CONSTRAINTS: &[(&str, &str, &str)] = &[
    ("currencies_code_check", "code", CURRENCY),
    ("currencies_name_check", "name", NAME),
    (
        "currencies_cash_increment_check",
        "cash_increment",
        CASH_INCREMENT,
    ),
    (
        "currencies_cash_increment_is_whole_minor_units",
        "cash_increment",
        CASH_INCREMENT,
    ),
    ("currencies_symbol_check", "symbol", SYMBOL),
    ("currencies_row_version_check", "row_version", VERSION),
    (
        "currencies_code_is_iso_4217",
        "code",
        "code, numeric_code and minor_units must be those of one currency of ISO 4217",
    ),
    ("countries_code_check", "code", ALPHA2),
    ("countries_name_check", "name", NAME),
    ("countries_default_locale_check", "default_locale", LOCALE),
    (
        "countries_default_currency_fkey",
        "default_currency",
        NO_CURRENCY,
    ),
    ("countries_calling_code_check", "calling_code", CALLING_CODE),
    ("countries_time_zones_is_a_list", "time_zones", TIME_ZONES),
    ("countries_time_zones_are_iana", "time_zones", TIME_ZONES),
    ("countries_row_version_check", "row_version", VERSION),
    (
        "countries_code_is_iso_3166_1",
        "code",
        "code, alpha3 and numeric_code must be those of one country of ISO 3166-1",
    ),
    ("currency_rates_base_fkey", "base", NO_CURRENCY),
    ("currency_rates_quote_fkey", "quote", NO_CURRENCY),
    (
        "currency_rates_quote_is_not_base",
        "quote",
        "another currency is expected",
    ),
    ("currency_rates_valid_from_check", "valid_from", DAY),
    ("currency_rates_rate_check", "rate", RATE),
    ("currency_rates_source_check", "source", SOURCE),
    ("currency_rates_row_version_check", "row_version", VERSION),
    ("tax_configs_country_fkey", "country", NO_COUNTRY),
    ("tax_configs_kind_check", "kind", WORD),
    ("tax_configs_category_check", "category", WORD),
    ("tax_configs_valid_from_check", "valid_from", DAY),
    ("tax_configs_rate_check", "rate", TAX_RATE),
    ("tax_configs_note_check", "note", NOTE),
    ("tax_configs_row_version_check", "row_version", VERSION),
    ("i18n_translations_locale_check", "locale", LOCALE),
    ("i18n_translations_namespace_check", "namespace", WORD),
    (
        "i18n_translations_key_check",
        "key",
        "a-z, 0-9, single _ and single . are expected, a letter first",
    ),
    ("i18n_translations_text_check", "text", TEXT),
    ("i18n_translations_text_is_composed", "text", TEXT),
    (
        "i18n_translations_text_has_no_control_character",
        "text",
        TEXT,
    ),
    (
        "i18n_translations_row_version_check",
        "row_version",
        VERSION,
    ),
];

/// Who refers to a row that should be deleted, by the constraint that minds.
const REFERENCES: &[(&str, &str)] = &[
    (
        "countries_default_currency_fkey",
        "countries (default_currency)",
    ),
    ("currency_rates_base_fkey", "currency_rates (base)"),
    ("currency_rates_quote_fkey", "currency_rates (quote)"),
    ("tax_configs_country_fkey", "tax_configs (country)"),
];

/// Whether a refusal by this constraint is put into words: for the test that holds schema and words together.
#[must_use]
pub fn is_known_constraint(name: &str) -> bool {
    blame(name).is_some()
}

/// What to say of a row that this constraint refuses.
pub(super) fn blame(constraint: &str) -> Option<FieldError> {
    let mut constraints = CONSTRAINTS.iter();
    let (_, field, message) = constraints.find(|(name, _, _)| *name == constraint)?;
    Some(FieldError {
        field: (*field).to_owned(),
        message,
    })
}

/// Table and column that refer to the row, by the constraint that keeps it from being deleted.
pub(super) fn referrer(constraint: &str) -> Option<&'static str> {
    let mut references = REFERENCES.iter();
    let (_, by) = references.find(|(name, _)| *name == constraint)?;
    Some(by)
}
