//! The parameters of a query. Pure, and total: any bytes are either taken or refused by name.

use super::value::{Id, Moment};
use crate::error::StaffApiError;
use crate::query::QueryParameters;

/// The longest query: all parameters of the endpoint with the most, with a long cursor, take half of it.
const QUERY_MAX_BYTES: usize = 2048;
/// How many items a page has at most.
const LIMIT_MAX: u8 = 200;
const LIMIT_DEFAULT: u8 = 50;

pub(super) fn invalid(field: &'static str, reason: &'static str) -> StaffApiError {
    StaffApiError::Invalid { field, reason }
}

/// The parameters of a query, each at most once.
#[derive(Debug)]
pub(super) struct Parameters(QueryParameters);

impl Parameters {
    /// Reads a query, in which nothing but `known` may be: a misspelt filter would otherwise show all.
    pub(super) fn parse(
        query: Option<&str>,
        known: &'static [&'static str],
    ) -> Result<Self, StaffApiError> {
        QueryParameters::parse(query, known, (QUERY_MAX_BYTES, "at most 2048 bytes"))
            .map(Self)
            .map_err(|refused| invalid(refused.field, refused.reason))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)
    }

    /// A parameter in the form that `read` takes; `limit` describes that.
    pub(super) fn read<T>(
        &self,
        name: &'static str,
        limit: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, StaffApiError> {
        self.get(name)
            .map(|text| read(text).ok_or(invalid(name, limit)))
            .transpose()
    }

    pub(super) fn limit(&self) -> Result<u8, StaffApiError> {
        let limit = self.read("limit", LIMIT_EXPECTED, |text| {
            let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse()
                .ok()
                .filter(|limit| is_digits && is_limit(*limit))
        })?;
        Ok(limit.unwrap_or(LIMIT_DEFAULT))
    }

    pub(super) fn boolean(&self, name: &'static str) -> Result<Option<bool>, StaffApiError> {
        self.read(name, "true or false is expected", |text| match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }

    pub(super) fn id(&self, name: &'static str) -> Result<Option<Id>, StaffApiError> {
        self.read(name, "a UUID with its hyphens is expected", Id::read)
    }

    pub(super) fn moment(&self, name: &'static str) -> Result<Option<Moment>, StaffApiError> {
        self.read(name, MOMENT_EXPECTED, Moment::parse)
    }

    /// The id of a connection or a source.
    pub(super) fn name(&self, name: &'static str) -> Result<Option<String>, StaffApiError> {
        self.read(name, NAME_EXPECTED, read_name)
    }
}

pub(super) const LIMIT_EXPECTED: &str = "a whole number from 1 to 200 is expected";
pub(super) const MOMENT_EXPECTED: &str =
    "RFC 3339 with an offset is expected, from 1970 to 9999, such as 2026-11-22T10:00:00Z";
pub(super) const NAME_EXPECTED: &str = "1 to 256 bytes without U+0000 are expected";

pub(super) fn is_limit(limit: u8) -> bool {
    (1..=LIMIT_MAX).contains(&limit)
}

pub(super) fn read_name(text: &str) -> Option<String> {
    let is_good = (1..=256).contains(&text.len()) && !text.contains('\0');
    is_good.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_query_is_bounded_and_says_nothing_unknown_or_twice() {
        let fields = |query| match Parameters::parse(Some(query), &["limit", "state"]) {
            Err(StaffApiError::Invalid { field, .. }) => Some(field),
            _ => None,
        };
        assert_eq!(fields("limit=1&state=a"), None);
        assert_eq!(fields("limit=1&limit=1"), Some("limit"));
        assert_eq!(fields("stat=a"), Some("query"));
        assert_eq!(
            fields(&format!("state={}", "a".repeat(QUERY_MAX_BYTES))),
            Some("query")
        );
    }

    #[test]
    fn a_limit_is_from_1_to_200() {
        for (text, limit) in [
            ("1", Some(1)),
            ("200", Some(200)),
            ("0", None),
            ("201", None),
            ("+1", None),
            ("", None),
        ] {
            let query = format!("limit={text}");
            let read = Parameters::parse(Some(&query), &["limit"]).unwrap().limit();
            assert_eq!(read.ok(), limit, "{text}");
        }
        assert_eq!(
            Parameters::parse(None, &["limit"]).unwrap().limit(),
            Ok(LIMIT_DEFAULT)
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _read = Parameters::parse(Some(&text), &["limit", "from"])
                .map(|parameters| (parameters.limit(), parameters.moment("from")));
        }
    }
}
