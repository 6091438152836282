//! What crosses from the hub to the regions: a key, a versioned value and four headers. Pure.
//!
//! A deletion is a record with a value like any other: an applier must see its version. A record
//! without a value (Kafka's tombstone) says only that every region has passed the deletion before it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::table::Table;

/// The version of the envelope that this code writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// The bits of a `seq` below its epoch.
pub const EPOCH_BITS: u32 = 40;

/// The highest epoch that is believed: a stream begins anew some times in its life, and a forged number
/// near the end of all numbers would leave no room above it.
pub const MAX_EPOCH: i64 = 1 << 20;

/// The epoch of the stream that a `seq` belongs to.
#[must_use]
pub fn epoch_of(seq: i64) -> i64 {
    seq >> EPOCH_BITS
}

const SEQ: &str = "smp-seq";
const EPOCH: &str = "smp-epoch";
const COMMITTED_AT: &str = "smp-committed-at";
const PUBLISHED_AT: &str = "smp-published-at";

/// A point of time in microseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMicros(pub i64);

/// One change, or one mark, of the hub's log.
#[derive(Debug)]
pub struct Envelope {
    /// Its place in the hub's log, and the version of its row.
    pub seq: i64,
    /// When the change was made, by the hub's clock.
    pub committed_at: UnixMicros,
    /// When the relay published it.
    pub published_at: UnixMicros,
    /// What it says.
    pub change: Change,
}

/// What a record says.
#[derive(Debug)]
pub enum Change {
    /// A row as it is now. JSON text, never read into numbers: decimals stay exact.
    Row {
        /// Its table.
        table: Table,
        /// The whole row.
        row: Box<RawValue>,
    },
    /// A row is there no more.
    Delete {
        /// Its table.
        table: Table,
        /// Its primary key, as an object.
        key: Box<RawValue>,
    },
    /// The hub is alive.
    Heartbeat,
    /// What a table was, exactly here.
    Digest {
        /// The table.
        table: Table,
        /// How many rows.
        rows: i64,
        /// The sum of their hashes, in decimal.
        hash: String,
    },
    /// From here on every row is sent again.
    RestateBegin,
    /// Every row has been sent again: what is older than `since` is in the hub no more.
    RestateEnd {
        /// The `seq` of the beginning.
        since: i64,
        /// How many rows there are, all tables together.
        rows: i64,
    },
}

/// What a row says of its version.
#[derive(Deserialize)]
struct RowVersion {
    row_version: i64,
}

impl Change {
    /// What it says of places in the log must fit its own: a version or a beginning from beyond could not
    /// be written over by anything that comes.
    fn check_against(&self, seq: i64) -> Result<(), Unreadable> {
        match self {
            Self::Row { row, .. } => {
                let found = serde_json::from_str::<RowVersion>(row.get());
                if found.is_ok_and(|found| found.row_version == seq) {
                    Ok(())
                } else {
                    Err(Unreadable::Field {
                        field: "row.row_version",
                        reason: "it is not the record's seq",
                    })
                }
            }
            Self::RestateEnd { since, .. } if !(1..seq).contains(since) => Err(Unreadable::Field {
                field: "since",
                reason: "it is not before the record's seq",
            }),
            _ => Ok(()),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Row { .. } => "row",
            Self::Delete { .. } => "delete",
            Self::Heartbeat => "heartbeat",
            Self::Digest { .. } => "digest",
            Self::RestateBegin => "restate_begin",
            Self::RestateEnd { .. } => "restate_end",
        }
    }
}

/// An envelope as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: [(&'static str, String); 4],
}

/// Why bytes are no envelope that this code can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Written by newer code.
    #[error("envelope version {0}: this replicator reads up to {VERSION}")]
    NewerVersion(u32),
    /// A header is absent or no number.
    #[error("header {0}: a decimal number is expected")]
    Header(&'static str),
    /// The epoch is not that of the seq.
    #[error("header {EPOCH}: it is not the epoch of {SEQ}, or above {MAX_EPOCH}")]
    Epoch,
    /// The value is no JSON of an envelope.
    #[error("value: not an envelope (line {line}, column {column})")]
    Value {
        /// Where.
        line: usize,
        /// Where.
        column: usize,
    },
    /// A field that the kind needs is absent or wrong.
    #[error("value: {field}: {reason}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
}

impl Encoded {
    /// What follows a deletion that every region has passed: a record without a value.
    #[must_use]
    pub fn tombstone(seq: i64, committed_at: UnixMicros, published_at: UnixMicros) -> Self {
        Self {
            value: None,
            headers: headers(seq, committed_at, published_at),
        }
    }
}

fn headers(
    seq: i64,
    committed_at: UnixMicros,
    published_at: UnixMicros,
) -> [(&'static str, String); 4] {
    [
        (EPOCH, epoch_of(seq).to_string()),
        (SEQ, seq.to_string()),
        (COMMITTED_AT, committed_at.0.to_string()),
        (PUBLISHED_AT, published_at.0.to_string()),
    ]
}

/// The `seq` of a record, with or without a value, by its headers.
pub fn seq_in<'h>(header: impl Fn(&'static str) -> Option<&'h [u8]>) -> Option<i64> {
    number_in(SEQ, header).filter(|seq| epoch_of(*seq) <= MAX_EPOCH)
}

fn number_in<'h>(
    name: &'static str,
    header: impl Fn(&'static str) -> Option<&'h [u8]>,
) -> Option<i64> {
    std::str::from_utf8(header(name)?)
        .ok()?
        .parse()
        .ok()
        .filter(|number| *number >= 0)
}

#[derive(Serialize, Deserialize)]
struct Version {
    envelope: u32,
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    envelope: u32,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    table: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    row: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    key: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<i64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    hash: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<i64>,
}

impl Envelope {
    /// As bytes.
    pub fn encode(&self) -> Result<Encoded, serde_json::Error> {
        let mut wire = Wire {
            envelope: VERSION,
            kind: self.change.kind().into(),
            table: None,
            row: None,
            key: None,
            rows: None,
            hash: None,
            since: None,
        };
        match &self.change {
            Change::Row { table, row } => {
                wire.table = Some(table.as_str().into());
                wire.row = Some(row);
            }
            Change::Delete { table, key } => {
                wire.table = Some(table.as_str().into());
                wire.key = Some(key);
            }
            Change::Digest { table, rows, hash } => {
                wire.table = Some(table.as_str().into());
                wire.rows = Some(*rows);
                wire.hash = Some(hash.into());
            }
            Change::RestateEnd { since, rows } => {
                wire.since = Some(*since);
                wire.rows = Some(*rows);
            }
            Change::Heartbeat | Change::RestateBegin => {}
        }
        Ok(Encoded {
            value: Some(serde_json::to_vec(&wire)?),
            headers: headers(self.seq, self.committed_at, self.published_at),
        })
    }

    /// From bytes. `header` finds a header's value by its name.
    pub fn decode<'h>(
        value: &[u8],
        header: impl Fn(&'static str) -> Option<&'h [u8]>,
    ) -> Result<Self, Unreadable> {
        let malformed = |error: serde_json::Error| Unreadable::Value {
            line: error.line(),
            column: error.column(),
        };
        let Version { envelope: version } = serde_json::from_slice(value).map_err(malformed)?;
        if version > VERSION {
            return Err(Unreadable::NewerVersion(version));
        }
        let number = |name| number_in(name, &header).ok_or(Unreadable::Header(name));
        let seq = number(SEQ)?;
        if number(EPOCH)? != epoch_of(seq) || epoch_of(seq) > MAX_EPOCH {
            return Err(Unreadable::Epoch);
        }
        let wire: Wire<'_> = serde_json::from_slice(value).map_err(malformed)?;
        let change = wire.change()?;
        change.check_against(seq)?;
        Ok(Self {
            seq,
            committed_at: UnixMicros(number(COMMITTED_AT)?),
            published_at: UnixMicros(number(PUBLISHED_AT)?),
            change,
        })
    }
}

impl Wire<'_> {
    fn change(self) -> Result<Change, Unreadable> {
        let missing = |field| Unreadable::Field {
            field,
            reason: "it is absent",
        };
        let table = || {
            let name = self.table.as_deref().ok_or(missing("table"))?;
            Table::parse(name).ok_or(Unreadable::Field {
                field: "table",
                reason: "no such table",
            })
        };
        let object = |field, value: Option<&RawValue>| {
            let value = value.ok_or(missing(field))?;
            if value.get().starts_with('{') {
                Ok(value.to_owned())
            } else {
                Err(Unreadable::Field {
                    field,
                    reason: "an object is expected",
                })
            }
        };
        Ok(match &*self.kind {
            "row" => Change::Row {
                table: table()?,
                row: object("row", self.row)?,
            },
            "delete" => Change::Delete {
                table: table()?,
                key: object("key", self.key)?,
            },
            "heartbeat" => Change::Heartbeat,
            "digest" => Change::Digest {
                table: table()?,
                rows: self.rows.ok_or(missing("rows"))?,
                hash: self
                    .hash
                    .as_deref()
                    .filter(|hash| is_decimal(hash))
                    .ok_or(Unreadable::Field {
                        field: "hash",
                        reason: "a decimal number is expected",
                    })?
                    .to_owned(),
            },
            "restate_begin" => Change::RestateBegin,
            "restate_end" => Change::RestateEnd {
                since: self.since.ok_or(missing("since"))?,
                rows: self.rows.ok_or(missing("rows"))?,
            },
            _ => {
                return Err(Unreadable::Field {
                    field: "kind",
                    reason: "no such kind",
                });
            }
        })
    }
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    (1..=40).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn envelope(change: Change) -> Envelope {
        Envelope {
            seq: (3 << EPOCH_BITS) + 7,
            committed_at: UnixMicros(1_780_000_000_000_000),
            published_at: UnixMicros(1_780_000_000_000_900),
            change,
        }
    }

    fn decode(encoded: &Encoded) -> Result<Envelope, Unreadable> {
        Envelope::decode(encoded.value.as_deref().unwrap(), |name| {
            let (_, value) = encoded.headers.iter().find(|(known, _)| *known == name)?;
            Some(value.as_bytes())
        })
    }

    #[test]
    fn each_kind_comes_back_as_it_went() {
        let changes = [
            Change::Row {
                table: Table::CurrencyRates,
                row: raw(r#"{"rate": 0.000039210000000000000001, "row_version": 3298534883335}"#),
            },
            Change::Delete {
                table: Table::Countries,
                key: raw(r#"{"code": "VN"}"#),
            },
            Change::Heartbeat,
            Change::Digest {
                table: Table::TaxConfigs,
                rows: 3,
                hash: "-12".to_owned(),
            },
            Change::RestateBegin,
            Change::RestateEnd { since: 5, rows: 2 },
        ];
        for change in changes {
            let sent = envelope(change);
            let encoded = sent.encode().unwrap();
            let received = decode(&encoded).unwrap();
            assert_eq!(received.encode().unwrap(), encoded, "{received:?}");
        }
    }

    #[test]
    fn a_decimal_is_not_rounded_on_its_way() {
        let row = r#"{"rate": 0.000039210000000000000001, "row_version": 3298534883335}"#;
        let sent = envelope(Change::Row {
            table: Table::CurrencyRates,
            row: raw(row),
        });
        let Change::Row { row: received, .. } = decode(&sent.encode().unwrap()).unwrap().change
        else {
            panic!("no row");
        };
        assert_eq!(received.get(), row);
    }

    #[test]
    fn a_newer_envelope_says_so_whatever_else_is_in_it() {
        let encoded = Encoded {
            value: Some(br#"{"envelope": 2, "anything": []}"#.to_vec()),
            ..envelope(Change::Heartbeat).encode().unwrap()
        };
        assert_eq!(decode(&encoded).unwrap_err(), Unreadable::NewerVersion(2));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = envelope(Change::Heartbeat).encode().unwrap();
        for (value, expected) in [
            (&b""[..], "value: not an envelope (line 1, column 0)"),
            (b"\xff\xfe", "value: not an envelope (line 1, column 1)"),
            (b"[1]", "value: not an envelope (line 1, column 3)"),
            (
                br#"{"envelope":1,"kind":"row","table":"countries"}"#,
                "value: row: it is absent",
            ),
            (
                br#"{"envelope":1,"kind":"row","table":"countries","row":[]}"#,
                "value: row: an object is expected",
            ),
            (
                br#"{"envelope":1,"kind":"row","table":"account","row":{}}"#,
                "value: table: no such table",
            ),
            (
                br#"{"envelope":1,"kind":"digest","table":"countries","rows":1,"hash":"1e3"}"#,
                "value: hash: a decimal number is expected",
            ),
            (
                br#"{"envelope":1,"kind":"drop"}"#,
                "value: kind: no such kind",
            ),
        ] {
            let encoded = Encoded {
                value: Some(value.to_vec()),
                ..good.clone()
            };
            assert_eq!(decode(&encoded).unwrap_err().to_string(), expected);
        }
        for (index, value, expected) in [
            (1, "x", "header smp-seq: a decimal number is expected"),
            (1, "-1", "header smp-seq: a decimal number is expected"),
            (
                0,
                "4",
                "header smp-epoch: it is not the epoch of smp-seq, or above 1048576",
            ),
        ] {
            let mut encoded = good.clone();
            encoded.headers[index].1 = value.to_owned();
            assert_eq!(decode(&encoded).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn what_could_not_be_written_over_is_refused() {
        let beyond = raw(r#"{"code": "VN", "row_version": 9223372036854775807}"#);
        let row = envelope(Change::Row {
            table: Table::Countries,
            row: beyond,
        });
        let end = envelope(Change::RestateEnd {
            since: i64::MAX,
            rows: 0,
        });
        for (sent, field) in [(row, "row.row_version"), (end, "since")] {
            let refusal = decode(&sent.encode().unwrap()).unwrap_err();
            assert!(
                matches!(refusal, Unreadable::Field { field: found, .. } if found == field),
                "{refusal}"
            );
        }
        let far = Envelope {
            seq: i64::MAX,
            ..envelope(Change::Heartbeat)
        };
        let encoded = far.encode().unwrap();
        assert_eq!(decode(&encoded).unwrap_err(), Unreadable::Epoch);
    }
}
