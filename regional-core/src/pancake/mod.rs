//! Pancake's REST interface, as its specification describes it (Pancake CRM API 2.0.0): what we ask it for, within
//! limits that keep either side well.
//!
//! - `answer`: what an answer says. Pure;
//! - `breaker`: whether to ask at all. Pure;
//! - `retry`: whether and when to ask again. Pure;
//! - [`client`]: the requests.
//!
//! The key is a parameter of the URL, so no URL goes to a log, a metric or an error.

pub mod answer;
pub mod breaker;
pub mod client;
pub mod retry;

use std::fmt;
use std::time::Duration;

/// Pancake's tables of records. A webhook does not say of which one its record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Who may become a customer.
    Lead,
    /// A customer.
    Account,
    /// A person at a customer.
    Contact,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lead, Self::Account, Self::Contact];

    /// As the interface and `pancake_watermark` name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lead => "lead",
            Self::Account => "account",
            Self::Contact => "contact",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What is asked for: the label `operation` of `pancake_rest_requests_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A page of a table's records.
    Records,
    /// One record.
    Record,
    /// The workspace's sources.
    Sources,
    /// The workspace's tags.
    Tags,
}

impl Operation {
    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Record => "record",
            Self::Sources => "sources",
            Self::Tags => "tags",
        }
    }
}

/// Why there is no answer that can be used. Quotes nothing of what was asked or answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PancakeError {
    /// It took longer than `pancake.timeout_ms`.
    #[error("Pancake took too long to answer")]
    Timeout,
    /// No connection, or one that broke.
    #[error("Pancake cannot be reached")]
    Unreachable,
    /// 429.
    #[error("Pancake wants fewer requests")]
    RateLimited {
        /// How long it wants to be left alone, if it said so.
        retry_after: Option<Duration>,
    },
    /// 401 or 403: the key is wrong, or disabled (Pancake disables keys that were idle).
    #[error("Pancake refuses the API key: look at it in Pancake, Settings, Tools")]
    KeyRefused,
    /// Another 4xx, a redirect, or an answer that says of itself that it is no success.
    #[error("Pancake refuses the request with status {0}")]
    Refused(u16),
    /// 5xx.
    #[error("Pancake fails with status {0}")]
    ServerError(u16),
    /// 200, and not what the specification says.
    #[error("Pancake's answer cannot be read: {0}")]
    Unreadable(&'static str),
    /// A page is the same as one before it, or names its cursor: following it would never end.
    #[error("Pancake repeats a page")]
    CursorRepeats,
    /// More pages than any span can have.
    #[error("Pancake's pages do not end: {0} were read")]
    TooManyPages(u32),
    /// It failed too often of late, so it was not asked.
    #[error("Pancake failed too often of late, and is not asked for a while")]
    BreakerOpen,
}

impl PancakeError {
    /// The label `outcome` of `pancake_rest_requests_total`.
    #[must_use]
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::RateLimited { .. } => "rate_limited",
            Self::KeyRefused => "key_refused",
            Self::Refused(_) => "refused",
            Self::ServerError(_) => "server_error",
            Self::Unreadable(_) | Self::CursorRepeats | Self::TooManyPages(_) => "unreadable",
            Self::BreakerOpen => "breaker_open",
        }
    }

    /// Whether it says that Pancake is not well, rather than that one request is wrong or one too many. Who answers, and
    /// be it nonsense for one workspace, may well answer others.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::Timeout | Self::Unreachable | Self::ServerError(_)
        )
    }

    /// Whether the same request may be answered a moment later.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        self.is_failure() || matches!(self, Self::Unreadable(_) | Self::RateLimited { .. })
    }
}
