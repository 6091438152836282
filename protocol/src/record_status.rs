//! What a core says of a record that it has kept.

/// The response header in which a core repeats the `status` of its body, so that the edge can pass
/// an answer on without reading it: reading cost the edge about a quarter of all that a webhook
/// cost (ARCHITECTURE.md).
pub const RECORD_STATUS: &str = "x-smp-record-status";

/// What became of a record. It is committed, whichever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordStatus {
    /// A new event.
    Accepted,
    /// The same delivery had been kept before.
    Duplicate,
    /// The body is no record. It is kept with its cause.
    InvalidPayload,
}

impl RecordStatus {
    /// Each status.
    pub const ALL: [Self; 3] = [Self::Accepted, Self::Duplicate, Self::InvalidPayload];

    /// The name on the wire: `status` in the body, and the value of [`RECORD_STATUS`].
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::InvalidPayload => "invalid_payload",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}
