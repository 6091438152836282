//! The receipt that an event keeps.

use protocol::hop::HopKey;
use regional_core::receipt::{PayloadFinding, ReceiptReport, SignatureFinding, verify_receipt};
use uuid::Uuid;

use crate::support::edge::{KEYID, RETIRED_KEYID, RETIRED_SECRET, SECRET};
use crate::support::{NOW, TestCore, record};

fn key(keyid: &str, secret: &str) -> HopKey {
    HopKey::new(keyid, secret.as_bytes()).unwrap()
}

async fn report(core: &TestCore, keys: &[HopKey], id: Uuid) -> ReceiptReport {
    let mut connection = core.pool.acquire().await.unwrap();
    verify_receipt(&mut connection, keys, id)
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn a_receipt_is_good_with_its_key_live_or_retired() {
    let core = TestCore::start().await;
    let id = core.post(record("")).await.event_id("accepted");
    let live = key(KEYID, SECRET);
    let retired = key(RETIRED_KEYID, RETIRED_SECRET);

    let found = report(&core, &[retired.clone(), live.clone()], id).await;
    assert!(found.is_good());
    assert_eq!(found.keyid.as_deref(), Some(KEYID));
    assert_eq!(found.signed_at, Some(NOW.try_into().unwrap()));
    assert_eq!(found.country, "VN");
    // A name that was used again after its first secret was retired.
    assert!(
        report(&core, &[key(KEYID, RETIRED_SECRET), live], id)
            .await
            .is_good()
    );

    let found = report(&core, &[retired], id).await;
    assert_eq!(found.signature, SignatureFinding::KeyUnknown);
    let found = report(&core, &[key(KEYID, RETIRED_SECRET)], id).await;
    assert_eq!(found.signature, SignatureFinding::Wrong);
    assert!(!found.is_good());

    let mut connection = core.pool.acquire().await.unwrap();
    let nothing = verify_receipt(&mut connection, &[], Uuid::now_v7()).await;
    assert_eq!(nothing.unwrap(), None);
}

#[tokio::test]
async fn a_row_that_was_changed_is_found_out() {
    let core = TestCore::start().await;
    let keys = [key(KEYID, SECRET)];
    let id = core.post(record("")).await.event_id("accepted");
    for (change, payload, signature) in [
        (
            "payload = '{}'",
            PayloadFinding::Changed,
            SignatureFinding::Right,
        ),
        (
            "payload_hash = sha256(payload)",
            PayloadFinding::AsReceived,
            SignatureFinding::Wrong,
        ),
    ] {
        update(&core, change).await;
        let found = report(&core, &keys, id).await;
        assert_eq!(
            (found.payload, found.signature),
            (payload, signature),
            "{change}"
        );
    }

    for (number, change) in [
        "country_code = 'SG'",
        "region_id = 'smp-china'",
        "connection_id = 'vn-other'",
        "verdict = 'verified'",
        "route_version = 8",
        "hop_signature_input = replace(hop_signature_input, ';created=1', ';created=2')",
        "hop_signature = 'smp=:' || repeat('A', 43) || '=:'",
    ]
    .into_iter()
    .enumerate()
    {
        let id = core
            .post(record(&format!(r#","n":{number}"#)))
            .await
            .event_id("accepted");
        assert!(report(&core, &keys, id).await.is_good());
        update(&core, change).await;
        let found = report(&core, &keys, id).await;
        assert_eq!(found.signature, SignatureFinding::Wrong, "{change}");
        core.database
            .as_owner("truncate pancake_webhook_event")
            .await;
    }
}

async fn update(core: &TestCore, change: &'static str) {
    let statement = format!("update pancake_webhook_event set {change}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(core.database.owner_pool())
        .await
        .unwrap();
}
