//! Pancake's record, as its webhook sends it.
//!
//! A record is a JSON object (RFC 8259) whose `id`, if present and not null, is a UUID. That is all
//! that is demanded: Pancake's customers add fields of their own, and a field of an unexpected type
//! must not cost the lead. Each field is kept as it came; reading one as a text, a time or a list
//! gives nothing if it is not one.

use std::fmt;

use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;
use jiff::tz::Offset;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

/// The fields that Pancake documents. All others are a customer's own.
pub const DOCUMENTED_FIELDS: [&str; 14] = [
    "id",
    "name",
    "phone_number",
    "email",
    "birthday",
    "pancake_tags",
    "pancake_tags_obj",
    "source",
    "full_address",
    "created_by",
    "modified_by",
    "created_on",
    "modified_on",
    "owner",
];

/// A record, borrowed from the body it was read from. Debug output has the fields' number only: what
/// is in them is personal data.
pub struct PancakeRecord<'b> {
    fields: Vec<(String, &'b RawValue)>,
    id: Option<Uuid>,
}

impl fmt::Debug for PancakeRecord<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "PancakeRecord({:?}, {} fields)",
            self.id,
            self.fields.len()
        )
    }
}

/// Why a body is not a record. The names are kept with the body as its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RecordError {
    /// JSON between systems is UTF-8 (RFC 8259 §8.1).
    #[error("not_utf8")]
    NotUtf8,
    /// The body does not follow JSON's grammar.
    #[error("not_json")]
    NotJson,
    /// The body is JSON, but not an object.
    #[error("not_an_object")]
    NotAnObject,
    /// `id` is neither absent nor null nor a UUID with hyphens (RFC 9562 §4).
    #[error("id_not_a_uuid")]
    IdNotAUuid,
}

impl<'b> PancakeRecord<'b> {
    /// Reads a body. Where a key stands twice, the last one counts.
    pub fn parse(body: &'b [u8]) -> Result<Self, RecordError> {
        let text = std::str::from_utf8(body).map_err(|_| RecordError::NotUtf8)?;
        // The whole grammar first: read as bytes, `serde_json` lets control characters in keys pass.
        serde_json::from_str::<IgnoredAny>(text).map_err(|_| RecordError::NotJson)?;
        let Fields(fields) = serde_json::from_str(text).map_err(|_| RecordError::NotAnObject)?;
        let mut record = Self { fields, id: None };
        if let Some(id) = record.field("id").filter(|id| id.get() != "null") {
            let id = read_text(id).ok_or(RecordError::IdNotAUuid)?;
            record.id = Some(parse_uuid(&id).ok_or(RecordError::IdNotAUuid)?);
        }
        Ok(record)
    }

    /// The record's id in Pancake.
    #[must_use]
    pub fn id(&self) -> Option<Uuid> {
        self.id
    }

    /// A field as it came, byte for byte.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'b RawValue> {
        self.fields
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| *value)
    }

    /// The fields that Pancake does not document, as they came and in their order; one that stands
    /// twice is here twice.
    pub fn custom_fields(&self) -> impl Iterator<Item = (&str, &'b RawValue)> {
        self.fields
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .filter(|(name, _)| !DOCUMENTED_FIELDS.contains(name))
    }

    /// A field as text. What no database text holds (U+0000, lone surrogates) is
    /// U+FFFD in it, once or more.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.field(name).and_then(read_text)
    }

    /// A field as a moment. ISO 8601; without an offset it is UTC, and with the name of a zone but no
    /// offset it is none. From the year 1 to 9999-12-30T22:00:00Z, where the calendar of `jiff` ends:
    /// every database column and every other system of ours can hold that.
    #[must_use]
    pub fn timestamp(&self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        let pieces = Pieces::parse(&text).ok()?;
        let moment = if pieces.offset().is_some() {
            text.parse().ok()?
        } else if pieces.time_zone_annotation().is_none() {
            let civil = pieces.date().to_datetime(pieces.time().unwrap_or_default());
            Offset::UTC.to_timestamp(civil).ok()?
        } else {
            return None;
        };
        (moment >= YEAR_1).then_some(moment)
    }

    /// A field as a list of ids: its texts and whole numbers, the latter as their digits. Elements
    /// of other types are left out.
    #[must_use]
    pub fn ids(&self, name: &str) -> Vec<String> {
        let elements: Vec<&RawValue> = self
            .field(name)
            .and_then(|value| serde_json::from_str(value.get()).ok())
            .unwrap_or_default();
        elements
            .into_iter()
            .filter_map(|element| {
                read_text(element).or_else(|| read_whole_number(element).map(str::to_owned))
            })
            .collect()
    }
}

/// 0001-01-01T00:00:00Z.
const YEAR_1: Timestamp = Timestamp::constant(-62_135_596_800, 0);

/// Only the hyphenated form: `Uuid` itself also reads braces, URNs and bare digits.
fn parse_uuid(text: &str) -> Option<Uuid> {
    if text.len() == uuid::fmt::Hyphenated::LENGTH {
        Uuid::try_parse(text).ok()
    } else {
        None
    }
}

fn read_text(value: &RawValue) -> Option<String> {
    serde_json::from_str::<LossyText>(value.get())
        .ok()
        .map(|LossyText(text)| text)
}

/// The digits of a whole number of any size, with its sign.
fn read_whole_number(value: &RawValue) -> Option<&str> {
    let digits = value.get().strip_prefix('-').unwrap_or(value.get());
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| value.get())
}

/// The members of an object, in order.
struct Fields<'b>(Vec<(String, &'b RawValue)>);

impl<'de: 'b, 'b> Deserialize<'de> for Fields<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(DOCUMENTED_FIELDS.len());
                while let Some(LossyText(name)) = map.next_key()? {
                    fields.push((name, map.next_value::<&'de RawValue>()?));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// A JSON string as text that every database takes.
///
/// JSON's grammar allows `"\ud800"` and `"\u0000"`. Read as bytes, `serde_json` lets a lone
/// surrogate through as three bytes that are not UTF-8, where reading it as a `String` would fail.
struct LossyText(String);

impl<'de> Deserialize<'de> for LossyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LossyVisitor;

        impl Visitor<'_> for LossyVisitor {
            type Value = LossyText;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                self.visit_bytes(text.as_bytes())
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                let text = String::from_utf8_lossy(bytes);
                Ok(LossyText(if text.contains('\0') {
                    text.replace('\0', "\u{fffd}")
                } else {
                    text.into_owned()
                }))
            }
        }

        deserializer.deserialize_bytes(LossyVisitor)
    }
}
