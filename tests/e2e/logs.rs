//! No log holds what it must not: names and numbers of people, bodies, tokens, secrets, signatures.

use platform::pancake;
use uuid::Uuid;

use crate::support::{
    PEOPLE, Signed, client, lead, log_files, post, record_url, scripted, send, system, wait_for_log,
};

/// Does all that could tempt anybody to log, at both edges. Gives what may stand in no log.
async fn provoke() -> Vec<(String, String)> {
    let system = system().await;
    let scripted = scripted().await;
    let mut secret = Vec::new();
    let mut keep = |what: &str, text: &str| secret.push((what.to_owned(), text.to_owned()));
    for (edge, connections) in [
        (&system.edge.url, &system.connections),
        (&scripted.url, &scripted.connections),
    ] {
        for connection in connections {
            let country = connection.country;
            keep(&format!("token of {country}"), &connection.token);
            keep(&format!("secret of {country}"), &connection.secret);
            if let Some(previous) = &connection.previous_secret {
                keep(&format!("previous secret of {country}"), previous);
            }
            let url = record_url(edge, connection);
            let (id, body) = lead();
            keep("id of a record", &id.to_string());
            let right = Signed::now(connection, body.as_bytes());
            let stale = Signed::at(pancake::now() - 400, &connection.secret, body.as_bytes());
            let wrong = Signed::at(pancake::now(), "wrong", body.as_bytes());
            for signed in [&right, &right, &stale, &wrong] {
                post(&url, signed, body.as_str()).await;
                keep("signature", signed.signature.as_deref().unwrap());
            }
            // A word of a body that is no record, and one of a record that no text column holds.
            for body in [
                format!("not json {id}"),
                format!("{{\"id\":\"x-{id}\"}}"),
                format!("{{\"id\":\"{id}\",\"name\":\"\\u0000 {id}\"}}"),
            ] {
                post(&url, &Signed::now(connection, body.as_bytes()), body).await;
            }
            let get = client().get(&url);
            send(get).await;
            post(&url, &right, vec![b'x'; 1_048_577]).await;
            // Somebody mistypes a token: most of it is right.
            post(&format!("{url}x"), &right, body.as_str()).await;
        }
    }
    for failure in ["401", "close", "truncated", "redirect", "huge"] {
        let id = Uuid::new_v4().to_string();
        keep("id of a record that a core did not take", &id);
        let body = format!(
            "{{\"id\":\"{id}\",\"fake\":\"{failure}\",\"phone_number\":\"{}\"}}",
            PEOPLE[0].1
        );
        post(&scripted.record_url("VN"), &Signed::default(), body).await;
    }
    // Proxied, with a credential in a header and a person in the query.
    let person = Uuid::new_v4().to_string();
    let credential = Uuid::new_v4().to_string();
    keep("query of a proxied request", &person);
    keep("credential of a proxied request", &credential);
    for (edge, country) in [
        (&system.edge.url, "VN"),
        (&scripted.url, "ID"),
        (&scripted.url, "VN"),
    ] {
        let request = client()
            .post(format!("{edge}/api/accounts?phone={person}"))
            .header("x-country-code", country)
            .header("authorization", format!("Bearer {credential}"))
            .body(person.clone());
        send(request).await;
    }
    // Straight to a core, with signed headers that are no good.
    let forged = Uuid::new_v4().to_string();
    keep("forged hop", &forged);
    for region in &system.regions {
        keep("secret of a hop", &region.hop_secret);
        let request = client()
            .post(format!("{}/v1/pancake/vn-main/records", region.core_url()))
            .header("x-smp-country", "VN")
            .header("signature", format!("smp=:{forged}:"))
            .body(forged.clone());
        assert_eq!(send(request).await.status, 401);
        for url in [
            region.owner_url(),
            region.app_url(),
            region.postgres.admin_url("core"),
        ] {
            let password = url.split(['@', ':']).nth(2).unwrap();
            keep("password of a database", password);
        }
    }
    for (name, phone_number) in PEOPLE {
        keep("name", name);
        keep("phone number", phone_number);
    }
    secret
}

#[tokio::test]
async fn no_log_holds_people_bodies_tokens_secrets_or_signatures() {
    let secret = provoke().await;
    // Each of the logs is one that would show it: it holds what it is there to hold.
    for (log, line) in [
        ("edge.log", "\"cause\":\"no_region\""),
        ("scripted-edge.log", "\"cause\":\"core_refused\""),
        ("scripted-edge.log", "\"cause\":\"core_unreachable\""),
        ("scripted-edge.log", "\"cause\":\"region_paused\""),
        (
            "smp-asia-core.log",
            "record is not signed as the edge signs",
        ),
        (
            "smp-china-core.log",
            "record is not signed as the edge signs",
        ),
    ] {
        wait_for_log(log, line).await;
    }
    let mut found = Vec::new();
    let files = log_files();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        for (what, value) in &secret {
            if text.contains(value.as_str()) {
                found.push(format!("{} holds a {what}", file.display()));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
