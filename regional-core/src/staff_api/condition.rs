//! Which version of a row a change is made for.

use axum::http::{HeaderMap, header};

use super::query::invalid;
use crate::error::StaffApiError;

const EXPECTED: &str = "one \"<version>\" is expected, as the ETag of the row has it";

/// Reads `If-Match: "<version>"`, which a change must have.
pub(super) fn version_of(headers: &HeaderMap) -> Result<i64, StaffApiError> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let value = values.next().ok_or(StaffApiError::Unconditional)?;
    if values.next().is_some() {
        return Err(invalid("if-match", "given twice"));
    }
    let etag = value.to_str().unwrap_or_default().trim();
    read(etag).ok_or(invalid("if-match", EXPECTED))
}

/// The row must be there in the version that the change is for.
pub(super) fn check(expected: i64, current_version: i64) -> Result<(), StaffApiError> {
    if expected == current_version {
        Ok(())
    } else {
        Err(StaffApiError::Stale { current_version })
    }
}

/// The version that a strong `ETag` of ours is.
fn read(etag: &str) -> Option<i64> {
    let digits = etag.strip_prefix('"')?.strip_suffix('"')?;
    let is_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_for_one_version() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(
                    header::IF_MATCH,
                    axum::http::HeaderValue::from_static(value),
                );
            }
            version_of(&headers)
        };
        assert_eq!(of(&["\"1099511627777\""]), Ok(1_099_511_627_777));
        assert_eq!(of(&[]), Err(StaffApiError::Unconditional));
        for values in [
            &["1"][..],
            &["*"],
            &["W/\"1\""],
            &["\"\""],
            &["\"+1\""],
            &["\"1\", \"2\""],
            &["\"9223372036854775808\""],
            &["\"1\"", "\"1\""],
        ] {
            let refusal = of(values).unwrap_err();
            assert!(
                matches!(
                    refusal,
                    StaffApiError::Invalid {
                        field: "if-match",
                        ..
                    }
                ),
                "{values:?}"
            );
        }
    }
}
