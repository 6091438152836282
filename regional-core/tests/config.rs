//! Settings and secrets: each mistake names its variable, and nothing shows a secret.

use regional_core::auth::Authenticator;
use regional_core::config::secrets::Role;
use regional_core::config::{Config, ConfigError, LogFormat};

use crate::support::environment;

const SECRET: &str = "a-secret-that-nobody-may-see-0123456789";

fn config(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut all = vec![("CORE_REGION", "smp-asia"), ("CORE_COUNTRIES", "VN, SG,th")];
    all.retain(|(name, _)| variables.iter().all(|(changed, _)| changed != name));
    all.extend_from_slice(variables);
    environment(&all)?.config()
}

#[test]
fn defaults_are_whole_and_variables_go_before_them() {
    let defaults = config(&[]).unwrap();
    assert_eq!(defaults.listen.to_string(), "127.0.0.1:8701");
    assert_eq!(format!("{:?}", defaults.countries), "{SG, TH, VN}");
    assert_eq!(defaults.ingest.batch_rows.get(), 64);
    assert_eq!(defaults.ingest.deadline.as_millis(), 2500);
    assert_eq!(defaults.log_format, LogFormat::Auto);

    let changed = config(&[
        ("CORE_LISTEN", "0.0.0.0:0"),
        ("CORE_INGEST__BATCH_ROWS", "8"),
        ("CORE_HTTP__MAX_CONNECTIONS", "3"),
        ("CORE_SHUTDOWN_TIMEOUT_MS", ""),
        ("PATH", "/bin"),
    ])
    .unwrap();
    assert_eq!(changed.listen.to_string(), "0.0.0.0:0");
    assert_eq!(changed.ingest.batch_rows.get(), 8);
    assert_eq!(changed.http.max_connections.get(), 3);
    assert_eq!(changed.shutdown_timeout.as_secs(), 10);
}

#[test]
fn a_wrong_value_names_its_variable() {
    for (variable, value) in [
        ("CORE_REGION", "Asia"),
        ("CORE_COUNTRIES", "VN,Vietnam"),
        ("CORE_COUNTRIES", "VN,"),
        ("CORE_LISTEN", "8701"),
        ("CORE_WORKERS", "-1"),
        ("CORE_WORKERS", "many"),
        ("CORE_LOG_FORMAT", "xml"),
        ("CORE_JWKS", "http://id.example.com/jwks.json"),
        ("CORE_SHUTDOWN_TIMEOUT_MS", "0"),
        ("CORE_HTTP__MAX_CONNECTIONS", "0"),
        ("CORE_HTTP__BODY_TIMEOUT_MS", "2s"),
        ("CORE_INGEST__BATCH_ROWS", "0"),
        ("CORE_INGEST__QUEUE_BYTES", "1000"),
        ("CORE_DATABASE__MAX_CONNECTIONS", "1"),
        ("CORE_DATABASE__STATEMENT_TIMEOUT_MS", "2500"),
    ] {
        let error = config(&[(variable, value)]).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{variable}: ")),
            "{variable}={value}: {error}"
        );
    }
}

#[test]
fn what_is_missing_or_unknown_is_named() {
    for variable in ["CORE_REGION", "CORE_COUNTRIES"] {
        let missing = ConfigError::Missing(variable.to_owned());
        assert_eq!(config(&[(variable, "")]).unwrap_err(), missing);
    }
    for variable in [
        "CORE_COUNTRY",
        "CORE_http__max_headers",
        "CORE_HTTP",
        "CORE_HTTP_MAX_HEADERS",
    ] {
        let unknown = ConfigError::Unknown(variable.to_owned());
        assert_eq!(environment(&[(variable, SECRET)]).unwrap_err(), unknown);
        assert!(!unknown.to_string().contains(SECRET));
    }
    // Whose tokens are taken is said whole.
    for (variable, other) in [
        ("CORE_JWT_ISSUER", "CORE_JWT_AUDIENCE"),
        ("CORE_JWT_AUDIENCE", "CORE_JWT_ISSUER"),
    ] {
        let missing = ConfigError::Missing(variable.to_owned());
        let refused = config(&[("CORE_JWKS", "jwks.json"), (other, "x")]);
        assert_eq!(refused.unwrap_err(), missing);
    }
    let not_there = config(&[
        ("CORE_JWKS", "/nowhere/jwks.json"),
        ("CORE_JWT_ISSUER", "x"),
        ("CORE_JWT_AUDIENCE", "x"),
    ]);
    let refused = Authenticator::new(&not_there.unwrap()).unwrap_err();
    assert!(refused.to_string().starts_with("CORE_JWKS: cannot be read"));
    assert!(Authenticator::new(&config(&[]).unwrap()).unwrap().is_none());
    let nothing = environment(&[]).unwrap();
    assert!(nothing.editor_database_url().unwrap().is_none());
    for role in [Role::App, Role::Editor, Role::Owner, Role::Admin] {
        let missing = ConfigError::Missing(role.variable().to_owned());
        assert_eq!(nothing.database_url(role).unwrap_err(), missing);
    }
    let missing = ConfigError::Missing("CORE_HOP_SECRETS".to_owned());
    assert_eq!(nothing.hop_keys().unwrap_err(), missing);
}

#[test]
fn a_wrong_secret_names_its_variable_and_is_not_shown() {
    let two = format!(r#"{{"a":"{SECRET}","b":"{SECRET}"}}"#);
    environment(&[("CORE_HOP_SECRETS", &two)])
        .unwrap()
        .hop_keys()
        .unwrap();
    let three = format!(r#"{{"a":"{SECRET}","b":"{SECRET}","c":"{SECRET}"}}"#);
    for document in [
        SECRET.to_owned(),
        format!(r#"["{SECRET}"]"#),
        format!(r#"{{"a":["{SECRET}"]}}"#),
        format!(r#"{{"A key":"{SECRET}"}}"#),
        r#"{"a":"a-secret"}"#.to_owned(),
        "{}".to_owned(),
        three.clone(),
    ] {
        let environment = environment(&[("CORE_HOP_SECRETS", &document)]).unwrap();
        let error = environment.hop_keys().unwrap_err().to_string();
        assert!(error.starts_with("CORE_HOP_SECRETS: "), "{error}");
        assert!(!error.contains("a-secret"), "{error}");
    }
    let environment = environment(&[
        ("CORE_HOP_SECRETS", &two),
        ("CORE_HOP_RETIRED_SECRETS", &three),
    ])
    .unwrap();
    assert_eq!(environment.receipt_keys().unwrap().len(), 5);
}

#[test]
fn a_wrong_database_url_names_its_variable_and_is_not_shown() {
    for url in [
        SECRET.to_owned(),
        format!("mysql://core_app:{SECRET}@localhost/db"),
        format!("postgres://core_app:{SECRET}@localhost:port/db"),
        format!("postgres://core_app:{SECRET}@localhost"),
        format!("postgres://core_app:{SECRET}@localhost/db?sslmode={SECRET}"),
    ] {
        let environment = environment(&[("CORE_DATABASE_URL", &url)]).unwrap();
        let error = environment.database_url(Role::App).unwrap_err().to_string();
        assert!(error.starts_with("CORE_DATABASE_URL: "), "{error}");
        assert!(!error.contains(SECRET), "{error}");
    }
}

#[test]
fn debug_output_shows_no_secret() {
    let url = format!("postgres://core_app:{SECRET}@localhost/db");
    let environment = environment(&[
        ("CORE_REGION", "smp-asia"),
        ("CORE_COUNTRIES", "VN"),
        ("CORE_DATABASE_URL", &url),
        (
            "CORE_HOP_SECRETS",
            &format!(r#"{{"smp-asia-1":"{SECRET}"}}"#),
        ),
    ])
    .unwrap();
    let shown = format!(
        "{environment:?} {:?} {:?} {:?} {:?}",
        environment.config().unwrap(),
        environment.database_url(Role::App).unwrap(),
        environment.hop_keys().unwrap(),
        environment.receipt_keys().unwrap(),
    );
    assert!(shown.contains("CORE_HOP_SECRETS") && shown.contains("redacted"));
    assert!(!shown.contains(SECRET), "{shown}");
}
