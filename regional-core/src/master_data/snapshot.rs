//! What is held in memory, and the questions that it answers. Pure: no SQL, no HTTP, no clock.
//!
//! A [`Snapshot`] never changes. Its five tables are shared with the snapshot before it where nothing
//! was written to them, so that a tax rate that changes does not read a million texts again.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::{Serialize, Serializer};
use time::Date;
use utoipa::ToSchema;

/// All master data as it was at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Whether the database was the hub's or a region's.
    pub(super) part: Part,
    /// Up to which change of the hub everything is in it.
    pub seq: i64,
    /// By code.
    pub countries: Arc<Table<Countries>>,
    /// By code.
    pub currencies: Arc<Table<Currencies>>,
    /// By pair and day.
    pub rates: Arc<Table<Rates>>,
    /// By country, kind, category and day.
    pub taxes: Arc<Table<Taxes>>,
    /// By locale, namespace and key.
    pub texts: Arc<Table<Texts>>,
}

/// What a database is to master data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It is written here.
    Hub,
    /// It comes from the hub.
    Region,
}

/// One table, and what to compare to see whether it has changed.
#[derive(Debug)]
pub struct Table<T> {
    /// Another text when another row is in it.
    pub(super) version: String,
    /// The greatest version of a row, 0 in an empty table.
    pub(super) newest: i64,
    /// The rows.
    pub rows: T,
}

/// Countries by code.
pub type Countries = BTreeMap<String, Country>;
/// Currencies by code.
pub type Currencies = BTreeMap<String, Currency>;

/// A country or area of ISO 3166-1, and what is usual there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Country {
    /// ISO 3166-1 alpha-2.
    #[schema(example = "VN")]
    pub code: String,
    /// ISO 3166-1 alpha-3.
    #[schema(example = "VNM")]
    pub alpha3: String,
    /// ISO 3166-1 numeric, with its leading zeros.
    #[schema(example = "704")]
    pub numeric_code: String,
    /// Short name in English.
    #[schema(example = "Viet Nam")]
    pub name: String,
    /// In what prices are given, unless something says otherwise.
    #[schema(example = "VND")]
    pub default_currency: String,
    /// BCP 47. The language of a user who has not chosen one.
    #[schema(example = "vi-VN")]
    pub default_locale: String,
    /// IANA names. The first is the default.
    #[schema(example = json!(["Asia/Ho_Chi_Minh"]))]
    pub time_zones: Vec<String>,
    /// Country code of ITU-T E.164, without "+".
    #[schema(example = "84")]
    pub calling_code: String,
    /// Whether it is offered for new entries. What refers to it stays valid.
    pub is_active: bool,
    /// Rises with each change of the row.
    pub row_version: i64,
}

/// A currency of ISO 4217.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Currency {
    /// ISO 4217 alphabetic.
    #[schema(example = "MYR")]
    pub code: String,
    /// ISO 4217 numeric, with its leading zeros.
    #[schema(example = "458")]
    pub numeric_code: String,
    /// In English, as ISO 4217 has it.
    #[schema(example = "Malaysian Ringgit")]
    pub name: String,
    /// Decimal places of an amount. A conversion is rounded to it.
    #[schema(example = 2)]
    pub minor_units: u8,
    /// To what an amount is rounded when it is paid in cash. Null: to the minor unit.
    #[serde(serialize_with = "optional_text")]
    #[schema(value_type = Option<String>, example = "0.05")]
    pub cash_increment: Option<Decimal>,
    /// As written beside an amount.
    #[schema(example = "RM")]
    pub symbol: String,
    /// Whether it is offered for new entries. What refers to it stays valid.
    pub is_active: bool,
    /// Rises with each change of the row.
    pub row_version: i64,
}

/// Writes a value as its text: JSON's numbers are read as binary fractions, which 0.1 is not.
pub(super) fn text<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
pub(super) fn optional_text<T: Display, S: Serializer>(
    value: &Option<T>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_none(),
    }
}

/// What holds from a day on, until the next of its kind begins.
pub trait Period {
    /// Its first day.
    fn valid_from(&self) -> Date;
}

/// A rate from a day on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// Its first day.
    pub valid_from: Date,
    /// None: there is no rate from this day on.
    pub rate: Option<Decimal>,
    /// Who said so.
    pub source: Box<str>,
    /// Rises with each change of the row.
    pub row_version: i64,
}

/// A rate of tax from a day on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tax {
    /// Its first day.
    pub valid_from: Date,
    /// Part of the taxed amount. None: not in force from this day on.
    pub rate: Option<Decimal>,
    /// The law.
    pub note: Option<Box<str>>,
    /// Rises with each change of the row.
    pub row_version: i64,
}

impl Period for Rate {
    fn valid_from(&self) -> Date {
        self.valid_from
    }
}

impl Period for Tax {
    fn valid_from(&self) -> Date {
        self.valid_from
    }
}

/// The periods of a key by their beginning.
type Periods<P> = Vec<P>;

fn sort<P: Period>(periods: &mut Periods<P>) {
    periods.sort_by_key(Period::valid_from);
    periods.shrink_to_fit();
}

/// The one that a day lies in: the last that has begun.
fn at<P: Period>(periods: &[P], on: Date) -> Option<&P> {
    let begun = periods.partition_point(|period| period.valid_from() <= on);
    periods.get(begun.checked_sub(1)?)
}

fn begun_on<P: Period>(periods: &[P], day: Date) -> Option<&P> {
    at(periods, day).filter(|period| period.valid_from() == day)
}

/// Rates by pair.
#[derive(Debug, Default)]
pub struct Rates(HashMap<(String, String), Periods<Rate>>);

impl Rates {
    /// Takes a row in. [`Rates::finish`] when there are no more.
    pub fn add(&mut self, base: String, quote: String, rate: Rate) {
        self.0.entry((base, quote)).or_default().push(rate);
    }

    /// Makes it ready to be asked.
    pub fn finish(&mut self) {
        self.0.values_mut().for_each(sort);
    }

    /// The row that begins on this very day.
    #[must_use]
    pub fn row(&self, base: &str, quote: &str, valid_from: Date) -> Option<&Rate> {
        let periods = self.0.get(&(base.to_owned(), quote.to_owned()))?;
        begun_on(periods, valid_from)
    }

    /// The rate of a pair on a day, and since when. Only that of the pair itself: both directions are
    /// rows of their own, so nobody divides.
    #[must_use]
    pub fn on(&self, base: &str, quote: &str, on: Date) -> Option<(Decimal, &Rate)> {
        // Keys are pairs of owned strings; some bytes a question are the price.
        let period = at(self.0.get(&(base.to_owned(), quote.to_owned()))?, on)?;
        Some((period.rate?, period))
    }
}

/// Taxes by country, then by kind and category.
#[derive(Debug, Default)]
pub struct Taxes(HashMap<String, BTreeMap<(String, String), Periods<Tax>>>);

impl Taxes {
    /// Takes a row in. [`Taxes::finish`] when there are no more.
    pub fn add(&mut self, country: String, kind: String, category: String, tax: Tax) {
        let of_country = self.0.entry(country).or_default();
        of_country.entry((kind, category)).or_default().push(tax);
    }

    /// Makes it ready to be asked.
    pub fn finish(&mut self) {
        self.0
            .values_mut()
            .flat_map(BTreeMap::values_mut)
            .for_each(sort);
    }

    /// All that is in force in a country on a day: kind, category, rate. By kind, then category.
    pub fn all_on(
        &self,
        country: &str,
        on: Date,
    ) -> impl Iterator<Item = (&str, &str, Decimal, &Tax)> {
        let of_country = self.0.get(country).into_iter().flatten();
        of_country.filter_map(move |((kind, category), periods)| {
            let period = at(periods, on)?;
            Some((kind.as_str(), category.as_str(), period.rate?, period))
        })
    }

    /// The row that begins on this very day.
    #[must_use]
    pub fn row(&self, country: &str, kind: &str, category: &str, valid_from: Date) -> Option<&Tax> {
        let key = (kind.to_owned(), category.to_owned());
        begun_on(self.0.get(country)?.get(&key)?, valid_from)
    }

    /// One rate on a day.
    #[must_use]
    pub fn on(
        &self,
        country: &str,
        kind: &str,
        category: &str,
        on: Date,
    ) -> Option<(Decimal, &Tax)> {
        let key = (kind.to_owned(), category.to_owned());
        let period = at(self.0.get(country)?.get(&key)?, on)?;
        Some((period.rate?, period))
    }
}

/// A text that is larger than the schema allows, or more of them than a namespace can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a translation is larger than its column allows, or its namespace is larger than 4 GiB")]
pub struct TextTooLarge;

/// Texts by locale and namespace.
#[derive(Debug, Default)]
pub struct Texts(HashMap<Box<str>, HashMap<Box<str>, Namespace>>);

/// The texts of one namespace in one locale: 16 bytes each beside their own. A million of them as
/// strings in a map would take some hundred more each, for pointers, lengths, capacities and the
/// allocator.
#[derive(Debug, Default)]
struct Namespace {
    /// Each key, and after it its text.
    bytes: String,
    /// By key, once finished.
    entries: Vec<Entry>,
}

/// Where a key stands, and after it its text.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    text_length: u16,
    key_length: u8,
    row_version: i64,
}

impl Entry {
    /// The key and the text.
    fn read(self, bytes: &str) -> Option<(&str, &str)> {
        let start = usize::try_from(self.start).ok()?;
        let middle = start + usize::from(self.key_length);
        let end = middle + usize::from(self.text_length);
        Some((bytes.get(start..middle)?, bytes.get(middle..end)?))
    }
}

impl Texts {
    /// Takes a row in. [`Texts::finish`] when there are no more.
    pub fn add(
        &mut self,
        locale: &str,
        namespace: &str,
        key: &str,
        text: &str,
        row_version: i64,
    ) -> Result<(), TextTooLarge> {
        // Most rows find both there, so nothing is allocated for the question.
        if !self.0.contains_key(locale) {
            self.0.insert(locale.into(), HashMap::new());
        }
        let of_locale = self.0.get_mut(locale).ok_or(TextTooLarge)?;
        if !of_locale.contains_key(namespace) {
            of_locale.insert(namespace.into(), Namespace::default());
        }
        let to = of_locale.get_mut(namespace).ok_or(TextTooLarge)?;
        let entry = Entry {
            start: u32::try_from(to.bytes.len()).map_err(|_| TextTooLarge)?,
            text_length: u16::try_from(text.len()).map_err(|_| TextTooLarge)?,
            key_length: u8::try_from(key.len()).map_err(|_| TextTooLarge)?,
            row_version,
        };
        to.bytes.push_str(key);
        to.bytes.push_str(text);
        to.entries.push(entry);
        Ok(())
    }

    /// Makes it ready to be asked.
    pub fn finish(&mut self) {
        for namespace in self.0.values_mut().flat_map(HashMap::values_mut) {
            let Namespace { bytes, entries } = namespace;
            bytes.shrink_to_fit();
            entries.shrink_to_fit();
            entries.sort_unstable_by_key(|entry| entry.read(bytes).map(|(key, _)| key));
        }
    }

    /// One row: its text and version. No other locale is looked at.
    #[must_use]
    pub fn row(&self, locale: &str, namespace: &str, key: &str) -> Option<(&str, i64)> {
        let Namespace { bytes, entries } = self.0.get(locale)?.get(namespace)?;
        let key_of = |entry: &Entry| entry.read(bytes).map(|(key, _)| key);
        let place = entries.binary_search_by_key(&Some(key), key_of).ok()?;
        let entry = entries.get(place)?;
        let (_, text) = entry.read(bytes)?;
        Some((text, entry.row_version))
    }

    /// Each key of a namespace with its text, and the locale that it is from: the first of `chain`
    /// that has one.
    #[must_use]
    pub fn resolve<'s>(
        &'s self,
        chain: &[&'s str],
        namespace: &str,
    ) -> BTreeMap<&'s str, (&'s str, &'s str)> {
        let mut resolved = BTreeMap::new();
        for locale in chain.iter().rev() {
            let found = self.0.get(*locale).and_then(|of| of.get(namespace));
            if let Some(Namespace { bytes, entries }) = found {
                let texts = entries.iter().filter_map(|entry| entry.read(bytes));
                resolved.extend(texts.map(|(key, text)| (key, (text, *locale))));
            }
        }
        resolved
    }
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::*;

    fn rate(valid_from: Date, rate: Option<u32>) -> Rate {
        Rate {
            valid_from,
            rate: rate.map(Decimal::from),
            source: "test".into(),
            row_version: 1,
        }
    }

    #[test]
    fn a_rate_holds_from_its_day_until_the_next_begins() {
        let mut rates = Rates::default();
        for (day, value) in [
            (date!(2026 - 03 - 01), None),
            (date!(2026 - 01 - 01), Some(10)),
            (date!(2026 - 02 - 01), Some(20)),
            (date!(2026 - 04 - 01), Some(40)),
        ] {
            rates.add("USD".into(), "VND".into(), rate(day, value));
        }
        rates.finish();
        for (day, expected) in [
            (date!(2025 - 12 - 31), None),
            (date!(2026 - 01 - 01), Some(10)),
            (date!(2026 - 01 - 31), Some(10)),
            (date!(2026 - 02 - 01), Some(20)),
            (date!(2026 - 02 - 28), Some(20)),
            (date!(2026 - 03 - 01), None),
            (date!(2026 - 03 - 31), None),
            (date!(2026 - 04 - 01), Some(40)),
            (date!(2999 - 12 - 31), Some(40)),
        ] {
            let found = rates.on("USD", "VND", day).map(|(rate, _)| rate);
            assert_eq!(found, expected.map(Decimal::from), "{day}");
            assert_eq!(rates.on("VND", "USD", day), None, "the inverse is no rate");
        }
        let none = rates.row("USD", "VND", date!(2026 - 03 - 01)).unwrap();
        assert_eq!(none.rate, None, "a row that says so");
        assert_eq!(rates.row("USD", "VND", date!(2026 - 03 - 02)), None);
    }

    #[test]
    fn each_key_falls_back_for_itself() {
        let mut texts = Texts::default();
        for (locale, key, text) in [
            ("en", "c", "C en"),
            ("en", "a", "A en"),
            ("en", "b", "B en"),
            ("vi", "b", "B vi"),
            ("vi", "a", "A vi"),
            ("vi-VN", "a", "A vi-VN"),
            ("th", "d", "D th"),
        ] {
            texts.add(locale, "common", key, text, 7).unwrap();
        }
        texts.add("en", "other", "e", "E", 8).unwrap();
        texts.finish();
        let resolved: Vec<_> = texts
            .resolve(&["vi-VN", "vi", "en"], "common")
            .into_iter()
            .collect();
        assert_eq!(
            resolved,
            [
                ("a", ("A vi-VN", "vi-VN")),
                ("b", ("B vi", "vi")),
                ("c", ("C en", "en")),
            ]
        );
        assert!(texts.resolve(&["en"], "nothing").is_empty());
        assert_eq!(texts.row("en", "other", "e"), Some(("E", 8)));
        assert_eq!(texts.row("vi", "common", "b"), Some(("B vi", 7)));
        assert_eq!(texts.row("vi", "common", "c"), None, "only the English one");
    }

    #[test]
    fn a_text_costs_sixteen_bytes_beside_its_own() {
        assert_eq!(size_of::<Entry>(), 16);
        let mut texts = Texts::default();
        for limit in [
            ("k".repeat(256), "t".to_owned()),
            ("k".to_owned(), "t".repeat(65_536)),
        ] {
            let refused = texts.add("en", "common", &limit.0, &limit.1, 1);
            assert_eq!(refused, Err(TextTooLarge));
        }
    }
}
