//! Connections by their tokens.

use proptest::prelude::*;
use protocol::Country;
use protocol::connection::{ConnectionId, Connections, InvalidConnections};
use protocol::signature::Policy;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::hex;

const TOKEN: &str = "tok-Zx81-live-webhook";
const SECRET: &str = "whsec-QL-current";
const OLD_SECRET: &str = "whsec-QL-previous";

fn token_sha256(token: &str) -> String {
    hex(&Sha256::digest(token))
}

fn entry() -> Value {
    json!({
        "id": "vn-main",
        "token_sha256": token_sha256(TOKEN),
        "country": "VN",
        "mode": "enforce",
        "secrets": [SECRET, OLD_SECRET],
    })
}

/// The entry with one member replaced, or removed if there is no value.
fn with(key: &str, value: Option<Value>) -> Value {
    let mut entry = entry();
    match value {
        Some(value) => entry[key] = value,
        None => drop(entry.as_object_mut().unwrap().remove(key)),
    }
    entry
}

fn mistakes(entries: &[Value]) -> Vec<String> {
    let document = serde_json::to_string(entries).unwrap();
    let error = Connections::from_json(&document).unwrap_err();
    let shown = format!("{error} {error:?}");
    for secret in ["tok-Zx81", "whsec-QL", &token_sha256(TOKEN)[..16]] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let InvalidConnections(mistakes) = error;
    mistakes
}

#[test]
fn a_connection_is_found_by_its_token_alone() {
    let second = json!({
        "id": "cn-main", "token_sha256": token_sha256("other").to_uppercase(),
        "country": "cn", "mode": "off",
    });
    let document = json!([entry(), second]).to_string();
    let connections = Connections::from_json(&document).unwrap();
    let (index, connection) = connections.find_by_token(TOKEN.as_bytes()).unwrap();
    assert_eq!((index, connection.id.as_str()), (0, "vn-main"));
    assert_eq!(connection.country, Country::parse("VN").unwrap());
    assert!(matches!(connection.policy, Policy::Enforce(_)));
    let (index, connection) = connections.find_by_token(b"other").unwrap();
    assert_eq!((index, connection.id.as_str()), (1, "cn-main"));
    assert!(matches!(connection.policy, Policy::Off));
    assert_eq!(connections.get(1).unwrap().id.as_str(), "cn-main");
    assert!(connections.get(2).is_none());
    for token in ["", "tok", &token_sha256(TOKEN), "Other", "other "] {
        assert!(connections.find_by_token(token.as_bytes()).is_none());
    }
}

#[test]
fn no_connections_are_a_valid_document() {
    let connections = Connections::from_json("[]").unwrap();
    assert!(connections.find_by_token(b"").is_none());
    assert!(connections.get(0).is_none());
}

#[test]
fn each_mistake_is_named_with_its_connection_and_its_key() {
    let cases = [
        ("id", json!(""), "id:"),
        ("id", json!("VN-main"), "id:"),
        ("id", json!("vn_main"), "id:"),
        ("id", json!("v".repeat(65)), "id:"),
        ("country", json!("VNM"), "country:"),
        ("country", json!(""), "country:"),
        ("token_sha256", json!(TOKEN), "token_sha256:"),
        ("token_sha256", json!(""), "token_sha256:"),
        ("token_sha256", json!("g".repeat(64)), "token_sha256:"),
        ("token_sha256", json!("0".repeat(63)), "token_sha256:"),
        ("token_sha256", json!("0".repeat(65)), "token_sha256:"),
        ("secrets", json!([]), "secrets:"),
        ("secrets", json!([""]), "secrets:"),
        ("secrets", json!([SECRET, ""]), "secrets:"),
        ("secrets", json!([SECRET, OLD_SECRET, SECRET]), "secrets:"),
    ];
    for (key, value, expected) in cases {
        let entry = with(key, Some(value.clone()));
        let mistakes = mistakes(&[entry]);
        assert_eq!(mistakes.len(), 1, "{key} = {value}");
        assert!(
            mistakes[0].starts_with(&format!("connection 0: {expected}")),
            "{key} = {value}: {mistakes:?}"
        );
    }
}

#[test]
fn observe_and_enforce_need_a_secret_and_off_needs_none() {
    for mode in ["observe", "enforce"] {
        let mut entry = with("secrets", None);
        entry["mode"] = json!(mode);
        assert!(mistakes(&[entry])[0].contains("secrets:"));
    }
    let mut entry = with("secrets", None);
    entry["mode"] = json!("off");
    assert!(Connections::from_json(&json!([entry]).to_string()).is_ok());
}

#[test]
fn an_id_or_a_token_that_is_there_twice_is_a_mistake() {
    let other_token = json!(token_sha256("other"));
    let twice = mistakes(&[entry(), with("token_sha256", Some(other_token))]);
    assert_eq!(twice.len(), 1);
    assert!(twice[0].starts_with("connection 1: id:"), "{twice:?}");
    let mut other_case = with("id", Some(json!("vn-other")));
    other_case["token_sha256"] = json!(token_sha256(TOKEN).to_uppercase());
    let twice = mistakes(&[entry(), other_case]);
    assert_eq!(twice.len(), 1);
    assert!(twice[0].starts_with("connection 1: token_sha256:"));
}

#[test]
fn the_mistakes_of_all_connections_are_named_at_once() {
    let mut other = with("secrets", Some(json!([])));
    other["id"] = json!("vn-other");
    other["token_sha256"] = json!(token_sha256("other"));
    let mistakes = mistakes(&[with("country", Some(json!("?"))), entry(), other]);
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(mistakes[0].starts_with("connection 0: country:"));
    assert!(mistakes[1].starts_with("connection 2: secrets:"));
}

#[test]
fn all_mistakes_of_one_connection_are_named_at_once() {
    let mistakes = mistakes(&[json!({
        "id": "Bad Id", "token_sha256": "zz", "country": "?", "mode": "enforce", "secrets": [],
    })])
    .join("\n");
    for key in ["id:", "token_sha256:", "country:", "secrets:"] {
        assert!(mistakes.contains(key), "{key} is not in {mistakes:?}");
    }
}

#[test]
fn a_document_of_another_form_is_refused_without_a_quotation() {
    let documents = [
        String::new(),
        "{}".to_owned(),
        format!("\"{SECRET}\""),
        format!("[\"{SECRET}\"]"),
        format!("[{{\"{SECRET}\": 1}}]"),
        format!("{{\"{TOKEN}\": []}}"),
        json!([with("mode", Some(json!(SECRET)))]).to_string(),
        json!([with("mode", Some(json!("Enforce")))]).to_string(),
        json!([with("mode", None)]).to_string(),
        json!([with("id", None)]).to_string(),
        json!([with("country", Some(json!(7)))]).to_string(),
        json!([with("secrets", Some(json!(SECRET)))]).to_string(),
        json!([with("secrets", Some(json!([[SECRET]])))]).to_string(),
        json!([with("secrets", Some(Value::Null))]).to_string(),
        json!([with(SECRET, Some(json!(1)))]).to_string(),
        json!([with("token", Some(json!(TOKEN)))]).to_string(),
        format!("{} {SECRET}", json!([entry()])),
        json!([entry()])
            .to_string()
            .replace("\"id\"", "\"id\":\"x\",\"id\""),
    ];
    for document in documents {
        let error = Connections::from_json(&document).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.starts_with("PANCAKE_CONNECTIONS: "), "{shown}");
        for secret in ["tok-Zx81", "whsec-QL"] {
            assert!(!shown.contains(secret), "{document}: {shown}");
        }
    }
}

#[test]
fn debug_output_of_connections_shows_no_secret_and_no_token() {
    let connections = Connections::from_json(&json!([entry()]).to_string()).unwrap();
    let connection = connections.get(0).unwrap();
    for shown in [
        format!("{connections:?}"),
        format!("{connections:#?}"),
        format!("{connection:?}"),
    ] {
        for secret in [TOKEN, SECRET, OLD_SECRET] {
            assert!(!shown.contains(secret), "{shown}");
            // As a list of numbers, which is how Debug shows bytes.
            let numbers = format!("{:?}", secret.as_bytes());
            assert!(!shown.contains(numbers.trim_matches(['[', ']'])), "{shown}");
        }
        assert!(shown.contains("vn-main"), "{shown}");
        assert!(shown.contains("redacted"), "{shown}");
    }
}

proptest! {
    #[test]
    fn an_id_of_a_connection_is_read_back_from_its_text(id in "[a-z0-9-]{1,64}") {
        let read = ConnectionId::parse(&id).unwrap();
        prop_assert_eq!(read.as_str(), &id);
        prop_assert_eq!(read.to_string(), id);
    }

    #[test]
    fn any_other_text_is_no_id(text in "\\PC{0,70}|[a-z0-9-]{65,70}|[a-z-]{0,5}[A-Z_/. \n][a-z]{0,5}") {
        let clean = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        let expected = clean && !text.is_empty() && text.len() <= 64;
        prop_assert_eq!(ConnectionId::parse(&text).is_ok(), expected);
    }

    #[test]
    fn a_country_is_read_back_from_its_text(code in "[A-Za-z]{2}") {
        let country = Country::parse(&code).unwrap();
        prop_assert_eq!(country.as_str(), code.to_uppercase());
        prop_assert_eq!(Country::parse(country.as_str()), Ok(country));
        prop_assert_eq!(country.to_string().parse(), Ok(country));
        let json = serde_json::to_string(&country).unwrap();
        prop_assert_eq!(serde_json::from_str::<Country>(&json).unwrap(), country);
    }

    #[test]
    fn any_other_text_is_no_country(text in "\\PC{0,4}") {
        let expected = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
        prop_assert_eq!(Country::parse(&text).is_ok(), expected);
    }

    #[test]
    fn an_arbitrary_document_never_panics(document in "\\PC{0,200}") {
        let _ = Connections::from_json(&document);
        let _ = Connections::from_json(&format!("[{document}]"));
    }
}
