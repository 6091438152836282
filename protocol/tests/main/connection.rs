//! Connections by their tokens.

use proptest::prelude::*;
use protocol::connection::document::{Change, Document, Entry, entries_from_json};
use protocol::connection::{ConnectionId, Connections, InvalidConnections};
use protocol::signature::{Mode, Policy};
use protocol::token_sha256;
use protocol::{Country, UnixSeconds};
use serde_json::{Value, json};

const TOKEN: &str = "tok-Zx81-live-webhook";
const SECRET: &str = "whsec-QL-current";
const OLD_SECRET: &str = "whsec-QL-previous";

const NOW: UnixSeconds = UnixSeconds(1_780_000_000);

fn read(document: &str) -> Result<Connections, InvalidConnections> {
    let document = Document {
        version: 7,
        changed_at: NOW.0,
        connections: entries_from_json(document)?,
    };
    Connections::from_document(&document)
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
    let error = read(&document).unwrap_err();
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
    let connections = read(&document).unwrap();
    let (index, connection) = connections.find_by_token(TOKEN.as_bytes(), NOW).unwrap();
    assert_eq!((index, connection.id.as_str()), (0, "vn-main"));
    assert_eq!(connection.country, Country::parse("VN").unwrap());
    assert!(matches!(connection.policy, Policy::Enforce(_)));
    let (index, connection) = connections.find_by_token(b"other", NOW).unwrap();
    assert_eq!((index, connection.id.as_str()), (1, "cn-main"));
    assert!(matches!(connection.policy, Policy::Off));
    assert_eq!(connections.get(1).unwrap().id.as_str(), "cn-main");
    assert!(connections.get(2).is_none());
    for token in ["", "tok", &token_sha256(TOKEN), "Other", "other "] {
        assert!(connections.find_by_token(token.as_bytes(), NOW).is_none());
    }
}

#[test]
fn no_connections_are_a_valid_document() {
    let connections = read("[]").unwrap();
    assert!(connections.find_by_token(b"", NOW).is_none());
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
        let name = if key == "id" {
            "connection 0"
        } else {
            "vn-main"
        };
        assert!(
            mistakes[0].starts_with(&format!("{name}: {expected}")),
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
    assert!(read(&json!([entry]).to_string()).is_ok());
}

#[test]
fn an_id_or_a_token_that_is_there_twice_is_a_mistake() {
    let other_token = json!(token_sha256("other"));
    let twice = mistakes(&[entry(), with("token_sha256", Some(other_token))]);
    assert_eq!(twice.len(), 1);
    assert!(twice[0].starts_with("vn-main: id:"), "{twice:?}");
    let mut other_case = with("id", Some(json!("vn-other")));
    other_case["token_sha256"] = json!(token_sha256(TOKEN).to_uppercase());
    let twice = mistakes(&[entry(), other_case]);
    assert_eq!(twice.len(), 1);
    assert!(twice[0].starts_with("vn-other: token_sha256:"));
}

#[test]
fn the_mistakes_of_all_connections_are_named_at_once() {
    let mut other = with("secrets", Some(json!([])));
    other["id"] = json!("vn-other");
    other["token_sha256"] = json!(token_sha256("other"));
    let mut third = with("id", Some(json!("vn-third")));
    third["token_sha256"] = json!(token_sha256("third"));
    let mistakes = mistakes(&[with("country", Some(json!("?"))), third, other]);
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(mistakes[0].starts_with("vn-main: country:"));
    assert!(mistakes[1].starts_with("vn-other: secrets:"));
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
        let error = read(&document).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(
            shown.starts_with("not a JSON array of connections (line "),
            "{shown}"
        );
        for secret in ["tok-Zx81", "whsec-QL"] {
            assert!(!shown.contains(secret), "{document}: {shown}");
        }
    }
}

#[test]
fn debug_output_of_connections_shows_no_secret_and_no_token() {
    let connections = read(&json!([entry()]).to_string()).unwrap();
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

fn parsed(entry: Value) -> Entry {
    serde_json::from_value(entry).unwrap()
}

fn other(id: &str) -> Entry {
    let token_sha256 = token_sha256(id);
    parsed(json!({"id": id, "token_sha256": token_sha256, "country": "CN", "mode": "off"}))
}

fn document(entries: Vec<Entry>) -> Document {
    let empty = Document::default();
    empty.apply(Change::Add(entries), NOW).unwrap()
}

fn refused(document: &Document, change: Change) -> String {
    match document.apply(change, NOW) {
        Ok(_) => panic!("the change was made"),
        Err(error) => error.to_string(),
    }
}

fn id() -> String {
    "vn-main".to_owned()
}

#[test]
fn connections_are_added_all_or_none_and_a_second_time_changes_nothing() {
    let one = document(vec![parsed(entry())]);
    assert_eq!(
        (one.version, one.changed_at, one.connections.len()),
        (1, NOW.0, 1)
    );
    let two = one
        .apply(Change::Add(vec![parsed(entry()), other("cn-main")]), NOW)
        .unwrap();
    assert_eq!((two.version, two.connections.len()), (2, 2));
    let mut changed = other("cn-main");
    changed.country = "SG".to_owned();
    let mistake = refused(&two, Change::Add(vec![other("cn-next"), changed]));
    assert_eq!(mistake, "cn-main: there is one of this id already");
    let mut bad = other("cn-next");
    bad.allow = vec!["everywhere".to_owned()];
    let mistake = refused(&two, Change::Add(vec![bad]));
    assert!(mistake.starts_with("cn-next: allow: "), "{mistake}");
}

#[test]
fn no_more_connections_are_taken_than_an_isolate_reads_at_once() {
    let many: Vec<_> = (0..1_000)
        .map(|number| other(&format!("cn-{number}")))
        .collect();
    let full = document(many);
    let mistake = refused(&full, Change::Add(vec![other("one-more")]));
    assert_eq!(mistake, "there are more than 1000 connections");
}

#[test]
fn an_old_token_is_good_for_as_long_as_was_said() {
    let change = Change::RotateToken {
        id: id(),
        token_sha256: token_sha256("next"),
        old_good_secs: 86_400,
    };
    let rotated = document(vec![parsed(entry())])
        .apply(change.clone(), NOW)
        .unwrap();
    let connections = Connections::from_document(&rotated).unwrap();
    let finds = |token: &str, after: u64| {
        let found = connections.find_by_token(token.as_bytes(), UnixSeconds(NOW.0 + after));
        found.map(|(index, connection)| (index, connection.id.to_string()))
    };
    let it = Some((0, id()));
    assert_eq!(
        (finds("next", 0), finds(TOKEN, 0)),
        (it.clone(), it.clone())
    );
    assert_eq!(
        (finds("next", 86_399), finds(TOKEN, 86_399)),
        (it.clone(), it.clone())
    );
    assert_eq!((finds("next", 86_400), finds(TOKEN, 86_400)), (it, None));

    // Asked for again, it is as it was.
    let again = rotated.apply(change, UnixSeconds(NOW.0 + 60)).unwrap();
    assert!(again.connections == rotated.connections);

    // A third one, while somebody may still use the first.
    let third = |old_good_secs| Change::RotateToken {
        id: id(),
        token_sha256: token_sha256("third"),
        old_good_secs,
    };
    let mistake = refused(&rotated, third(86_400));
    assert!(
        mistake.contains("the token before is good for another 86400 s"),
        "{mistake}"
    );
    let at_once = rotated.apply(third(0), NOW).unwrap();
    assert_eq!(at_once.connections[0].old_token_sha256, None);
    let later = rotated
        .apply(third(86_400), UnixSeconds(NOW.0 + 86_400))
        .unwrap();
    let old = later.connections[0].old_token_sha256.clone();
    assert_eq!(old, Some(token_sha256("next")));
    let mistake = refused(&rotated, third(86_400 * 30 + 1));
    assert!(mistake.contains("2592000 s at most"), "{mistake}");
}

#[test]
fn an_old_token_that_is_no_secret_any_more_is_ended_at_once() {
    let rotate = |old_good_secs| Change::RotateToken {
        id: id(),
        token_sha256: token_sha256("next"),
        old_good_secs,
    };
    let rotated = document(vec![parsed(entry())])
        .apply(rotate(86_400), NOW)
        .unwrap();
    let sooner = rotated.apply(rotate(60), NOW).unwrap();
    assert_eq!(sooner.connections[0].old_token_good_until, NOW.0 + 60);
    let later = sooner.apply(rotate(86_400), NOW).unwrap();
    assert_eq!(later.connections[0].old_token_good_until, NOW.0 + 60);
    let ended = rotated.apply(rotate(0), NOW).unwrap();
    let connections = Connections::from_document(&ended).unwrap();
    assert!(connections.find_by_token(TOKEN.as_bytes(), NOW).is_none());
    assert!(connections.find_by_token(b"next", NOW).is_some());
}

#[test]
fn two_secrets_are_good_until_the_old_one_is_retired() {
    let mut entry = parsed(entry());
    entry.secrets = vec![SECRET.to_owned()];
    let secrets = |document: &Document| document.connections[0].secrets.clone();
    let rotate = |secret: &str| Change::RotateSecret {
        id: id(),
        secret: secret.to_owned(),
    };
    let rotated = document(vec![entry]).apply(rotate("next"), NOW).unwrap();
    assert_eq!(secrets(&rotated), ["next", SECRET]);
    assert_eq!(
        secrets(&rotated.apply(rotate("next"), NOW).unwrap()),
        ["next", SECRET]
    );
    assert!(refused(&rotated, rotate("third")).contains("retire the old one first"));
    let retired = rotated
        .apply(Change::RetireSecret { id: id() }, NOW)
        .unwrap();
    assert_eq!(secrets(&retired), ["next"]);
    assert!(refused(&retired, rotate("")).contains("secrets: a secret is empty"));
    assert!(refused(&retired, rotate(&"s".repeat(1_025))).contains("over 1024 bytes"));
}

#[test]
fn mode_and_addresses_are_changed_and_a_mode_that_verifies_needs_a_secret() {
    let before = document(vec![parsed(entry()), other("cn-main")]);
    let mode = |id: &str, mode| Change::SetMode {
        id: id.to_owned(),
        mode,
    };
    let observed = before.apply(mode("vn-main", Mode::Observe), NOW).unwrap();
    assert_eq!(observed.connections[0].mode, Mode::Observe);
    let mistake = refused(&before, mode("cn-main", Mode::Enforce));
    assert_eq!(
        mistake,
        "cn-main: secrets: modes observe and enforce need at least one"
    );
    let allow = |range: &str| Change::SetAllow {
        id: id(),
        allow: vec![range.to_owned()],
    };
    let allowed = before.apply(allow("192.0.2.0/24"), NOW).unwrap();
    assert_eq!(allowed.connections[0].allow, ["192.0.2.0/24"]);
    assert!(refused(&before, allow("192.0.2.0/33")).contains("is no range of addresses"));
}

#[test]
fn a_revoked_connection_is_gone_and_one_that_is_not_there_is_named() {
    let before = document(vec![parsed(entry()), other("cn-main")]);
    let revoke = |id: &str| Change::Revoke { id: id.to_owned() };
    let after = before.apply(revoke("vn-main"), NOW).unwrap();
    let connections = Connections::from_document(&after).unwrap();
    assert!(connections.find_by_token(TOKEN.as_bytes(), NOW).is_none());
    assert!(connections.find_by_token(b"cn-main", NOW).is_some());
    let nobody = "vn-mian: there is no connection of this id";
    assert_eq!(refused(&before, revoke("vn-mian")), nobody);
    assert_eq!(
        refused(
            &before,
            Change::RetireSecret {
                id: "vn-mian".to_owned()
            }
        ),
        nobody
    );
}

#[test]
fn what_is_listed_holds_no_secret() {
    let mut rotated = document(vec![parsed(entry())]);
    rotated = rotated
        .apply(
            Change::RotateToken {
                id: id(),
                token_sha256: token_sha256("next"),
                old_good_secs: 60,
            },
            NOW,
        )
        .unwrap();
    let listed = rotated.connections[0].listed(NOW);
    let shown = serde_json::to_value(&listed).unwrap();
    assert_eq!(
        shown,
        json!({
            "id": "vn-main", "country": "VN", "mode": "enforce", "secrets": 2, "allow": [],
            "token": &token_sha256("next")[..8], "old_token": &token_sha256(TOKEN)[..8],
            "old_token_good_until": NOW.0 + 60,
        })
    );
    let later = rotated.connections[0].listed(UnixSeconds(NOW.0 + 60));
    assert_eq!((later.old_token, later.old_token_good_until), (None, None));
}

#[test]
fn whoever_has_an_index_keeps_it_from_one_version_to_the_next() {
    let first = document(vec![parsed(entry()), other("cn-main"), other("cn-gone")]);
    let next = first
        .apply(
            Change::Revoke {
                id: "cn-gone".to_owned(),
            },
            NOW,
        )
        .and_then(|next| next.apply(Change::Revoke { id: id() }, NOW))
        .and_then(|next| next.apply(Change::Add(vec![other("cn-new")]), NOW))
        .and_then(|next| {
            // The same name in another country is another connection.
            let mut moved = parsed(entry());
            moved.country = "SG".to_owned();
            next.apply(Change::Add(vec![moved]), NOW)
        })
        .unwrap();
    let read = |document| Connections::from_document(document).unwrap();
    let connections = read(&first).followed_by(read(&next));
    assert_eq!(connections.version(), next.version);
    let index = |token: &str| Some(connections.find_by_token(token.as_bytes(), NOW)?.0);
    assert_eq!(index("cn-main"), Some(1));
    assert_eq!(index("cn-gone"), None);
    assert_eq!(index("cn-new"), Some(3));
    assert_eq!(index(TOKEN), Some(4));
    let at = |index| {
        let connection = connections.get(index).unwrap();
        (connection.id.to_string(), connection.country.to_string())
    };
    assert_eq!(at(0), (id(), "VN".to_owned()));
    assert_eq!(at(2), ("cn-gone".to_owned(), "CN".to_owned()));
    assert_eq!(at(4), (id(), "SG".to_owned()));
}

#[test]
fn a_change_of_another_form_is_refused_without_a_quotation() {
    let change = json!({"change": "rotate_secret", "id": "vn-main", "secret": SECRET});
    let Ok(Change::RotateSecret { .. }) = Change::from_json(&change.to_string()) else {
        panic!("{change} is a change");
    };
    let form = "not a change of connections (line ";
    for (other, expected) in [
        (
            json!({"change": "rotate_secret", "id": "vn-main"}),
            "secret: it is missing",
        ),
        (
            json!({"change": "rotate_secret", "secret": SECRET}),
            "id: it is missing",
        ),
        (
            json!({"change": "add", "id": "vn-main"}),
            "connections: it is missing",
        ),
        (
            json!({"change": SECRET, "id": "vn-main"}),
            "change: add, rotate_token, ",
        ),
        (
            json!({"change": "revoke", "id": "vn-main", SECRET: 1}),
            form,
        ),
        (
            json!({"change": "set_mode", "id": "vn-main", "mode": SECRET}),
            form,
        ),
        (
            json!({"change": "add", "connections": [{"id": SECRET}]}),
            form,
        ),
        (json!(SECRET), form),
        (json!([]), form),
        (json!({}), form),
    ] {
        let error = Change::from_json(&other.to_string()).err().unwrap();
        let shown = format!("{error} {error:?}");
        assert!(shown.starts_with(expected), "{other}: {shown}");
        assert!(!shown.contains("whsec"), "{shown}");
    }
}

#[test]
fn each_change_is_read_back_from_its_json() {
    for change in [
        Change::Add(vec![parsed(entry()), other("cn-main")]),
        Change::RotateToken {
            id: id(),
            token_sha256: token_sha256("next"),
            old_good_secs: 60,
        },
        Change::RotateSecret {
            id: id(),
            secret: "next".to_owned(),
        },
        Change::RetireSecret { id: id() },
        Change::SetMode {
            id: id(),
            mode: Mode::Observe,
        },
        Change::SetAllow {
            id: id(),
            allow: vec!["192.0.2.0/24".to_owned()],
        },
        Change::Revoke { id: id() },
        Change::Reseal,
    ] {
        let json = change.to_json();
        let back = Change::from_json(&json).unwrap();
        assert_eq!(back.to_json(), json);
        assert_eq!(
            (back.name(), back.connection()),
            (change.name(), change.connection())
        );
    }
}

proptest! {
    #[test]
    fn an_arbitrary_change_never_panics(change in "\\PC{0,200}") {
        let _ = Change::from_json(&change);
    }

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
        let _ = read(&document);
        let _ = read(&format!("[{document}]"));
    }
}
