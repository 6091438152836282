//! What is written through the hub's core, and what is refused.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Method, Request};
use regional_core::auth::JwksLocation;
use regional_core::master_data::is_known_constraint;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::auth::{Issuer, trust};
use crate::support::master_data::{Part, core_with};
use crate::support::{Answer, TestCore};

const EDITOR: &str = "master_data_editor";

async fn core_of(part: Part) -> TestCore {
    let jwks = Issuer::new(1).jwks_file();
    core_with(part, |config| trust(config, JwksLocation::File(jwks))).await
}

/// A request by an editor, with these headers.
async fn send(
    core: &TestCore,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Answer {
    let token = Issuer::new(1).token(&[EDITOR]);
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/v1/master-data{path}"))
        .header("authorization", format!("Bearer {token}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    core.send(request.body(body.into()).unwrap()).await
}

async fn put(core: &TestCore, path: &str, condition: (&str, &str), body: &Value) -> Answer {
    send(core, Method::PUT, path, &[condition], body.to_string()).await
}

async fn delete(core: &TestCore, path: &str, version: &str) -> Answer {
    let condition = [("if-match", version)];
    send(core, Method::DELETE, path, &condition, Body::empty()).await
}

const NEW: (&str, &str) = ("if-none-match", "*");

fn header(answer: &Answer, name: &str) -> String {
    let value = answer.headers.get(name);
    let value = value.unwrap_or_else(|| panic!("no {name}: {}", answer.text()));
    value.to_str().unwrap().to_owned()
}

/// The row as a read sees it that names the version token of `written`; none if there is no row.
async fn read_after(core: &TestCore, path: &str, written: &Answer) -> Option<(String, Value)> {
    let token = header(written, "x-smp-seq");
    assert_eq!(written.json()["seq"].to_string(), token);
    assert_eq!(written.cache_control.as_deref(), Some("no-store"));
    let read = send(core, Method::GET, path, &[("x-smp-min-seq", &token)], "").await;
    if read.status == 404 {
        return None;
    }
    assert_eq!(read.status, 200, "{}", read.text());
    Some((header(&read, "etag"), read.json()))
}

#[track_caller]
fn assert_problem(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
    assert_eq!(
        answer.content_type.as_deref(),
        Some("application/problem+json")
    );
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    let text = answer.text().to_lowercase();
    for internal in [
        "sqlstate",
        "select",
        "insert",
        "constraint",
        "_fkey",
        "_check",
    ] {
        assert!(!text.contains(internal), "{text}");
    }
    problem
}

/// The fields that a 422 names.
#[track_caller]
fn blamed(answer: &Answer) -> Vec<String> {
    let problem = assert_problem(answer, 422);
    let errors = problem["errors"].as_array().unwrap();
    for error in errors {
        assert!(error["message"].as_str().unwrap().len() > 5);
    }
    errors
        .iter()
        .map(|error| error["field"].as_str().unwrap().to_owned())
        .collect()
}

/// Path, a good body and a changed one, of each table.
fn rows() -> [(&'static str, Value, Value); 5] {
    [
        (
            "/currencies/KRW",
            json!({"numeric_code": "410", "name": "Won", "minor_units": 0, "cash_increment": null,
                   "symbol": "₩", "is_active": true}),
            json!({"numeric_code": "410", "name": "Won", "minor_units": 0, "cash_increment": "5",
                   "symbol": "₩", "is_active": false}),
        ),
        (
            "/countries/JP",
            json!({"alpha3": "JPN", "numeric_code": "392", "name": "Japan", "default_currency": "USD",
                   "default_locale": "ja-JP", "time_zones": ["Asia/Tokyo"], "calling_code": "81",
                   "is_active": true}),
            json!({"alpha3": "JPN", "numeric_code": "392", "name": "Japan", "default_currency": "VND",
                   "default_locale": "ja", "time_zones": ["Asia/Tokyo"], "calling_code": "81",
                   "is_active": false}),
        ),
        (
            "/rates/USD/VND/2029-01-01",
            json!({"rate": "26123.000000000000000001", "source": "bank"}),
            json!({"rate": null, "source": "bank:2"}),
        ),
        (
            "/taxes/VN/vat/standard/2029-07-01",
            json!({"rate": "0.110", "note": "Nghị quyết"}),
            json!({"rate": "0.12", "note": null}),
        ),
        (
            "/translations/vi/common/new.text_1",
            json!({"text": "Lưu {name}\n…"}),
            json!({"text": "Lưu"}),
        ),
    ]
}

#[tokio::test]
async fn each_table_is_written_row_by_row_and_read_as_it_was_written() {
    let core = core_of(Part::Hub).await;
    let mut last = 0;
    for (path, body, changed) in rows() {
        let made = put(&core, path, NEW, &body).await;
        assert_eq!(made.status, 201, "{path}: {}", made.text());
        let first = header(&made, "etag");
        assert_eq!(first, format!("\"{}\"", made.json()["row_version"]));
        let (etag, row) = read_after(&core, path, &made).await.unwrap();
        assert_eq!(etag, first);
        for (field, value) in body.as_object().unwrap() {
            assert_eq!(row[field], *value, "{path}: {field}");
        }

        let written = put(&core, path, ("if-match", &first), &changed).await;
        assert_eq!(written.status, 200, "{path}: {}", written.text());
        let second = header(&written, "etag");
        assert_ne!(first, second);
        let (etag, row) = read_after(&core, path, &written).await.unwrap();
        assert_eq!(etag, second);
        for (field, value) in changed.as_object().unwrap() {
            assert_eq!(row[field], *value, "{path}: {field}");
        }

        let gone = delete(&core, path, &second).await;
        assert_eq!(gone.status, 200, "{path}: {}", gone.text());
        assert!(!gone.headers.contains_key("etag"));
        assert_eq!(read_after(&core, path, &gone).await, None);
        let seqs = [&made, &written, &gone].map(|answer| answer.json()["seq"].as_i64().unwrap());
        assert!(last < seqs[0] && seqs.is_sorted(), "{seqs:?}");
        last = seqs[2];
        // What is made again is another row, whose version is above all before.
        let again = put(&core, path, NEW, &body).await.json();
        assert!(again["seq"].as_i64().unwrap() > last);
        let version = format!("\"{}\"", again["row_version"]);
        assert_eq!(delete(&core, path, &version).await.status, 200);
        last += 1;
    }
}

#[tokio::test]
async fn nobody_undoes_what_they_have_not_seen() {
    let core = core_of(Part::Hub).await;
    for (path, body, changed) in rows() {
        let plain = send(&core, Method::PUT, path, &[], body.to_string()).await;
        assert_problem(&plain, 428);
        let none = put(&core, path, ("if-match", "\"1\""), &body).await;
        assert_eq!(
            assert_problem(&none, 412).get("current_version"),
            None,
            "there is no row"
        );
        assert_problem(&delete(&core, path, "\"1\"").await, 404);

        let made = put(&core, path, NEW, &body).await;
        let first = header(&made, "etag");
        let there = put(&core, path, NEW, &body).await;
        let version = &made.json()["row_version"];
        assert_eq!(assert_problem(&there, 412)["current_version"], *version);

        // Two at once, who both have seen the same.
        let condition = ("if-match", first.as_str());
        let (one, other) = tokio::join!(
            put(&core, path, condition, &changed),
            put(&core, path, condition, &changed)
        );
        let (written, refused) = if one.status == 200 {
            (one, other)
        } else {
            (other, one)
        };
        assert_eq!(written.status, 200, "{}", written.text());
        let version = &written.json()["row_version"];
        assert_eq!(assert_problem(&refused, 412)["current_version"], *version);
        let stale = delete(&core, path, &first).await;
        assert_eq!(assert_problem(&stale, 412)["current_version"], *version);

        let plain = send(&core, Method::DELETE, path, &[], "").await;
        assert_problem(&plain, 428);
        let unlike = send(&core, Method::DELETE, path, &[NEW], "").await;
        assert_eq!(assert_problem(&unlike, 400)["field"], "if-none-match");
        let weak = delete(&core, path, &format!("W/{}", header(&written, "etag"))).await;
        assert_eq!(assert_problem(&weak, 400)["field"], "if-match");
        let gone = delete(&core, path, &header(&written, "etag")).await;
        assert_eq!(gone.status, 200);
    }
}

#[tokio::test]
async fn each_field_is_held_to_its_limit_and_all_are_named() {
    let core = core_of(Part::Hub).await;
    for (path, body, _) in rows() {
        // None of the fields, and one that there is not.
        let empty = put(&core, path, NEW, &json!({"row_version": 1})).await;
        let mut expected: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
        expected.push("row_version".to_owned());
        let mut fields = blamed(&empty);
        fields.sort();
        expected.sort();
        assert_eq!(fields, expected, "{path}");
        for body in ["", "[]", "null", "{\"rate\":\"1\",\"rate\":\"2\"}"] {
            let answer = send(&core, Method::PUT, path, &[NEW], body).await;
            assert_eq!(assert_problem(&answer, 400)["field"], "body");
        }
    }
}

#[tokio::test]
async fn what_the_schema_alone_knows_is_blamed_on_its_field() {
    let core = core_of(Part::Hub).await;
    for (path, field, value, blames) in [
        ("/currencies/KRW", "numeric_code", json!("704"), "code"),
        ("/currencies/KRW", "minor_units", json!(2), "code"),
        (
            "/currencies/KRW",
            "cash_increment",
            json!("0.5"),
            "cash_increment",
        ),
        ("/currencies/KRW", "name", json!("Wo\u{0302}n"), "name"),
        ("/currencies/XXX", "name", json!("None"), "code"),
        ("/countries/JP", "alpha3", json!("JAP"), "code"),
        (
            "/countries/JP",
            "default_currency",
            json!("KRW"),
            "default_currency",
        ),
        (
            "/countries/JP",
            "default_locale",
            json!("ja-x-a"),
            "default_locale",
        ),
        (
            "/countries/JP",
            "time_zones",
            json!(["Asia/Edo"]),
            "time_zones",
        ),
        ("/countries/ZZ", "name", json!("None"), "code"),
        ("/rates/USD/VND/2029-01-01", "rate", json!("0.0"), "rate"),
        (
            "/rates/USD/KRW/2029-01-01",
            "source",
            json!("bank"),
            "quote",
        ),
        ("/rates/KRW/USD/2029-01-01", "source", json!("bank"), "base"),
        (
            "/rates/USD/USD/2029-01-01",
            "source",
            json!("bank"),
            "quote",
        ),
        (
            "/taxes/VN/vat/standard/2029-07-01",
            "rate",
            json!("8"),
            "rate",
        ),
        (
            "/taxes/VN/vat/standard/2029-07-01",
            "note",
            json!("e\u{0302}"),
            "note",
        ),
        (
            "/taxes/JP/vat/standard/2029-07-01",
            "note",
            json!(null),
            "country",
        ),
        (
            "/translations/vi/common/x",
            "text",
            json!("Lu\u{031b}u"),
            "text",
        ),
        (
            "/translations/vi-x-a/common/x",
            "text",
            json!("Lưu"),
            "locale",
        ),
    ] {
        let table = path.split('/').nth(1).unwrap();
        let of_table = |row: &&(&str, Value, Value)| row.0.split('/').nth(1) == Some(table);
        let mut body = rows().iter().find(of_table).unwrap().1.clone();
        body[field] = value.clone();
        let answer = put(&core, path, NEW, &body).await;
        assert_eq!(blamed(&answer), [blames], "{path} {field}={value}");
    }
}

#[tokio::test]
async fn path_and_length_are_held_to_their_limits() {
    let core = core_of(Part::Hub).await;
    for (path, field) in [
        ("/currencies/krw", "code"),
        ("/countries/JPN", "code"),
        ("/rates/USD/vnd/2029-01-01", "quote"),
        ("/rates/USD/VND/2029-1-1", "valid_from"),
        ("/taxes/VN/VAT/standard/2029-07-01", "kind"),
        ("/taxes/VN/vat/standard%20/2029-07-01", "category"),
        ("/taxes/VN/vat/standard/1899-12-31", "valid_from"),
        ("/translations/vi/common/Save", "key"),
        ("/translations/vi/common/a..b", "key"),
        ("/translations/-/common/save", "locale"),
        ("/translations/vi/Common/save", "namespace"),
        ("/currencies/KRW?x=1", "query"),
    ] {
        let answer = put(&core, path, NEW, &json!({})).await;
        assert_eq!(assert_problem(&answer, 400)["field"], field, "{path}");
    }
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(64 * 1024));
    let path = "/translations/vi/common/save";
    let answer = send(&core, Method::PUT, path, &[NEW], large).await;
    assert_problem(&answer, 413);
}

/// Each refusal of the schema is put into words: none is an error of ours.
#[tokio::test]
async fn every_constraint_of_the_schema_has_its_words() {
    let core = core_of(Part::Hub).await;
    let names: Vec<String> = sqlx::query_scalar(
        "select conname::text from pg_constraint c join pg_class t on t.oid = c.conrelid \
         where contype in ('c', 'f', 'u') and t.relnamespace = 'smp_global'::regnamespace \
           and t.relname in ('currencies', 'countries', 'currency_rates', 'tax_configs', \
                             'i18n_translations')",
    )
    .fetch_all(&core.pool)
    .await
    .unwrap();
    assert!(names.len() > 30, "{names:?}");
    let unknown: Vec<_> = names
        .iter()
        .filter(|name| !is_known_constraint(name))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[tokio::test]
async fn what_others_refer_to_is_not_deleted() {
    let core = core_of(Part::Hub).await;
    for (path, by) in [
        (
            "/currencies/THB",
            ["countries (default_currency)", "currency_rates"],
        ),
        ("/countries/VN", ["tax_configs (country)", ""]),
    ] {
        let there = send(&core, Method::GET, path, &[], "").await;
        let refused = delete(&core, path, &header(&there, "etag")).await;
        let problem = assert_problem(&refused, 409);
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            by.iter().any(|by| !by.is_empty() && detail.contains(by)),
            "{detail}"
        );
        assert_eq!(send(&core, Method::GET, path, &[], "").await.status, 200);
    }
}

#[tokio::test]
async fn a_region_only_reads() {
    let core = core_of(Part::Region).await;
    for (path, body, _) in rows() {
        for answer in [
            put(&core, path, NEW, &body).await,
            delete(&core, path, "\"1\"").await,
        ] {
            let problem = assert_problem(&answer, 409);
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("hub"), "{detail}");
        }
    }
}

#[tokio::test]
async fn only_an_editor_whose_token_is_good_writes() {
    let core = core_of(Part::Hub).await;
    let issuer = Issuer::new(1);
    let ask = async |authorization: Option<String>| {
        let mut request = Request::put("/v1/master-data/currencies/KRW");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        core.send(request.body(Body::from("no body yet")).unwrap())
            .await
    };
    let bearer = |token: String| Some(format!("Bearer {token}"));
    for (authorization, status, challenge) in [
        (None, 401, "Bearer"),
        (Some("Basic YTpi".to_owned()), 401, "Bearer"),
        (
            bearer("a.b.c".to_owned()),
            401,
            "Bearer error=\"invalid_token\"",
        ),
        (
            bearer(Issuer::new(2).token(&[EDITOR])),
            401,
            "Bearer error=\"invalid_token\"",
        ),
        (
            bearer(issuer.token(&[])),
            403,
            "Bearer error=\"insufficient_scope\"",
        ),
        (
            bearer(issuer.token(&["admin", "master_data_reader"])),
            403,
            "Bearer error=\"insufficient_scope\"",
        ),
        (
            bearer(issuer.token_of_scope(&[EDITOR], "master_data:read")),
            403,
            "Bearer error=\"insufficient_scope\"",
        ),
    ] {
        let answer = ask(authorization.clone()).await;
        assert_problem(&answer, status);
        assert_eq!(header(&answer, "www-authenticate"), challenge);
        if let Some(token) =
            authorization.and_then(|value| Some(value.split_once(' ')?.1.to_owned()))
        {
            assert!(!answer.text().contains(&token), "it quotes the token");
        }
    }
    // Rightly signed, and let in: what is missing is said now.
    let good = bearer(issuer.token(&["admin", EDITOR]));
    assert_problem(&ask(good.clone()).await, 428);
    core.clock.advance(630);
    assert_problem(&ask(good.clone()).await, 401);

    // A core that knows no keys knows nobody.
    let core = core_with(Part::Hub, |_| {}).await;
    let mut request = Request::put("/v1/master-data/currencies/KRW");
    request = request.header("authorization", good.unwrap());
    let answer = core.send(request.body(Body::empty()).unwrap()).await;
    let problem = assert_problem(&answer, 503);
    assert!(problem["detail"].as_str().unwrap().contains("CORE_JWKS"));
    assert!(answer.retry_after.is_some());
}

/// A key set behind a URL, and what it is now; none: it answers 500.
async fn serve_jwks(document: Arc<Mutex<Option<String>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let _read = stream.read(&mut head).await.unwrap();
            let (status, body) = document
                .lock()
                .unwrap()
                .clone()
                .map_or(("500 Oh", String::new()), |body| ("200 OK", body));
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn new_keys_are_fetched_when_a_token_names_one_and_old_ones_stay() {
    let (first, second) = (Issuer::new(1), Issuer::new(2));
    let document = Arc::new(Mutex::new(None));
    let url = serve_jwks(Arc::clone(&document)).await;
    let core = core_with(Part::Hub, |config| trust(config, url.parse().unwrap())).await;
    let status = async |issuer: &Issuer| {
        let request = Request::put("/v1/master-data/currencies/KRW")
            .header(
                "authorization",
                format!("Bearer {}", issuer.token(&[EDITOR])),
            )
            .body(Body::empty());
        core.send(request.unwrap()).await.status.as_u16()
    };
    // Not a word of it yet, and for a minute nobody looks again.
    assert_eq!(status(&first).await, 503);
    *document.lock().unwrap() = Some(first.jwks());
    assert_eq!(status(&first).await, 503);
    core.clock.advance(60);
    assert_eq!(status(&first).await, 428, "let in");

    *document.lock().unwrap() = Some(second.jwks());
    assert_eq!(status(&second).await, 401, "within the minute");
    assert_eq!(status(&first).await, 428);
    core.clock.advance(60);
    assert_eq!(status(&second).await, 428);
    assert_eq!(status(&first).await, 401, "it is there no more");

    *document.lock().unwrap() = None;
    core.clock.advance(60);
    assert_eq!(status(&first).await, 401);
    assert_eq!(status(&second).await, 428, "what was known stays");
}

#[tokio::test]
async fn the_editor_can_do_nothing_else() {
    let core = core_of(Part::Hub).await;
    let mut connection = PgConnection::connect(&core.database.editor_url())
        .await
        .unwrap();
    regional_core::db::check_connection(&mut connection)
        .await
        .unwrap();
    for statement in [
        "select * from public.pancake_webhook_event",
        "select * from public.pancake_rejected_request",
        "insert into smp_global.change_log (seq, kind) values (1, 'heartbeat')",
        "delete from smp_global.change_log",
        "update smp_global.node set role = 'region'",
        "select nextval('smp_global.change_seq')",
        "select smp_global.restate()",
        "alter table smp_global.currencies disable trigger all",
        "set session_replication_role = replica",
        "create table public.mine (x int)",
        "create table smp_global.mine (x int)",
        "create schema mine",
        "set role master_data_owner",
        "set role core_app",
    ] {
        let error = sqlx::raw_sql(statement)
            .execute(&mut connection)
            .await
            .expect_err(statement);
        let sqlstate = error.as_database_error().unwrap().code().unwrap();
        assert_eq!(sqlstate, "42501", "{statement}: {error}");
    }
}
