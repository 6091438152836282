//! Reads a JSON object member by member, and keeps all that is wrong with it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use crate::error::{FieldError, MasterDataError};
use crate::master_data::parse::invalid;

/// No answer lists more than this: a body may have thousands of members that mean nothing.
const ERRORS_MAX: usize = 32;

/// The members of an object that were not read yet, and what was wrong with those that were.
#[derive(Debug)]
pub(super) struct Fields {
    members: Members,
    errors: Vec<FieldError>,
}

/// An object's members, each at most once: of two, nobody could say which one was meant.
#[derive(Debug)]
struct Members(BTreeMap<String, Value>);

impl Fields {
    /// Reads the object.
    pub(super) fn parse(body: &[u8]) -> Result<Self, MasterDataError> {
        let members = serde_json::from_slice(body).map_err(|_| {
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

    /// A member that must be given, in the form that `read` takes; `limit` describes that.
    pub(super) fn take<T>(
        &mut self,
        field: &'static str,
        limit: &'static str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Option<T> {
        let (message, value) = match self.members.0.remove(field) {
            None => ("it must be given", None),
            Some(value) => (limit, read(value)),
        };
        if value.is_none() {
            let field = field.to_owned();
            self.errors.push(FieldError { field, message });
        }
        value
    }

    /// The same for one that may be null.
    #[expect(
        clippy::option_option,
        reason = "refused, null or a value are three things"
    )]
    pub(super) fn take_nullable<T>(
        &mut self,
        field: &'static str,
        limit: &'static str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Option<Option<T>> {
        self.take(field, limit, |value| match value {
            Value::Null => Some(None),
            value => read(value).map(Some),
        })
    }

    /// A member that is a text.
    pub(super) fn text(
        &mut self,
        field: &'static str,
        limit: &'static str,
        is_good: impl FnOnce(&str) -> bool,
    ) -> Option<String> {
        self.take(field, limit, |value| text_of(value, is_good))
    }

    /// What was read, if nothing was wrong and nothing is left.
    pub(super) fn finish<T>(self, row: Option<T>) -> Result<T, MasterDataError> {
        let Self { members, errors } = self;
        let unknown = members.0.into_keys().map(|field| FieldError {
            field,
            message: "there is no such field",
        });
        let errors: Vec<_> = errors.into_iter().chain(unknown).take(ERRORS_MAX).collect();
        match row {
            Some(row) if errors.is_empty() => Ok(row),
            _ => Err(MasterDataError::Refused(errors)),
        }
    }
}

/// The text of a string that is as it should be.
pub(super) fn text_of(value: Value, is_good: impl FnOnce(&str) -> bool) -> Option<String> {
    match value {
        Value::String(text) if is_good(&text) => Some(text),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EachOnce;

        impl<'de> Visitor<'de> for EachOnce {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("given twice"));
                    }
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(EachOnce)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let mut fields = Fields::parse(br#"{"a":"x","b":1,"c":null,"d":2}"#).unwrap();
        let a = fields.text("a", "x is expected", |text| text == "x");
        let b = fields.text("b", "a text is expected", |_| true);
        let c = fields.take_nullable("c", "a text or null", |value| text_of(value, |_| true));
        let e = fields.text("e", "a text is expected", |_| true);
        assert_eq!((a.as_deref(), &b, &c), (Some("x"), &None, &Some(None)));
        let MasterDataError::Refused(errors) = fields.finish(e).unwrap_err() else {
            panic!("another error");
        };
        let errors: Vec<_> = errors
            .iter()
            .map(|error| (error.field.as_str(), error.message))
            .collect();
        assert_eq!(
            errors,
            [
                ("b", "a text is expected"),
                ("e", "it must be given"),
                ("d", "there is no such field"),
            ]
        );
    }

    #[test]
    fn what_is_no_object_or_says_a_thing_twice_is_refused() {
        for body in ["", "[]", "null", "1", "{", r#"{"a":1,"a":1}"#, "{} {}"] {
            let refusal = Fields::parse(body.as_bytes()).unwrap_err();
            let is_body = matches!(refusal, MasterDataError::Invalid { field: "body", .. });
            assert!(is_body, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _read = Fields::parse(&body).map(|fields| fields.finish(Some(())));
        }
    }
}
