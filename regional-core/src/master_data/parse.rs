//! What a request may say. Pure, and total: any bytes are either taken or refused by name.

use rust_decimal::Decimal;
use time::{Date, Month};

use super::money::{AMOUNT_MAX_DECIMALS, AMOUNT_MAX_INTEGER_DIGITS};
use crate::error::MasterDataError;
use crate::query::QueryParameters;

/// The longest query: all parameters of the endpoint with the most take a fifth of it.
const QUERY_MAX_BYTES: usize = 512;
/// What RFC 5646 section 4.4.1 asks systems to hold, and the schema does.
const LOCALE_MAX_BYTES: usize = 35;
/// As the schema has it.
const NAMESPACE_MAX_BYTES: usize = 64;
/// As the schema has it.
const KIND_MAX_BYTES: usize = 32;
/// As the schema has it.
const CATEGORY_MAX_BYTES: usize = 64;
/// The years whose days the schema knows.
const YEARS: std::ops::RangeInclusive<i32> = 1900..=2999;
const DAY_EXPECTED: &str = "a day as YYYY-MM-DD is expected, from 1900-01-01 to 2999-12-31";
/// As the schema has it.
const KEY_MAX_BYTES: usize = 128;
/// The locale in which every text is.
const LAST_LOCALE: &str = "en";

pub(super) fn invalid(field: &'static str, reason: &'static str) -> MasterDataError {
    MasterDataError::Invalid { field, reason }
}

/// The parameters of a query, each at most once.
#[derive(Debug)]
pub(super) struct Parameters(QueryParameters);

impl Parameters {
    /// Reads a query, in which nothing but `known` may be: a misspelt `on` would otherwise be today.
    pub(super) fn parse(
        query: Option<&str>,
        known: &'static [&'static str],
    ) -> Result<Self, MasterDataError> {
        QueryParameters::parse(query, known, (QUERY_MAX_BYTES, "at most 512 bytes"))
            .map(Self)
            .map_err(|refused| invalid(refused.field, refused.reason))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)
    }

    pub(super) fn required(&self, name: &'static str) -> Result<&str, MasterDataError> {
        self.get(name).ok_or(invalid(name, "it must be given"))
    }

    /// The day `on`, or `today` if none is given.
    pub(super) fn on(&self, today: Date) -> Result<Date, MasterDataError> {
        self.get("on")
            .map_or(Ok(today), |on| day(on).ok_or(invalid("on", DAY_EXPECTED)))
    }

    pub(super) fn currency(&self, field: &'static str) -> Result<&str, MasterDataError> {
        currency(field, self.required(field)?)
    }

    pub(super) fn country(&self) -> Result<&str, MasterDataError> {
        country("country", self.required("country")?)
    }

    pub(super) fn category(&self) -> Result<&str, MasterDataError> {
        category(self.required("category")?)
    }

    pub(super) fn amount(&self) -> Result<Decimal, MasterDataError> {
        amount(self.required("amount")?).ok_or(invalid(
            "amount",
            "digits are expected, at most 18 before the point and 4 after it, a - before negative ones",
        ))
    }

    pub(super) fn sources(&self) -> Result<bool, MasterDataError> {
        match self.get("sources") {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(invalid("sources", "true or false is expected")),
        }
    }
}

pub(super) fn currency<'c>(field: &'static str, code: &'c str) -> Result<&'c str, MasterDataError> {
    if is_capitals(code, 3) {
        return Ok(code);
    }
    Err(invalid(
        field,
        "three capital letters of ISO 4217 are expected",
    ))
}

pub(super) fn country<'c>(field: &'static str, code: &'c str) -> Result<&'c str, MasterDataError> {
    if is_capitals(code, 2) {
        return Ok(code);
    }
    Err(invalid(
        field,
        "two capital letters of ISO 3166-1 are expected",
    ))
}

pub(super) fn kind(kind: &str) -> Result<&str, MasterDataError> {
    if is_name(kind, KIND_MAX_BYTES) {
        return Ok(kind);
    }
    Err(invalid(
        "kind",
        "1 to 32 of a-z, 0-9 and single _ are expected, a letter first",
    ))
}

pub(super) fn category(category: &str) -> Result<&str, MasterDataError> {
    if is_name(category, CATEGORY_MAX_BYTES) {
        return Ok(category);
    }
    Err(invalid(
        "category",
        "1 to 64 of a-z, 0-9 and single _ are expected, a letter first",
    ))
}

pub(super) fn valid_from(text: &str) -> Result<Date, MasterDataError> {
    day(text).ok_or(invalid("valid_from", DAY_EXPECTED))
}

/// A text's key: names, of which all but the first may begin with a digit, with dots between them.
pub(super) fn key(key: &str) -> Result<&str, MasterDataError> {
    let is_first_good = key
        .split('.')
        .next()
        .is_some_and(|first| is_name(first, KEY_MAX_BYTES));
    if key.len() <= KEY_MAX_BYTES && is_first_good && key.split('.').all(is_words) {
        return Ok(key);
    }
    Err(invalid(
        "key",
        "1 to 128 of a-z, 0-9, single _ and single . are expected, a letter first",
    ))
}

/// `[a-z0-9]+(_[a-z0-9]+)*`
fn is_words(part: &str) -> bool {
    part.split('_').all(|word| {
        let mut bytes = word.bytes();
        !word.is_empty() && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

pub(super) fn namespace(namespace: &str) -> Result<&str, MasterDataError> {
    if is_name(namespace, NAMESPACE_MAX_BYTES) {
        return Ok(namespace);
    }
    Err(invalid(
        "namespace",
        "1 to 64 of a-z, 0-9 and single _ are expected, a letter first",
    ))
}

pub(super) fn min_seq(text: &str) -> Result<i64, MasterDataError> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits).ok_or(invalid(
        "x-smp-min-seq",
        "a whole number is expected, from 0 to 9223372036854775807",
    ))
}

pub(super) fn is_capitals(code: &str, length: usize) -> bool {
    code.len() == length && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// `[a-z][a-z0-9]*(_[a-z0-9]+)*`, as the schema has it.
fn is_name(name: &str, max_bytes: usize) -> bool {
    name.len() <= max_bytes
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && is_words(name)
}

/// A day as `YYYY-MM-DD`, and in no other way.
fn day(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let is_shaped = [(year, 4), (month, 2), (day, 2)]
        .into_iter()
        .all(|(part, length)| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit())
        });
    if !is_shaped || parts.next().is_some() {
        return None;
    }
    let year = year.parse().ok().filter(|year| YEARS.contains(year))?;
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    Date::from_calendar_date(year, month, day.parse().ok()?).ok()
}

/// An amount as digits with at most one point among them: no exponent, no plus, no separators.
fn amount(text: &str) -> Option<Decimal> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    decimal(unsigned, AMOUNT_MAX_INTEGER_DIGITS, AMOUNT_MAX_DECIMALS)?;
    Decimal::from_str_exact(text).ok()
}

/// Digits with at most one point among them, and at most so many before and after it.
pub(super) fn decimal(text: &str, whole_digits: usize, decimals: usize) -> Option<Decimal> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_within = |digits: &str, most: usize| {
        (1..=most).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !is_within(whole, whole_digits) || !is_within(fraction, decimals) {
        return None;
    }
    Decimal::from_str_exact(text).ok()
}

/// A locale as a request names it, spelt as RFC 5646 section 2.1.1 recommends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Locale(String);

impl Locale {
    /// Reads a well-formed tag, in any case, extensions and private use included: they say what a
    /// browser's user prefers, and fall away in the search. No tag that begins with `x-` or `i-`.
    pub(super) fn parse(text: &str) -> Result<Self, MasterDataError> {
        Self::read(text).ok_or(invalid(
            "locale",
            "a BCP 47 tag of at most 35 bytes is expected, such as vi-VN",
        ))
    }

    fn read(text: &str) -> Option<Self> {
        if text.len() > LOCALE_MAX_BYTES {
            return None;
        }
        let mut subtags = text.split('-');
        let language = subtags.next()?;
        let is_language = (2..=8).contains(&language.len())
            && language.bytes().all(|byte| byte.is_ascii_alphabetic());
        if !is_language {
            return None;
        }
        let mut spelt = language.to_ascii_lowercase();
        let mut after_singleton = false;
        let mut ends_in_singleton = false;
        for subtag in subtags {
            let is_subtag = (1..=8).contains(&subtag.len())
                && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let is_singleton = subtag.len() == 1;
            let is_private = after_singleton && spelt.contains("-x");
            if !is_subtag || (is_singleton && ends_in_singleton && !is_private) {
                return None;
            }
            let mut subtag = subtag.to_ascii_lowercase();
            let is_letters = subtag.bytes().all(|byte| byte.is_ascii_alphabetic());
            match subtag.len() {
                2 if is_letters && !after_singleton => subtag.make_ascii_uppercase(),
                4 if is_letters && !after_singleton => {
                    if let Some(first) = subtag.get_mut(..1) {
                        first.make_ascii_uppercase();
                    }
                }
                _ => {}
            }
            after_singleton |= is_singleton;
            ends_in_singleton = is_singleton && !is_private;
            spelt.push('-');
            spelt.push_str(&subtag);
        }
        (!ends_in_singleton).then_some(Self(spelt))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Where a text is looked for, in this order: RFC 4647 section 3.4, then English.
    pub(super) fn chain(&self) -> Vec<&str> {
        let mut chain = Vec::new();
        let mut rest = Some(self.as_str());
        while let Some(locale) = rest {
            chain.push(locale);
            rest = locale.rsplit_once('-').map(|(shorter, _)| {
                // A singleton says how to read what followed it, which is gone.
                let mut shorter = shorter;
                while let Some((before, last)) = shorter.rsplit_once('-')
                    && last.len() == 1
                {
                    shorter = before;
                }
                shorter
            });
        }
        if !chain.contains(&LAST_LOCALE) {
            chain.push(LAST_LOCALE);
        }
        chain
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::date;

    use super::*;

    #[test]
    fn amounts_are_plain_digits_within_their_limits() {
        for good in [
            "0",
            "-0",
            "12.34",
            "-12.3400",
            "007",
            "999999999999999999.9999",
            "-999999999999999999.9999",
        ] {
            let read = amount(good).unwrap();
            assert_eq!(read, good.parse().unwrap());
        }
        for bad in [
            "",
            "-",
            ".",
            "1.",
            ".5",
            "+1",
            "--1",
            "1e3",
            "1,5",
            "1 000",
            "1_000",
            "NaN",
            "infinity",
            "٣",
            "1.2.3",
            "1.23456",
            "1000000000000000000",
            " 1",
        ] {
            assert_eq!(amount(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn days_are_of_the_calendar_and_in_one_spelling() {
        assert_eq!(day("2026-06-01"), Some(date!(2026 - 06 - 01)));
        assert_eq!(day("2024-02-29"), Some(date!(2024 - 02 - 29)));
        assert_eq!(day("1900-01-01"), Some(date!(1900 - 01 - 01)));
        assert_eq!(day("2999-12-31"), Some(date!(2999 - 12 - 31)));
        for bad in [
            "",
            "2026",
            "2026-6-1",
            "2026-06-01T00:00:00Z",
            "2026-13-01",
            "2026-00-01",
            "2026-02-29",
            "2026-06-00",
            "1899-12-31",
            "3000-01-01",
            "-2026-06-01",
            "+026-06-01",
            "2026-06-01-",
            "today",
        ] {
            assert_eq!(day(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_locale_falls_back_to_ever_shorter_ones_and_then_to_english() {
        for (text, chain) in [
            ("vi-VN", vec!["vi-VN", "vi", "en"]),
            ("VI-vn", vec!["vi-VN", "vi", "en"]),
            ("en", vec!["en"]),
            ("en-SG", vec!["en-SG", "en"]),
            ("zh-hant-tw", vec!["zh-Hant-TW", "zh-Hant", "zh", "en"]),
            (
                "th-TH-u-nu-thai",
                vec!["th-TH-u-nu-thai", "th-TH-u-nu", "th-TH", "th", "en"],
            ),
            // RFC 4647 section 3.4's own example.
            (
                "zh-Hant-CN-x-private1-private2",
                vec![
                    "zh-Hant-CN-x-private1-private2",
                    "zh-Hant-CN-x-private1",
                    "zh-Hant-CN",
                    "zh-Hant",
                    "zh",
                    "en",
                ],
            ),
            ("de-1996", vec!["de-1996", "de", "en"]),
            ("aa-x-a-b", vec!["aa-x-a-b", "aa", "en"]),
        ] {
            assert_eq!(Locale::parse(text).unwrap().chain(), chain);
        }
        for bad in [
            "",
            "v",
            "vi_VN",
            "vi-",
            "-vi",
            "vi--VN",
            "vi-VN-u",
            "vi-u-x",
            "x-private",
            "i-klingon",
            "v1",
            "việt",
            "vi-abcdefghi",
            "aaaaaaaaa",
            "zh-Hant-CN-x-private1-private2-priva",
            "*",
        ] {
            assert_eq!(Locale::read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_query_is_bounded_and_says_nothing_unknown_or_twice() {
        let fields = |query| match Parameters::parse(Some(query), &["base", "on"]) {
            Err(MasterDataError::Invalid { field, reason }) => Some((field, reason)),
            _ => None,
        };
        assert_eq!(fields("base=USD&on=2026-06-01"), None);
        assert_eq!(fields(""), None);
        assert_eq!(fields("base=USD&base=USD"), Some(("base", "given twice")));
        assert_eq!(fields("quote=VND").unwrap().0, "query");
        let long = format!("base={}", "a".repeat(QUERY_MAX_BYTES));
        assert_eq!(fields(&long), Some(("query", "at most 512 bytes")));
        assert!(Parameters::parse(None, &[]).unwrap().get("on").is_none());
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in any::<String>()) {
            let _read = (amount(&text), day(&text), Locale::read(&text), is_name(&text, 64));
            let _read = (key(&text), category(&text), valid_from(&text), decimal(&text, 9, 18));
            let _read = (min_seq(&text), currency("base", &text), country("country", &text));
            let _read = Parameters::parse(Some(&text), &["on", "amount"]).map(|parameters| {
                (parameters.amount(), parameters.on(date!(2026 - 01 - 01)), parameters.sources())
            });
        }

        #[test]
        fn what_looks_like_an_amount_is_one(text in "-?[0-9]{1,18}([.][0-9]{1,4})?") {
            let read = amount(&text).unwrap();
            prop_assert_eq!(read, text.parse::<Decimal>().unwrap());
        }

        #[test]
        fn what_looks_like_an_amount_does_not_panic(text in "[-+]?[0-9.e]{0,40}") {
            let _read = amount(&text);
        }

        #[test]
        fn each_day_is_read_as_it_is_written(ordinal in 1_u16..=365, year in YEARS) {
            let date = Date::from_ordinal_date(year, ordinal).unwrap();
            prop_assert_eq!(day(&date.to_string()), Some(date));
        }

        #[test]
        fn what_looks_like_a_day_does_not_panic(text in "[0-9]{3,5}-[0-9]{1,3}-[0-9]{1,3}") {
            let _read = day(&text);
        }

        /// Whatever is taken is spelt in one way, and its chain gets shorter and ends in English.
        #[test]
        fn a_locale_is_spelt_in_one_way(text in "[a-zA-Z]{2,3}(-[a-zA-Z0-9]{1,8}){0,4}") {
            if let Some(locale) = Locale::read(&text) {
                prop_assert_eq!(Locale::read(locale.as_str()), Some(locale.clone()));
                prop_assert_eq!(Locale::read(&text.to_ascii_uppercase()), Some(locale.clone()));
                let chain = locale.chain();
                prop_assert_eq!(chain.last(), Some(&LAST_LOCALE));
                for tag in &chain {
                    prop_assert!(Locale::read(tag).is_some(), "{}", tag);
                }
            }
        }
    }
}
