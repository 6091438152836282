//! How the region's own broker is reached.

use super::{ConfigError, invalid, optional, required};
use crate::kafka::{Broker, Encryption, Mechanism};

const KAFKA_PROTOCOL: &str = "REPLICATOR_KAFKA_SECURITY_PROTOCOL";
const KAFKA_MECHANISM: &str = "REPLICATOR_KAFKA_SASL_MECHANISM";
const KAFKA_USER: &str = "REPLICATOR_KAFKA_USER";
const KAFKA_CA: &str = "REPLICATOR_KAFKA_CA";

/// The region's own broker: `REPLICATOR_KAFKA`; `REPLICATOR_KAFKA_USER` with `REPLICATOR_KAFKA_PASSWORD` and
/// `REPLICATOR_KAFKA_SASL_MECHANISM` if it asks who is there; `REPLICATOR_KAFKA_SECURITY_PROTOCOL`, and
/// `REPLICATOR_KAFKA_CA`, if it encrypts.
pub fn broker() -> Result<Broker, ConfigError> {
    let user = optional(KAFKA_USER);
    let (encryption, mechanism) = read_security(
        user.is_some(),
        optional(KAFKA_PROTOCOL).as_deref(),
        optional(KAFKA_MECHANISM).as_deref(),
        optional(KAFKA_CA),
    )?;
    let credentials = match user {
        Some(user) => Some((user, required("REPLICATOR_KAFKA_PASSWORD")?.into())),
        None => None,
    };
    Ok(Broker {
        bootstrap: required("REPLICATOR_KAFKA")?,
        credentials,
        mechanism,
        encryption,
    })
}

/// What Kafka's names of them say. Nobody is to believe that something is encrypted, or a password meant, that is not.
fn read_security(
    has_user: bool,
    protocol: Option<&str>,
    mechanism: Option<&str>,
    ca: Option<String>,
) -> Result<(Encryption, Mechanism), ConfigError> {
    let (wants_user, is_encrypted) = match protocol {
        None => (has_user, false),
        Some("PLAINTEXT") => (false, false),
        Some("SASL_PLAINTEXT") => (true, false),
        Some("SSL") => (false, true),
        Some("SASL_SSL") => (true, true),
        Some(other) => {
            let reason = format!("{other}: PLAINTEXT, SASL_PLAINTEXT, SSL or SASL_SSL is expected");
            return Err(invalid(KAFKA_PROTOCOL, reason));
        }
    };
    if wants_user != has_user {
        let reason = format!(
            "{} {}",
            protocol.unwrap_or_default(),
            if wants_user {
                "wants a user: set REPLICATOR_KAFKA_USER"
            } else {
                "names no user: leave REPLICATOR_KAFKA_USER out, or take SASL_PLAINTEXT or SASL_SSL"
            }
        );
        return Err(invalid(KAFKA_PROTOCOL, reason));
    }
    let encryption = match (is_encrypted, ca) {
        (true, ca) => Encryption::Tls { ca },
        (false, None) => Encryption::None,
        (false, Some(_)) => {
            let reason = format!("nothing is encrypted: set {KAFKA_PROTOCOL} to SASL_SSL");
            return Err(invalid(KAFKA_CA, reason));
        }
    };
    let mechanism = match mechanism {
        None | Some("PLAIN") => Mechanism::Plain,
        Some("SCRAM-SHA-512") => Mechanism::ScramSha512,
        Some(other) => {
            let reason = format!("{other}: PLAIN or SCRAM-SHA-512 is expected");
            return Err(invalid(KAFKA_MECHANISM, reason));
        }
    };
    Ok((encryption, mechanism))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_talked_to_as_the_variables_say() {
        let tls = |ca: Option<&str>| Encryption::Tls {
            ca: ca.map(str::to_owned),
        };
        for (has_user, protocol, mechanism, ca, expected) in [
            (
                false,
                None,
                None,
                None,
                (Encryption::None, Mechanism::Plain),
            ),
            (true, None, None, None, (Encryption::None, Mechanism::Plain)),
            (
                true,
                Some("SASL_SSL"),
                Some("SCRAM-SHA-512"),
                Some("/ca.crt"),
                (tls(Some("/ca.crt")), Mechanism::ScramSha512),
            ),
            (
                false,
                Some("SSL"),
                None,
                None,
                (tls(None), Mechanism::Plain),
            ),
        ] {
            let ca = ca.map(str::to_owned);
            let security = read_security(has_user, protocol, mechanism, ca).unwrap();
            assert_eq!(security, expected);
        }
    }

    #[test]
    fn what_would_not_be_encrypted_or_name_nobody_is_refused() {
        for (has_user, protocol, mechanism, ca, named) in [
            (true, Some("sasl_ssl"), None, None, "SASL_SSL is expected"),
            (
                false,
                Some("SASL_SSL"),
                None,
                None,
                "set REPLICATOR_KAFKA_USER",
            ),
            (
                true,
                Some("SSL"),
                None,
                None,
                "leave REPLICATOR_KAFKA_USER out",
            ),
            (
                true,
                None,
                None,
                Some("/ca.crt"),
                "REPLICATOR_KAFKA_CA: nothing is encrypted",
            ),
            (
                true,
                None,
                Some("SCRAM"),
                None,
                "SCRAM: PLAIN or SCRAM-SHA-512",
            ),
        ] {
            let ca = ca.map(str::to_owned);
            let error = read_security(has_user, protocol, mechanism, ca).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
