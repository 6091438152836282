//! Logs.

use std::io::{self, IsTerminal};
use std::panic;

use tracing::error;
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
