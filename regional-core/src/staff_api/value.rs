//! Values as they stand in an answer or a path.

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;
use uuid::Uuid;

use super::query::invalid;
use crate::error::StaffApiError;

/// 9999-12-31T23:59:59Z: what follows has no RFC 3339.
const LAST_SECOND: i64 = 253_402_300_799;

/// A moment, as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type, ToSchema)]
#[sqlx(transparent)]
#[schema(value_type = String, format = "date-time", example = "2026-11-22T10:00:00.123456Z")]
pub(super) struct Moment(OffsetDateTime);

impl Moment {
    /// From 1970 to 9999: what any row here can be of.
    pub(super) fn from_micros(micros: i64) -> Option<Self> {
        if !(0..=LAST_SECOND).contains(&micros.div_euclid(1_000_000)) {
            return None;
        }
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000)
            .ok()
            .map(Self)
    }

    /// RFC 3339, with an offset.
    pub(super) fn parse(text: &str) -> Option<Self> {
        // Longer ones have digits that PostgreSQL does not keep.
        if text.len() > 64 {
            return None;
        }
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let micros = moment.unix_timestamp_nanos().div_euclid(1000);
        Self::from_micros(i64::try_from(micros).ok()?)
    }

    pub(super) fn micros(self) -> i64 {
        i64::try_from(self.0.unix_timestamp_nanos() / 1000).unwrap_or_default()
    }
}

impl From<OffsetDateTime> for Moment {
    fn from(moment: OffsetDateTime) -> Self {
        Self(moment)
    }
}

impl From<Moment> for OffsetDateTime {
    fn from(moment: Moment) -> Self {
        moment.0
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A record may say it was changed before the year 0.
        let text = self.0.format(&Rfc3339);
        serializer.serialize_str(&text.unwrap_or_else(|_| self.0.to_string()))
    }
}

/// An id that the core made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type, Serialize, ToSchema)]
#[sqlx(transparent)]
#[serde(transparent)]
#[schema(value_type = String, format = "uuid", example = "01890a5d-ac96-774b-bcce-b302099a8057")]
pub(super) struct Id(pub(super) Uuid);

impl Id {
    pub(super) fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id in a path or a parameter, with its hyphens.
    pub(super) fn parse(field: &'static str, text: &str) -> Result<Self, StaffApiError> {
        Self::read(text).ok_or(invalid(field, "a UUID with its hyphens is expected"))
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        // The parser takes other spellings too, with braces or as a URN.
        let is_shaped = text.len() == 36;
        Uuid::try_parse(text).ok().filter(|_| is_shaped).map(Self)
    }
}

/// What somebody is in the CRM, the highest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    Telesale,
    Manager,
    Admin,
}

impl Role {
    /// The highest first.
    pub(super) const ALL: [Self; 3] = [Self::Admin, Self::Manager, Self::Telesale];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Telesale => "telesale",
            Self::Manager => "manager",
            Self::Admin => "admin",
        }
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// A text within a limit of bytes, without control characters. PostgreSQL refuses U+0000.
pub(super) fn is_text(text: &str, bytes: std::ops::RangeInclusive<usize>) -> bool {
    bytes.contains(&text.len()) && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_moment_is_rfc_3339_with_an_offset() {
        for good in [
            "2026-11-22T10:00:00Z",
            "2026-11-22T17:00:00+07:00",
            "1970-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z",
        ] {
            assert!(Moment::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "2026-11-22",
            "2026-11-22T10:00:00",
            "1969-12-31T23:59:59Z",
            "now",
            "9999-12-31T23:59:59-00:01",
            "-009999-01-01T00:00:00Z",
        ] {
            assert_eq!(Moment::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _read = (Moment::parse(&text), Id::read(&text), Role::read(&text));
        }

        #[test]
        fn each_moment_is_read_as_it_is_written(micros in 0..LAST_SECOND * 1_000_000) {
            let moment = Moment::from_micros(micros).unwrap();
            prop_assert_eq!(moment.micros(), micros);
            let text = serde_json::to_value(moment).unwrap();
            prop_assert_eq!(Moment::parse(text.as_str().unwrap()), Some(moment));
        }
    }
}
