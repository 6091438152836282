//! Who gets a lead.

use serde_json::json;

use super::office::Office;

/// Of people who were never heard of.
async fn post_leads(office: &Office, count: usize, source: &str) {
    let first = 1_000_000 + 1_000 * source.len();
    let source: Vec<&str> = [source]
        .into_iter()
        .filter(|source| !source.is_empty())
        .collect();
    for number in 0..count {
        let phone = format!("+8491{:07}", first + number);
        let lead = json!({"phone_number": phone, "source": source, "note": number});
        office.post(lead).await;
    }
    office.wait_until_none_waits().await;
}

const SHARES: &str = "select (subject || ' ' || (select count(*) from ticket \
     where assignee_id = staff_id and status <> 'closed')) from staff order by subject";

async fn shares(office: &Office) -> Vec<String> {
    office.texts(SHARES).await.into_iter().flatten().collect()
}

#[tokio::test]
async fn leads_go_round() {
    let office = Office::open(3).await;
    post_leads(&office, 10, "").await;
    assert_eq!(
        shares(&office).await,
        ["telesale-0 4", "telesale-1 3", "telesale-2 3"]
    );
}

#[tokio::test]
async fn nobody_who_is_away_full_gone_or_no_telesale_gets_a_lead() {
    let mut office = Office::closed(6).await;
    office
        .run(
            "insert into staff_absence (absence_id, country_code, staff_id, starts_at, ends_at) \
             select gen_random_uuid(), 'VN', staff_id, now() - interval '1 hour', now() + interval '1 hour' \
             from staff where subject = 'telesale-0'; \
             insert into staff_absence (absence_id, country_code, staff_id, starts_at, ends_at) \
             select gen_random_uuid(), 'VN', staff_id, now() - interval '2 hours', now() - interval '1 hour' \
             from staff where subject = 'telesale-1'; \
             update staff set is_active = false where subject = 'telesale-2'; \
             update staff set role = 'manager' where subject = 'telesale-3'; \
             update staff set capacity = 1 where subject = 'telesale-4'; \
             update staff set country_code = 'SG' where subject = 'telesale-5'",
        )
        .await;
    office.start();
    post_leads(&office, 6, "").await;
    assert_eq!(
        shares(&office).await,
        [
            "telesale-0 0",
            "telesale-1 5",
            "telesale-2 0",
            "telesale-3 0",
            "telesale-4 1",
            "telesale-5 0"
        ]
    );
}

#[tokio::test]
async fn a_telesale_with_sources_gets_their_leads_only() {
    let mut office = Office::closed(2).await;
    office.activate("fb").await;
    office.activate("zalo").await;
    office
        .run(
            "insert into staff_source (staff_id, country_code, source_id) \
             select staff_id, 'VN', 'zalo' from staff where subject = 'telesale-0'",
        )
        .await;
    office.start();
    post_leads(&office, 4, "fb").await;
    assert_eq!(shares(&office).await, ["telesale-0 0", "telesale-1 4"]);
    post_leads(&office, 4, "zalo").await;
    assert_eq!(shares(&office).await, ["telesale-0 2", "telesale-1 6"]);
}

#[tokio::test]
async fn managers_are_told_of_a_lead_that_nobody_can_take() {
    let office = Office::open(0).await;
    post_leads(&office, 2, "").await;
    let told = "select count(*) from notification where role = 'manager' and template_code = 'noti_pancake_unassigned'";
    assert_eq!(office.number(told).await, 2);
    let unassigned = "select count(*) from ticket where assignee_id is null";
    assert_eq!(office.number(unassigned).await, 2);
}
