//! What the edge answers of its own, without or instead of a core.

use std::fmt::Write as _;

/// How long, in seconds, a sender should wait before it tries again when we could not take a
/// record. Long enough for a core to restart, short against Pancake's 30-minute suspension window.
pub const RETRY_AFTER_SECS: u32 = 30;

/// In how many seconds the requests of an address are counted, as `RATE_LIMIT` of `wrangler.toml` says.
pub const RATE_PERIOD_SECS: u32 = 10;

/// An answer of the edge's own.
///
/// Pancake counts everything but 2xx against us, and suspends the webhook after too many. So what is
/// the sender's doing is answered 200 with its reason, and only what is our fault, or what no
/// webhook of ours would be, is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 200: timestamp missing, malformed or out of the window (mode `enforce`).
    TimestampOutOfWindow,
    /// 200: signature missing or wrong (mode `enforce`).
    HmacInvalid,
    /// 200: the record waits, sealed, until its region takes it.
    Queued,
    /// 403: nothing is taken from this address, or not for this connection.
    AddressNotAllowed,
    /// 429: this address sends too much.
    TooManyRequests,
    /// 404: no connection has this token.
    UnknownToken,
    /// 405: a webhook is a POST.
    MethodNotAllowed,
    /// 413: the body is over [`protocol::BODY_LIMIT_BYTES`].
    BodyTooLarge,
    /// 503: the connection's country has no region.
    NoRegionForConnection,
    /// 503: ops have paused the region.
    RegionPaused,
    /// 503: the core answered something else than what it answers when it has kept the record.
    CoreRefused,
    /// 503: the core could not be reached, or its answer not be read.
    CoreUnreachable,
    /// 503: the core did not answer in time.
    CoreTimedOut,
    /// 503: the core failed again and again just now, so it was not asked.
    CoreFailing,
    /// 503: whom the tokens belong to could not be read, or nobody has said.
    ConnectionsUnknown,
    /// 503: routes or secrets of this deployment are invalid.
    Misconfigured,
    /// 200: the edge itself is up.
    Healthy,
    /// 401: only ops are served here, and this is nobody of them.
    Unauthorized,
    /// 403: the token lets its holder see, not change.
    Forbidden,
    /// 404: nothing is served under this path.
    NotFound,
    /// 404: a request to be proxied names no country, or one without a region.
    NoRegion,
    /// 502: the core of a proxied request could not be reached.
    BadGateway,
    /// 504: the core of a proxied request did not answer in time.
    GatewayTimeout,
}

impl Answer {
    /// Each answer, at the index that stands for it between wasm and JS.
    pub const ALL: [Self; 23] = [
        Self::TimestampOutOfWindow,
        Self::HmacInvalid,
        Self::Queued,
        Self::AddressNotAllowed,
        Self::TooManyRequests,
        Self::UnknownToken,
        Self::MethodNotAllowed,
        Self::BodyTooLarge,
        Self::NoRegionForConnection,
        Self::RegionPaused,
        Self::CoreRefused,
        Self::CoreUnreachable,
        Self::CoreTimedOut,
        Self::CoreFailing,
        Self::ConnectionsUnknown,
        Self::Misconfigured,
        Self::Healthy,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::NoRegion,
        Self::BadGateway,
        Self::GatewayTimeout,
    ];

    /// The HTTP status.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::TimestampOutOfWindow | Self::HmacInvalid | Self::Queued | Self::Healthy => 200,
            Self::Unauthorized => 401,
            Self::Forbidden | Self::AddressNotAllowed => 403,
            Self::TooManyRequests => 429,
            Self::UnknownToken | Self::NotFound | Self::NoRegion => 404,
            Self::MethodNotAllowed => 405,
            Self::BodyTooLarge => 413,
            Self::BadGateway => 502,
            Self::NoRegionForConnection
            | Self::RegionPaused
            | Self::CoreRefused
            | Self::CoreUnreachable
            | Self::CoreTimedOut
            | Self::CoreFailing
            | Self::ConnectionsUnknown
            | Self::Misconfigured => 503,
            Self::GatewayTimeout => 504,
        }
    }

    /// The `status` in the body. Why a core could not take a record is for our logs, not for the
    /// sender: it is `unavailable` to them, whatever the cause.
    #[must_use]
    pub fn status(self) -> &'static str {
        match self {
            Self::TimestampOutOfWindow => "timestamp_out_of_window",
            Self::HmacInvalid => "hmac_invalid",
            Self::Queued => "queued",
            Self::AddressNotAllowed => "ip_not_allowed",
            Self::TooManyRequests => "too_many_requests",
            Self::UnknownToken => "unknown_token",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BodyTooLarge => "body_too_large",
            Self::NoRegionForConnection | Self::NoRegion => "no_region",
            Self::RegionPaused
            | Self::CoreRefused
            | Self::CoreUnreachable
            | Self::CoreTimedOut
            | Self::CoreFailing
            | Self::ConnectionsUnknown
            | Self::Misconfigured => "unavailable",
            Self::Healthy => "ok",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::BadGateway => "bad_gateway",
            Self::GatewayTimeout => "gateway_timeout",
        }
    }

    /// What our own logs call it, for an answer that somebody of ours must look at.
    #[must_use]
    pub fn cause(self) -> Option<&'static str> {
        match self {
            Self::NoRegionForConnection => Some("no_region"),
            Self::RegionPaused => Some("region_paused"),
            Self::CoreRefused => Some("core_refused"),
            Self::CoreUnreachable | Self::BadGateway => Some("core_unreachable"),
            Self::CoreTimedOut | Self::GatewayTimeout => Some("core_timed_out"),
            Self::CoreFailing => Some("core_failing"),
            Self::ConnectionsUnknown => Some("connections_unknown"),
            Self::Misconfigured => Some("misconfigured"),
            _ => None,
        }
    }

    /// The body.
    #[must_use]
    pub fn body(self) -> String {
        format!("{{\"status\":\"{}\"}}", self.status())
    }

    /// The headers.
    #[must_use]
    pub fn headers(self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("content-type", "application/json".to_owned())];
        if self.http_status() == 503 {
            headers.push(("retry-after", RETRY_AFTER_SECS.to_string()));
        }
        if self == Self::TooManyRequests {
            headers.push(("retry-after", RATE_PERIOD_SECS.to_string()));
        }
        if self == Self::MethodNotAllowed {
            headers.push(("allow", "POST".to_owned()));
        }
        if self == Self::Unauthorized {
            headers.push(("www-authenticate", "Bearer".to_owned()));
        }
        headers
    }

    /// The whole answer as JSON, for the module that speaks to the platform.
    #[must_use]
    pub fn to_json(self) -> String {
        let mut headers = String::new();
        for (name, value) in self.headers() {
            let separator = if headers.is_empty() { "" } else { "," };
            // Writing to a `String` cannot fail; names and values hold nothing to escape.
            let _ = write!(headers, "{separator}\"{name}\":\"{value}\"");
        }
        let cause = self
            .cause()
            .map_or("null".to_owned(), |cause| format!("\"{cause}\""));
        format!(
            "{{\"status\":{},\"headers\":{{{headers}}},\"body\":{},\"cause\":{cause}}}",
            self.http_status(),
            serde_json::Value::String(self.body()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_stands_at_its_own_index() {
        for (index, answer) in Answer::ALL.into_iter().enumerate() {
            assert_eq!(
                Answer::ALL.iter().position(|other| *other == answer),
                Some(index)
            );
        }
    }

    #[test]
    fn what_the_sender_caused_does_not_count_against_us() {
        for answer in [Answer::TimestampOutOfWindow, Answer::HmacInvalid] {
            assert_eq!(answer.http_status(), 200);
        }
    }

    #[test]
    fn whoever_is_turned_away_for_our_fault_is_told_when_to_come_back() {
        for answer in Answer::ALL
            .into_iter()
            .filter(|answer| answer.http_status() == 503)
        {
            assert!(
                answer.headers().contains(&("retry-after", "30".to_owned())),
                "{answer:?}"
            );
            assert!(
                answer.cause().is_some(),
                "{answer:?} has no cause for our logs"
            );
        }
    }

    #[test]
    fn every_answer_is_valid_json_twice_over() {
        for answer in Answer::ALL {
            let whole: serde_json::Value = serde_json::from_str(&answer.to_json()).unwrap();
            let body: serde_json::Value =
                serde_json::from_str(whole["body"].as_str().unwrap()).unwrap();
            assert_eq!(body["status"], answer.status());
        }
    }
}
