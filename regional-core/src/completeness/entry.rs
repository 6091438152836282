//! What an entry of Pancake's list is to us.

use bytes::Bytes;
use jiff::Timestamp;
use protocol::BODY_LIMIT_BYTES;
use protocol::Country;
use protocol::connection::ConnectionId;
use protocol::record::PancakeRecord;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::ingest::event::{Delivery, Layer, NewEvent, RecordFields};

/// The cause of an entry that is longer than any record may be. Its beginning is kept, and the hash of all of it.
pub(crate) const TOO_LARGE: &str = "too_large";

/// Whose list it is, and who asked.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) country: Country,
    pub(crate) connection: ConnectionId,
    pub(crate) layer: Layer,
}

/// What becomes of an entry.
pub(crate) enum Entry {
    /// A record, and when it was changed.
    Record(NewEvent),
    /// Older than what was asked for: a provider that does not heed the filter would bring its whole history.
    Older,
    /// No record: kept with its cause.
    Rejected(Delivery, String),
}

/// Reads an entry of a list that was asked for what changed at `from` or later.
pub(crate) fn read(
    origin: &Origin,
    from: Timestamp,
    entry: &Bytes,
    received_at: OffsetDateTime,
) -> Entry {
    let delivery = |body: Bytes| Delivery {
        id: Uuid::now_v7(),
        layer: origin.layer,
        country: origin.country,
        connection: origin.connection.clone(),
        receipt: None,
        body,
        body_sha256: Sha256::digest(entry).into(),
        received_at,
    };
    if entry.len() > BODY_LIMIT_BYTES {
        let beginning = entry.slice(..BODY_LIMIT_BYTES);
        return Entry::Rejected(delivery(beginning), TOO_LARGE.to_owned());
    }
    match PancakeRecord::parse(entry) {
        Err(cause) => Entry::Rejected(delivery(entry.clone()), cause.to_string()),
        Ok(record) if record.timestamp("modified_on").is_some_and(|on| on < from) => Entry::Older,
        Ok(record) => Entry::Record(NewEvent {
            fields: RecordFields::read(&record),
            delivery: delivery(entry.clone()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Entry {
        let origin = Origin {
            country: Country::parse("VN").unwrap(),
            connection: ConnectionId::parse("vn-main").unwrap(),
            layer: Layer::Poll,
        };
        let from = "2026-03-01T10:00:00Z".parse().unwrap();
        let now = OffsetDateTime::UNIX_EPOCH;
        read(&origin, from, &Bytes::copy_from_slice(text.as_bytes()), now)
    }

    #[test]
    fn a_record_from_then_on_is_taken_and_so_is_one_that_does_not_say_when() {
        for text in [
            r#"{"modified_on":"2026-03-01T10:00:00Z"}"#,
            r#"{"modified_on":"2031-01-01T00:00:00Z"}"#,
            r#"{"modified_on":"yesterday"}"#,
            "{}",
        ] {
            assert!(matches!(read_text(text), Entry::Record(_)), "{text}");
        }
        let older = r#"{"modified_on":"2026-03-01T09:59:59Z"}"#;
        assert!(matches!(read_text(older), Entry::Older));
    }

    #[test]
    fn what_is_no_record_is_kept_with_its_cause() {
        let long = format!(r#"{{"x":"{}"}}"#, "x".repeat(BODY_LIMIT_BYTES));
        for (text, expected) in [
            ("7", "not_an_object"),
            ("null", "not_an_object"),
            (r#"{"id":"7"}"#, "id_not_a_uuid"),
            (&long, TOO_LARGE),
        ] {
            let Entry::Rejected(delivery, cause) = read_text(text) else {
                panic!("{expected}: it is a record");
            };
            assert_eq!(cause, expected);
            assert!(delivery.body.len() <= BODY_LIMIT_BYTES);
            let whole: [u8; 32] = Sha256::digest(text.as_bytes()).into();
            assert_eq!(delivery.body_sha256, whole);
        }
    }
}
