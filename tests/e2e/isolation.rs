//! What belongs to one region is nowhere else.

use platform::region::Region;
use protocol::connection::ConnectionId;
use protocol::hop::{Destination, HopKey, RecordSigner, record_path};
use protocol::signature::{Policy, SignedHeaders, admit};
use protocol::{Country, RegionId, UnixSeconds};
use sqlx::error::DatabaseError;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::support::{
    Answer, Signed, assert_nowhere, client, count_events, database, lead, post, record_url,
    scripted, send, system, tables_that_hold,
};

/// Or a country would lose a lead to another, and learn the id of its event.
#[tokio::test]
async fn the_same_bytes_for_two_countries_of_a_region_are_an_event_of_each() {
    let system = system().await;
    let (id, body) = lead();
    let mut events = Vec::new();
    for country in ["SG", "TH", "VN"] {
        let connection = system.connection(country).unwrap();
        let url = record_url(&system.edge.url, connection);
        let signed = Signed::now(connection, body.as_bytes());
        let event = post(&url, &signed, body.as_str()).await.is_kept("accepted");
        let again = post(&url, &signed, body.as_str())
            .await
            .is_kept("duplicate");
        assert_eq!(again, event, "{country} was told of another's event");
        events.push(event);
    }
    assert_eq!(count_events("smp-asia", id).await, 3);
}

#[tokio::test]
async fn what_comes_for_a_country_stands_in_its_own_database_and_in_no_table_of_another() {
    let system = system().await;
    for (country, home, other) in [
        ("VN", "smp-asia", "smp-china"),
        ("CN", "smp-china", "smp-asia"),
    ] {
        let connection = system.connection(country).unwrap();
        let url = record_url(&system.edge.url, connection);
        let (id, body) = lead();
        post(
            &url,
            &Signed::now(connection, body.as_bytes()),
            body.as_str(),
        )
        .await
        .is_kept("accepted");
        // And what is no record, but may hold a person's data all the same.
        let marker = Uuid::new_v4().to_string();
        let no_record = format!("[\"{marker}\"]");
        post(
            &url,
            &Signed::now(connection, no_record.as_bytes()),
            no_record.as_str(),
        )
        .await
        .is(200, "invalid_payload");

        let id = id.to_string();
        assert_eq!(
            tables_that_hold(home, &id).await,
            ["public.pancake_webhook_event"]
        );
        assert_eq!(
            tables_that_hold(home, &marker).await,
            ["public.pancake_rejected_request"]
        );
        for text in [&id, &marker] {
            let holding = tables_that_hold(other, text).await;
            assert!(
                holding.is_empty(),
                "{country}: {other} holds it in {holding:?}"
            );
        }
    }
}

/// All webhooks of an isolate share one buffer, and those of a connection the headers of their hop.
#[tokio::test]
async fn of_many_webhooks_at_once_none_is_taken_for_another() {
    let system = system().await;
    let mut sending = tokio::task::JoinSet::new();
    for number in 0..200 {
        let country = ["VN", "CN"][number % 2];
        let connection = system.connection(country).unwrap();
        let url = record_url(&system.edge.url, connection);
        sending.spawn(async move {
            let id = Uuid::new_v4();
            // From one byte to ten times what one packet holds.
            let note = number.to_string().repeat(1 + number * 97 % 5_000);
            let body = format!("{{\"id\":\"{id}\",\"note\":\"{note}\"}}");
            let signed = Signed::now(connection, body.as_bytes());
            let event = post(&url, &signed, body.as_str()).await.is_kept("accepted");
            (number % 2, event, body)
        });
    }
    let databases = [database("smp-asia").await, database("smp-china").await];
    for (region, event, body) in sending.join_all().await {
        let payload: Vec<u8> =
            sqlx::query_scalar("select payload from pancake_webhook_event where event_id = $1")
                .bind(event)
                .fetch_one(&databases[region])
                .await
                .unwrap();
        assert!(
            payload == body.as_bytes(),
            "{event} holds what another has sent"
        );
    }
}

/// Sends a lead to a core, signed with a key for a destination: rightly, but perhaps not for it.
async fn send_hop(core: &Region, key: &Region, country: &str, region: &str) -> (Uuid, Answer) {
    let (id, body) = lead();
    let now = UnixSeconds(platform::pancake::now());
    let admitted = admit(&Policy::Off, SignedHeaders::default(), body.as_bytes(), now).unwrap();
    let key = HopKey::new(&key.hop_keyid, key.hop_secret.as_bytes()).unwrap();
    let connection = ConnectionId::parse("some-connection").unwrap();
    let destination = Destination {
        country: Country::parse(country).unwrap(),
        region: &RegionId::parse(region).unwrap(),
        route_version: 1,
    };
    let signer = RecordSigner::new(&key, destination, &connection);
    let signature = signer.sign(&admitted, now);
    let (before, after) = signer.signature_input_around_created();
    let text = |bytes: [u8; 44]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut request = client()
        .post(format!("{}{}", core.core_url(), record_path(&connection)))
        .header(
            "content-digest",
            format!("sha-256=:{}:", text(signature.body_sha256)),
        )
        .header("signature-input", format!("{before}{}{after}", now.0))
        .header("signature", format!("smp=:{}:", text(signature.signature)));
    for (name, value) in signer.constant_headers(admitted.verdict()) {
        request = request.header(name, value);
    }
    (id, send(request.body(body)).await)
}

#[tokio::test]
async fn a_core_takes_only_what_is_signed_for_it() {
    let system = system().await;
    let asia = system.region("smp-asia").unwrap();
    let china = system.region("smp-china").unwrap();
    let mut refused = Vec::new();
    for (core, key, country, region, status) in [
        // Signed for Asia, sent to China: China's core does not even know the key.
        (china, asia, "VN", "smp-asia", 401),
        (china, asia, "CN", "smp-china", 401),
        (asia, china, "VN", "smp-asia", 401),
        // Rightly signed, with a country or a region that is not the core's own.
        (asia, asia, "CN", "smp-asia", 421),
        (asia, asia, "US", "smp-asia", 421),
        (asia, asia, "VN", "smp-china", 421),
        (china, china, "VN", "smp-china", 421),
        (china, china, "CN", "smp-asia", 421),
    ] {
        let (id, answer) = send_hop(core, key, country, region).await;
        assert_eq!(
            answer.status, status,
            "{country} for {region} at {}: {answer:?}",
            core.id
        );
        refused.push(id);
    }
    assert_nowhere(&refused).await;
    // The controls.
    for (core, country) in [(asia, "VN"), (china, "CN")] {
        let region = core.id.as_str();
        let (id, answer) = send_hop(core, core, country, region).await;
        answer.is_kept("accepted");
        assert_eq!(count_events(region, id).await, 1);
    }
}

/// The scripted edge's table sends CN to smp-asia, and what it sends is caught.
#[tokio::test]
async fn after_a_mistaken_flip_a_core_refuses_the_country_that_is_not_its_own() {
    let asia = system().await.region("smp-asia").unwrap();
    let edge = scripted().await;
    let (id, body) = lead();
    post(&edge.record_url("CN"), &Signed::default(), body).await;
    let hop = edge.core.the_one_with(&id.to_string());
    assert_eq!(
        (hop.all("x-smp-country"), hop.all("x-smp-region")),
        (vec!["CN"], vec!["smp-asia"])
    );
    let mut request = client().post(format!("{}{}", asia.core_url(), hop.target));
    for (name, value) in hop.hop_headers() {
        request = request.header(name, value);
    }
    let answer = send(request.body(hop.body.clone())).await;
    assert_eq!(answer.status, 421, "{answer:?}");
    assert_nowhere(&[id]).await;
}

#[tokio::test]
async fn the_roles_of_one_region_cannot_enter_the_database_of_another() {
    let system = system().await;
    let [asia, china] = ["smp-asia", "smp-china"].map(|id| system.region(id).unwrap());
    for (home, other) in [(asia, china), (china, asia)] {
        for own in [home.owner_url(), home.app_url()] {
            PgConnection::connect(&own)
                .await
                .unwrap()
                .close()
                .await
                .unwrap();
            let database = |region: &Region| {
                let url = region.owner_url();
                url.split_once('@').unwrap().1.to_owned()
            };
            let elsewhere = own.replace(&database(home), &database(other));
            assert_ne!(elsewhere, own);
            let refusal = PgConnection::connect(&elsewhere).await.unwrap_err();
            let refusal = refusal.as_database_error().and_then(DatabaseError::code);
            // invalid_password
            assert_eq!(
                refusal.as_deref(),
                Some("28P01"),
                "{} at {}",
                home.id,
                other.id
            );
        }
    }
}
