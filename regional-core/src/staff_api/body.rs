//! Reads a JSON object member by member, and keeps all that is wrong with it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::query::invalid;
use super::value::{Moment, is_text};
use crate::error::{FieldError, StaffApiError};

/// No answer lists more than this: a body may have thousands of members that mean nothing.
const ERRORS_MAX: usize = 32;

/// The members of an object that were not read yet, and what was wrong with those that were.
#[derive(Debug)]
pub(super) struct Fields {
    members: BTreeMap<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    pub(super) fn parse(body: &[u8]) -> Result<Self, StaffApiError> {
        let EachOnce(members) = serde_json::from_slice(body).map_err(|_| {
            invalid(
                "body",
                "a JSON object is expected, in which no member is given twice",
            )
        })?;
        Ok(Self {
            members,
            errors: Vec::new(),
        })
    }

    /// The same for a change, which must say what to change.
    pub(super) fn parse_change(body: &[u8]) -> Result<Self, StaffApiError> {
        let fields = Self::parse(body)?;
        if fields.members.is_empty() {
            return Err(invalid("body", "at least one member is expected"));
        }
        Ok(fields)
    }

    /// A member that may be left out, in the form that `read` takes; `limit` describes that.
    pub(super) fn optional<T>(
        &mut self,
        field: &'static str,
        limit: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = read(&self.members.remove(field)?);
        if value.is_none() {
            self.refuse(field, limit);
        }
        value
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.members.contains_key(field)
    }

    /// A member that must be given.
    pub(super) fn required<T>(
        &mut self,
        field: &'static str,
        limit: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        if self.has(field) {
            self.optional(field, limit, read)
        } else {
            self.refuse(field, "it must be given");
            None
        }
    }

    pub(super) fn refuse(&mut self, field: &str, message: &'static str) {
        let field = field.to_owned();
        self.errors.push(FieldError { field, message });
    }

    /// Whether all was right; what is left is refused by its name.
    pub(super) fn finish(self) -> Result<(), StaffApiError> {
        let unknown = self.members.into_keys().map(|field| FieldError {
            field,
            message: "there is no such field",
        });
        let errors: Vec<_> = self
            .errors
            .into_iter()
            .chain(unknown)
            .take(ERRORS_MAX)
            .collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(StaffApiError::Refused(errors))
        }
    }
}

pub(super) const BOOLEAN: &str = "true or false is expected";

pub(super) fn boolean(value: &Value) -> Option<bool> {
    value.as_bool()
}

pub(super) fn text(value: &Value, bytes: std::ops::RangeInclusive<usize>) -> Option<String> {
    let text = value.as_str().filter(|text| is_text(text, bytes));
    text.map(str::to_owned)
}

pub(super) fn moment(value: &Value) -> Option<Moment> {
    Moment::parse(value.as_str()?)
}

/// One refused field.
pub(super) fn refused(field: &str, message: &'static str) -> StaffApiError {
    let field = field.to_owned();
    StaffApiError::Refused(vec![FieldError { field, message }])
}

/// An object's members, each at most once: of two, nobody could say which one was meant.
struct EachOnce(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for EachOnce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = EachOnce;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EachOnce, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("given twice"));
                    }
                }
                Ok(EachOnce(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let mut fields = Fields::parse(br#"{"a":true,"b":1,"d":2}"#).unwrap();
        assert_eq!(fields.optional("a", BOOLEAN, boolean), Some(true));
        assert_eq!(fields.optional("b", BOOLEAN, boolean), None);
        assert_eq!(fields.optional("c", BOOLEAN, boolean), None);
        assert_eq!(fields.required("e", BOOLEAN, boolean), None);
        let StaffApiError::Refused(errors) = fields.finish().unwrap_err() else {
            panic!("another error");
        };
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["b", "e", "d"]);
    }

    #[test]
    fn what_is_no_object_or_says_a_thing_twice_is_refused() {
        for body in ["", "[]", "null", "{", r#"{"a":1,"a":1}"#, "{} {}"] {
            let refusal = Fields::parse(body.as_bytes()).unwrap_err();
            assert!(
                matches!(refusal, StaffApiError::Invalid { field: "body", .. }),
                "{body}"
            );
        }
        Fields::parse_change(b"{}").unwrap_err();
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _read = Fields::parse(&body).map(Fields::finish);
        }
    }
}
