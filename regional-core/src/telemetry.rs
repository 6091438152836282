//! Logs.

use std::io::{self, IsTerminal};
use std::panic;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument as _, error, error_span};
use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, LogFormat};

/// Starts logging to standard error. `CORE_LOG` says what, `CORE_LOG_FORMAT` how.
///
/// Panics are logged by place only: what they say may quote what a customer sent.
pub fn start(directives: &str, format: LogFormat) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(directives).map_err(|error| ConfigError::Invalid {
        variable: "CORE_LOG".to_owned(),
        reason: error.to_string(),
    })?;
    let json = match format {
        LogFormat::Auto => !io::stderr().is_terminal(),
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    // A second start in one process (tests) keeps the first.
    let _already_started = if json {
        subscriber.json().flatten_event(true).try_init().is_err()
    } else {
        subscriber.try_init().is_err()
    };
    panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(String::new, ToString::to_string);
        error!(panic.place = %place, "panic");
    }));
    Ok(())
}

/// Names in each log line of a request the trace that the request belongs to, if its `traceparent` (W3C Trace
/// Context, level 1) names one. The edge passes on what the client sent.
pub(crate) async fn follow_trace(request: Request, next: Next) -> Response {
    let header = request.headers().get("traceparent");
    let trace = header.and_then(|header| trace_id(header.as_bytes()));
    let Some(trace) = trace.map(str::to_owned) else {
        return next.run(request).await;
    };
    let span = error_span!("request", trace.id = trace);
    next.run(request).instrument(span).await
}

/// The trace's id: 32 lower-case hex digits, not all zero.
fn trace_id(traceparent: &[u8]) -> Option<&str> {
    let text = str::from_utf8(traceparent).ok()?;
    let mut parts = text.split('-');
    let hex = |part: &&str, length| {
        part.len() == length
            && part
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let version = parts.next().filter(|part| hex(part, 2) && *part != "ff")?;
    let trace = parts.next().filter(|part| hex(part, 32))?;
    parts.next().filter(|part| hex(part, 16))?;
    parts.next().filter(|part| hex(part, 2))?;
    // Later versions may have more parts; this one has not.
    let is_whole = version != "00" || parts.next().is_none();
    (is_whole && trace.bytes().any(|byte| byte != b'0')).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::trace_id;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn only_a_traceparent_as_the_standard_has_it_names_a_trace() {
        let with = |version, rest: &str| format!("{version}-{TRACE}-00f067aa0ba902b7-{rest}");
        assert_eq!(trace_id(with("00", "01").as_bytes()), Some(TRACE));
        assert_eq!(
            trace_id(with("cc", "01-what-comes").as_bytes()),
            Some(TRACE)
        );
        for other in [
            String::new(),
            TRACE.to_owned(),
            with("00", "01-more"),
            with("ff", "01"),
            with("0", "01"),
            with("00", "1"),
            with("00", "01").to_uppercase(),
            with("00", "01").replace(TRACE, &"0".repeat(32)),
            with("00", "01").replace('f', "g"),
        ] {
            assert_eq!(trace_id(other.as_bytes()), None, "{other:?}");
        }
        assert_eq!(trace_id(&[0xff; 55]), None);
    }
}
