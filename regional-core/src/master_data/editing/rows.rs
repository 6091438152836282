//! What a row may be. A `PUT` gives all of it but its key, which is in the path.

use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::fields::{Fields, text_of};
use super::limits;
use crate::master_data::parse::{self, Locale};

/// A table that may be written: what its SQL is made of.
#[derive(Debug)]
pub(super) struct Table {
    /// Its name in schema `smp_global`.
    pub(super) name: &'static str,
    /// Its primary key.
    pub(super) key: &'static [&'static str],
    /// The other columns, as the members of the body.
    pub(super) columns: &'static [&'static str],
}

/// The rest of a row, as a body gives it.
pub(super) trait Row: Serialize + Send + Sized {
    /// Where it goes.
    const TABLE: Table;

    /// Reads it; what is wrong stays in `fields`.
    fn read(fields: &mut Fields) -> Option<Self>;
}

/// A currency of ISO 4217, but for its code.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct CurrencyRow {
    /// ISO 4217 numeric, with its leading zeros.
    #[schema(pattern = "^[0-9]{3}$", example = "458")]
    numeric_code: String,
    /// In English, as ISO 4217 has it.
    #[schema(max_length = 128, example = "Malaysian Ringgit")]
    name: String,
    /// Decimal places of an amount.
    #[schema(maximum = 4, example = 2)]
    minor_units: u8,
    /// To what an amount is rounded when it is paid in cash. Null: to the minor unit.
    #[schema(example = "0.05")]
    cash_increment: Option<String>,
    /// As written beside an amount.
    #[schema(max_length = 16, example = "RM")]
    symbol: String,
    /// Whether it is offered for new entries.
    is_active: bool,
}

impl Row for CurrencyRow {
    const TABLE: Table = Table {
        name: "currencies",
        key: &["code"],
        columns: &[
            "numeric_code",
            "name",
            "minor_units",
            "cash_increment",
            "symbol",
            "is_active",
        ],
    };

    fn read(fields: &mut Fields) -> Option<Self> {
        let numeric_code = fields.text("numeric_code", limits::NUMERIC_CODE, is_numeric_code);
        let name = fields.text("name", limits::NAME, |text| is_label(text, 128));
        let minor_units = fields.take("minor_units", limits::MINOR_UNITS, |value| {
            u8::try_from(value.as_u64()?)
                .ok()
                .filter(|units| *units <= 4)
        });
        let cash_increment =
            fields.take_nullable("cash_increment", limits::CASH_INCREMENT, |value| {
                decimal(value, (7, 4), |increment| {
                    increment > Decimal::ZERO && increment <= Decimal::from(1_000_000)
                })
            });
        let symbol = fields.text("symbol", limits::SYMBOL, |text| is_label(text, 16));
        let is_active = fields.take("is_active", limits::BOOLEAN, |value| value.as_bool());
        Some(Self {
            numeric_code: numeric_code?,
            name: name?,
            minor_units: minor_units?,
            cash_increment: cash_increment?,
            symbol: symbol?,
            is_active: is_active?,
        })
    }
}

/// A country of ISO 3166-1, but for its code.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct CountryRow {
    /// ISO 3166-1 alpha-3.
    #[schema(pattern = "^[A-Z]{3}$", example = "VNM")]
    alpha3: String,
    /// ISO 3166-1 numeric, with its leading zeros.
    #[schema(pattern = "^[0-9]{3}$", example = "704")]
    numeric_code: String,
    /// Short name in English.
    #[schema(max_length = 128, example = "Viet Nam")]
    name: String,
    /// A currency that is there.
    #[schema(pattern = "^[A-Z]{3}$", example = "VND")]
    default_currency: String,
    /// BCP 47. The language of a user who has not chosen one.
    #[schema(max_length = 35, example = "vi-VN")]
    default_locale: String,
    /// IANA names. The first is the default.
    #[schema(min_items = 1, max_items = 64, example = json!(["Asia/Ho_Chi_Minh"]))]
    time_zones: Vec<String>,
    /// Country code of ITU-T E.164, without "+".
    #[schema(pattern = "^[1-9][0-9]{0,2}$", example = "84")]
    calling_code: String,
    /// Whether it is offered for new entries.
    is_active: bool,
}

impl Row for CountryRow {
    const TABLE: Table = Table {
        name: "countries",
        key: &["code"],
        columns: &[
            "alpha3",
            "numeric_code",
            "name",
            "default_currency",
            "default_locale",
            "time_zones",
            "calling_code",
            "is_active",
        ],
    };

    fn read(fields: &mut Fields) -> Option<Self> {
        let alpha3 = fields.text("alpha3", limits::ALPHA3, |text| parse::is_capitals(text, 3));
        let numeric_code = fields.text("numeric_code", limits::NUMERIC_CODE, is_numeric_code);
        let name = fields.text("name", limits::NAME, |text| is_label(text, 128));
        let default_currency = fields.text("default_currency", limits::CURRENCY, |text| {
            parse::is_capitals(text, 3)
        });
        let default_locale = fields.text("default_locale", limits::LOCALE, |text| {
            Locale::parse(text).is_ok_and(|locale| locale.as_str() == text)
        });
        let time_zones = fields.take("time_zones", limits::TIME_ZONES, time_zones);
        let calling_code = fields.text("calling_code", limits::CALLING_CODE, |text| {
            (1..=3).contains(&text.len()) && is_digits(text) && !text.starts_with('0')
        });
        let is_active = fields.take("is_active", limits::BOOLEAN, |value| value.as_bool());
        Some(Self {
            alpha3: alpha3?,
            numeric_code: numeric_code?,
            name: name?,
            default_currency: default_currency?,
            default_locale: default_locale?,
            time_zones: time_zones?,
            calling_code: calling_code?,
            is_active: is_active?,
        })
    }
}

/// What a currency is worth in another, from a day on.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct RateRow {
    /// So many of quote for one of base, exactly. Null: none from this day on.
    #[schema(example = "26270")]
    rate: Option<String>,
    /// Who says so.
    #[schema(max_length = 64, pattern = "^[a-z0-9][a-z0-9_.:-]*$", example = "ecb")]
    source: String,
}

impl Row for RateRow {
    const TABLE: Table = Table {
        name: "currency_rates",
        key: &["base", "quote", "valid_from"],
        columns: &["rate", "source"],
    };

    fn read(fields: &mut Fields) -> Option<Self> {
        let rate = fields.take_nullable("rate", limits::RATE, |value| {
            decimal(value, (9, 18), |rate| rate > Decimal::ZERO)
        });
        let source = fields.text("source", limits::SOURCE, |text| {
            let is_part =
                |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b':' | b'-');
            let begins = text
                .starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
            text.len() <= 64 && begins && text.bytes().all(is_part)
        });
        Some(Self {
            rate: rate?,
            source: source?,
        })
    }
}

/// A rate of tax, from a day on.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct TaxRow {
    /// Part of the taxed amount: 0.08 is 8 %. Null: not in force from this day on.
    #[schema(example = "0.11")]
    rate: Option<String>,
    /// The law, and what else to know, in English.
    #[schema(max_length = 1024)]
    note: Option<String>,
}

impl Row for TaxRow {
    const TABLE: Table = Table {
        name: "tax_configs",
        key: &["country", "kind", "category", "valid_from"],
        columns: &["rate", "note"],
    };

    fn read(fields: &mut Fields) -> Option<Self> {
        let rate = fields.take_nullable("rate", limits::TAX_RATE, |value| {
            decimal(value, (1, 6), |rate| rate < Decimal::ONE)
        });
        let note = fields.take_nullable("note", limits::NOTE, |value| {
            text_of(value, |text| is_label(text, 1024))
        });
        Some(Self {
            rate: rate?,
            note: note?,
        })
    }
}

/// A text of the interface.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct TranslationRow {
    /// As shown. {name} stands for a value.
    #[schema(max_length = 8192, example = "Lưu")]
    text: String,
}

impl Row for TranslationRow {
    const TABLE: Table = Table {
        name: "i18n_translations",
        key: &["locale", "namespace", "key"],
        columns: &["text"],
    };

    fn read(fields: &mut Fields) -> Option<Self> {
        let text = fields.text("text", limits::TEXT, |text| {
            (1..=8192).contains(&text.len())
                && !text.contains(|letter: char| letter.is_control() && letter != '\n')
        });
        Some(Self { text: text? })
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_numeric_code(text: &str) -> bool {
    text.len() == 3 && is_digits(text)
}

/// As `smp_global.is_label`, but for whether it is composed, which the schema judges.
fn is_label(text: &str, max_bytes: usize) -> bool {
    let is_space = |letter: char| matches!(letter, ' ' | '\u{a0}' | '\u{3000}');
    (1..=max_bytes).contains(&text.len())
        && !text.contains(char::is_control)
        && !text.starts_with(is_space)
        && !text.ends_with(is_space)
}

/// The text of a decimal with at most so many digits before and after the point: no digit may be lost.
fn decimal(
    value: Value,
    (whole_digits, decimals): (usize, usize),
    is_good: impl FnOnce(Decimal) -> bool,
) -> Option<String> {
    text_of(value, |text| {
        parse::decimal(text, whole_digits, decimals).is_some_and(is_good)
    })
}

fn time_zones(value: Value) -> Option<Vec<String>> {
    let Value::Array(names) = value else {
        return None;
    };
    if !(1..=64).contains(&names.len()) {
        return None;
    }
    let is_name = |text: &str| text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic());
    names
        .into_iter()
        .map(|name| text_of(name, is_name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::MasterDataError;

    fn read<R: Row>(body: &str) -> Result<R, Vec<String>> {
        let mut fields = Fields::parse(body.as_bytes()).unwrap();
        let row = R::read(&mut fields);
        fields.finish(row).map_err(|error| match error {
            MasterDataError::Refused(errors) => {
                errors.into_iter().map(|error| error.field).collect()
            }
            other => panic!("{other}"),
        })
    }

    #[test]
    fn decimals_are_texts_and_keep_every_digit() {
        for rate in [
            "0.000000000000000001",
            "999999999.999999999999999999",
            "26270.00",
        ] {
            let row: RateRow = read(&format!(r#"{{"rate":"{rate}","source":"bank"}}"#)).unwrap();
            assert_eq!(row.rate.as_deref(), Some(rate));
        }
        for rate in [
            "1",
            "\"0\"",
            "\"-1\"",
            "\"1e3\"",
            "\"1000000000\"",
            "\"0.0000000000000000001\"",
            "\"NaN\"",
            "\"\"",
            "true",
        ] {
            let refused = read::<RateRow>(&format!(r#"{{"rate":{rate},"source":"bank"}}"#));
            assert_eq!(refused.unwrap_err(), ["rate"], "{rate}");
        }
        for (rate, is_good) in [("0", true), ("0.999999", true), ("1", false), ("8", false)] {
            let read = read::<TaxRow>(&format!(r#"{{"rate":"{rate}","note":null}}"#));
            assert_eq!(read.is_ok(), is_good, "{rate}");
        }
    }

    #[test]
    fn each_field_has_its_limits() {
        let fields = read::<CurrencyRow>(
            r#"{"numeric_code":"70","name":" x","minor_units":5,"cash_increment":0.05,"symbol":"",
                "is_active":1}"#,
        );
        assert_eq!(
            fields.unwrap_err(),
            [
                "numeric_code",
                "name",
                "minor_units",
                "cash_increment",
                "symbol",
                "is_active"
            ]
        );
        let fields = read::<CountryRow>(
            r#"{"alpha3":"vnm","numeric_code":704,"name":"a\u0007b","default_currency":"VN",
                "default_locale":"vi-vn","time_zones":[],"calling_code":"084","is_active":null}"#,
        );
        assert_eq!(fields.unwrap_err(), CountryRow::TABLE.columns);
        let fields = read::<RateRow>(r#"{"rate":"1","source":"Bank"}"#);
        assert_eq!(fields.unwrap_err(), ["source"]);
        let fields = read::<TranslationRow>(r#"{"text":"a\tb"}"#);
        assert_eq!(fields.unwrap_err(), ["text"]);
        read::<TranslationRow>(r#"{"text":"a\nb"}"#).unwrap();
        assert_eq!(read::<TaxRow>("{}").unwrap_err(), ["rate", "note"]);
    }
}
