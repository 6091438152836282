//! Which version of a row a request is made for.

use axum::http::{HeaderMap, HeaderName, header};

use crate::error::MasterDataError;
use crate::master_data::parse::invalid;

/// What must be so for a row to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// There is no such row.
    New,
    /// It is there, in this version.
    Version(i64),
}

impl Condition {
    /// Reads `If-Match: "<row_version>"` or `If-None-Match: *`, of which there must be one.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, MasterDataError> {
        match (
            only(headers, header::IF_MATCH, "if-match")?,
            only(headers, header::IF_NONE_MATCH, "if-none-match")?,
        ) {
            (None, None) => Err(MasterDataError::Unconditional),
            (Some(_), Some(_)) => Err(invalid("if-none-match", "not beside if-match")),
            (None, Some("*")) => Ok(Self::New),
            (None, Some(_)) => Err(invalid("if-none-match", "only * is taken")),
            (Some(etag), None) => version(etag).map(Self::Version).ok_or(invalid(
                "if-match",
                "one \"<row_version>\" is expected, as the ETag of the row has it",
            )),
        }
    }
}

/// A header's value; an error if it is there twice or is no text.
fn only<'h>(
    headers: &'h HeaderMap,
    name: HeaderName,
    field: &'static str,
) -> Result<Option<&'h str>, MasterDataError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(invalid(field, "given twice"));
    }
    let value = value.map(|value| value.to_str().map(str::trim));
    value.transpose().map_err(|_| invalid(field, "not ASCII"))
}

/// The version that a strong `ETag` of ours is.
fn version(etag: &str) -> Option<i64> {
    let digits = etag.strip_prefix('"')?.strip_suffix('"')?;
    let is_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_digits)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn condition(lines: &[(HeaderName, &str)]) -> Result<Condition, MasterDataError> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        Condition::of(&headers)
    }

    #[test]
    fn a_request_is_for_one_version_or_for_a_new_row() {
        let (some, none) = (header::IF_MATCH, header::IF_NONE_MATCH);
        assert_eq!(
            condition(&[(some.clone(), "\"1099511627777\"")]),
            Ok(Condition::Version(1_099_511_627_777))
        );
        assert_eq!(condition(&[(none.clone(), " * ")]), Ok(Condition::New));
        assert_eq!(condition(&[]), Err(MasterDataError::Unconditional));
        for lines in [
            vec![(some.clone(), "1")],
            vec![(some.clone(), "W/\"1\"")],
            vec![(some.clone(), "*")],
            vec![(some.clone(), "\"1\", \"2\"")],
            vec![(some.clone(), "\"+1\"")],
            vec![(some.clone(), "\"\"")],
            vec![(some.clone(), "\"9223372036854775808\"")],
            vec![(some.clone(), "\"1\""), (some.clone(), "\"1\"")],
            vec![(some, "\"1\""), (none.clone(), "*")],
            vec![(none, "\"1\"")],
        ] {
            let refusal = condition(&lines).unwrap_err();
            assert!(
                matches!(refusal, MasterDataError::Invalid { .. }),
                "{lines:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn each_version_is_read_as_it_is_written(row_version in 0_i64..) {
            let etag = crate::master_data::ask::row_etag(row_version);
            prop_assert_eq!(version(&etag), Some(row_version));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _read = version(&text);
        }
    }
}
