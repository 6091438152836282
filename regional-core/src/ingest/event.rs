//! What a believed request becomes: pure, no I/O.

use bytes::Bytes;
use jiff::Timestamp;
use protocol::Country;
use protocol::connection::ConnectionId;
use protocol::hop::VerifiedRecord;
use protocol::record::PancakeRecord;
use protocol::signature::Verdict;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::sources;

/// The way by which a record came to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Straight from the edge.
    Webhook,
    /// It waited at the edge.
    Spool,
    /// Asked for at Pancake, by polling.
    Poll,
    /// Asked for at Pancake, by the daily comparison.
    Reconcile,
}

impl Layer {
    /// As the column has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Spool => "spool",
            Self::Poll => "poll",
            Self::Reconcile => "reconcile",
        }
    }
}

/// What is kept of the way over the edge: evidence that it was the edge that sent it.
pub struct Receipt {
    /// What the edge found of Pancake's signature.
    pub verdict: Verdict,
    /// The version of the route table.
    pub route_version: u32,
    /// What was signed.
    pub hop_signature_input: Box<str>,
    /// The signature.
    pub hop_signature: Box<str>,
}

/// A body, with all that is kept of the way it took.
pub struct Delivery {
    /// A version 7 UUID: of the event, or of the rejected request.
    pub id: Uuid,
    /// By which way it came.
    pub layer: Layer,
    /// The country.
    pub country: Country,
    /// The Pancake connection.
    pub connection: ConnectionId,
    /// Of its hop. None if we asked Pancake for it ourselves.
    pub receipt: Option<Receipt>,
    /// The body, byte for byte.
    pub body: Bytes,
    /// Its SHA-256.
    pub body_sha256: [u8; 32],
    /// When it came.
    pub received_at: OffsetDateTime,
}

impl Delivery {
    /// Keeps what a believed hop says of a body.
    #[must_use]
    pub fn new(
        layer: Layer,
        hop: VerifiedRecord<'_>,
        body: Bytes,
        received_at: OffsetDateTime,
    ) -> Self {
        Self {
            id: Uuid::now_v7(),
            layer,
            country: hop.country,
            connection: hop.connection,
            receipt: Some(Receipt {
                verdict: hop.verdict,
                route_version: hop.route_version,
                hop_signature_input: hop.signature_input.into(),
                hop_signature: hop.signature.into(),
            }),
            body,
            body_sha256: hop.body_sha256,
            received_at,
        }
    }
}

/// What tells one delivery from another: equal bytes have equal fields, so within a connection the hash
/// alone does. The same bytes through two connections are two events, or a country would lose a lead to
/// another.
pub type DeliveryKey<'d> = (&'d [u8; 32], Country, &'d ConnectionId);

impl Delivery {
    /// This delivery's key.
    #[must_use]
    pub fn key(&self) -> DeliveryKey<'_> {
        (&self.body_sha256, self.country, &self.connection)
    }
}

/// A row of `pancake_webhook_event`, not yet written.
pub struct NewEvent {
    /// The delivery.
    pub delivery: Delivery,
    /// What is kept in columns beside the payload.
    pub fields: RecordFields,
}

/// The fields of a record that have columns of their own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordFields {
    /// `id`.
    pub record_id: Option<Uuid>,
    /// `modified_on`, to the microsecond, which is what PostgreSQL keeps.
    pub modified_on: Option<OffsetDateTime>,
    /// `created_on`, likewise.
    pub created_on: Option<OffsetDateTime>,
    /// `name`.
    pub name: Option<String>,
    /// `phone_number`.
    pub phone_number: Option<String>,
    /// `email`.
    pub email: Option<String>,
    /// Those of `source` that count, as the text of a PostgreSQL array: arrays of arrays cannot be ragged, so a batch's
    /// lists travel as texts.
    pub source_ids: String,
}

impl RecordFields {
    /// Reads them.
    #[must_use]
    pub fn read(record: &PancakeRecord<'_>) -> Self {
        let moment = |name| record.timestamp(name).and_then(to_microseconds);
        Self {
            record_id: record.id(),
            modified_on: moment("modified_on"),
            created_on: moment("created_on"),
            name: record.text("name"),
            phone_number: record.text("phone_number"),
            email: record.text("email"),
            source_ids: array_literal(&sources::that_count(&record.ids("source"))),
        }
    }
}

fn to_microseconds(moment: Timestamp) -> Option<OffsetDateTime> {
    let nanoseconds = i128::from(moment.as_microsecond()) * 1000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()
}

/// The text of a PostgreSQL `text[]`, each element in quotes.
fn array_literal(elements: &[String]) -> String {
    let mut literal = String::from("{");
    for (position, element) in elements.iter().enumerate() {
        if position > 0 {
            literal.push(',');
        }
        literal.push('"');
        for character in element.chars() {
            if matches!(character, '"' | '\\') {
                literal.push('\\');
            }
            literal.push(character);
        }
        literal.push('"');
    }
    literal.push('}');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &str) -> RecordFields {
        RecordFields::read(&PancakeRecord::parse(body.as_bytes()).unwrap())
    }

    #[test]
    fn elements_of_a_list_cannot_leave_their_quotes() {
        let elements = ["-11", "", "a,b", r#"q"q"#, r"back\slash", "{}", "NULL"];
        assert_eq!(
            array_literal(&elements.map(str::to_owned)),
            r#"{"-11","","a,b","q\"q","back\\slash","{}","NULL"}"#
        );
        assert_eq!(array_literal(&[]), "{}");
    }

    #[test]
    fn times_are_kept_to_the_microsecond() {
        let read = fields(r#"{"modified_on":"2026-03-01T10:00:00.123456789","created_on":"no"}"#);
        assert_eq!(
            read.modified_on,
            Some(time::macros::datetime!(2026-03-01 10:00:00.123456 UTC))
        );
        assert_eq!(read.created_on, None);
    }

    #[test]
    fn sources_that_do_not_count_are_not_kept_beside_the_payload() {
        let long = "x".repeat(300);
        let read = fields(&format!(r#"{{"source":["","a",7,"a","{long}"]}}"#));
        assert_eq!(
            read.source_ids,
            format!(r#"{{"a","7","{}"}}"#, &long[..256])
        );
        assert_eq!(fields(r#"{"source":[""]}"#).source_ids, "{}");
    }

    #[test]
    fn fields_of_a_wrong_type_are_absent() {
        let read = fields(r#"{"name":7,"phone_number":{},"email":[],"source":"x"}"#);
        let nothing = RecordFields {
            source_ids: "{}".to_owned(),
            ..RecordFields::default()
        };
        assert_eq!(read, nothing);
    }
}
