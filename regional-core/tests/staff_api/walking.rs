//! Tickets among a hundred thousand, and sources: how many are looked at, by PostgreSQL's own counts.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::office::{ADMIN, LAN, MANAGER, Office, Who, column, vn};

/// Half of them Hoa's and the others nobody's, all closed but 50 of nobody's; all newer than Lan's.
const FILL: &str = "insert into ticket (ticket_id, country_code, source_id, status, assignee_id, created_at, closed_at) \
     select gen_random_uuid(), 'VN', case n when 50001 then 'ticket_source_3' else 'ticket_source_1' end, \
         case when n % 2000 = 1 then 'open' else 'closed' end, \
         case when n % 2 = 0 then '01890000-0000-7000-8000-0000000010c3'::uuid end, \
         '2026-03-02'::timestamptz + n * interval '1 second', case when n % 2000 <> 1 then now() end \
     from generate_series(1, 100000) as n; analyze ticket";

/// An office whose staff share one connection, which alone knows what was looked at.
async fn crowded() -> Office {
    let office =
        Office::open_with(|config| config.database.staff_connections = 1.try_into().unwrap()).await;
    office.run(FILL).await;
    office
}

/// PostgreSQL's counts since the database was made.
async fn count(office: &Office, query: &str) -> i64 {
    sqlx::raw_sql("select pg_stat_force_next_flush()")
        .execute(office.core.app.staff_pool())
        .await
        .unwrap();
    office.json_of(query).await[0]["count"].as_i64().unwrap()
}

async fn rows_of(office: &Office, table: &str) -> i64 {
    let rows = "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as count from pg_stat_user_tables";
    count(office, &format!("{rows} where relname = '{table}'")).await
}

async fn scans_of(office: &Office, index: &str) -> i64 {
    let scans = "select idx_scan as count from pg_stat_user_indexes";
    count(office, &format!("{scans} where indexrelname = '{index}'")).await
}

/// How many tickets a request looks at.
async fn cost(office: &Office, who: Who, path: &str) -> i64 {
    cost_in(office, "ticket", who, path).await
}

/// How many rows of a table a request looks at: the mean of several times the same, rounded up.
///
/// The sixth and the seventh time have a plan for all values, if PostgreSQL prefers one. Should the pool replace its
/// connection, the old one's counts come when it ends: one time has too few then and another too many, and only all of
/// them together are right.
async fn cost_in(office: &Office, table: &str, who: Who, path: &str) -> i64 {
    const TIMES: i64 = 7;
    let before = rows_of(office, table).await;
    for _ in 0..TIMES {
        office.found(who, path).await;
    }
    let rows = rows_of(office, table).await - before;
    (rows + TIMES - 1) / TIMES
}

/// All pages of a list of tickets: how many those are, and what is in them.
async fn walk(office: &Office, who: Who, filter: &str) -> (usize, Vec<String>) {
    let mut pages = 0;
    let mut found = Vec::new();
    let mut next = String::new();
    loop {
        let page: Value = office.found(who, &format!("/tickets?{filter}{next}")).await;
        found.extend(column(&page, "ticket_id"));
        pages += 1;
        let Some(cursor) = page["next"].as_str() else {
            return (pages, found);
        };
        next = format!("&cursor={cursor}");
    }
}

#[tokio::test]
async fn a_telesale_looks_at_no_tickets_but_their_own() {
    let office = crowded().await;
    let hoa = vn("0c3");
    let scans = scans_of(&office, "ticket_assignee_idx").await;
    let of_country = scans_of(&office, "ticket_country_idx").await;
    for path in [
        "/tickets".to_owned(),
        "/tickets?limit=200".to_owned(),
        "/tickets?assignee=me".to_owned(),
        "/tickets?status=in_progress".to_owned(),
        "/tickets?source=ticket_source_3".to_owned(),
        "/tickets?unassigned=true&status=open".to_owned(),
        "/tickets?unassigned=false".to_owned(),
        format!("/tickets?assignee={hoa}"),
        format!("/tickets?assignee={hoa}&status=open"),
        format!("/tickets/{}", vn("0d1")),
        format!("/staff/{}", vn("0c2")),
        "/notifications".to_owned(),
    ] {
        let rows = cost(&office, LAN, &path).await;
        assert!(rows <= 10, "{path}: {rows}");
    }
    assert!(scans_of(&office, "ticket_assignee_idx").await > scans);
    assert_eq!(scans_of(&office, "ticket_country_idx").await, of_country);
    let own = [vn("0d4"), vn("0d1")];
    for filter in ["limit=1", "assignee=me", "unassigned=false"] {
        assert_eq!(walk(&office, LAN, filter).await.1, own, "{filter}");
    }
    let nobodys = "unassigned=true".to_owned();
    for filter in [nobodys, format!("assignee={hoa}")] {
        assert_eq!(walk(&office, LAN, &filter).await, (1, vec![]), "{filter}");
    }
}

#[tokio::test]
async fn a_telesales_tickets_are_found_by_their_index() {
    let office = crowded().await;
    let url = office.core.database.app_url();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let lan = vn("0c2");
    let settings = format!(
        "select set_config('role', 'core_staff', true), set_config('smp.countries', 'VN', true), \
             set_config('smp.role', 'telesale', true), set_config('smp.staff_id', '{lan}', true), \
             set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)"
    );
    sqlx::raw_sql(AssertSqlSafe(settings))
        .execute(&mut *transaction)
        .await
        .unwrap();
    let mut plans = Vec::new();
    for whose in [String::new(), format!("and assignee_id = '{lan}'")] {
        let statement = format!(
            "explain (costs off) select ticket_id from ticket where country_code = 'VN' {whose} \
             order by created_at desc, ticket_id desc limit 51"
        );
        let lines: Vec<String> = sqlx::query_scalar(AssertSqlSafe(statement))
            .fetch_all(&mut *transaction)
            .await
            .unwrap();
        plans.push(lines.join("\n"));
    }
    // Row-level security alone finds them by no index.
    assert!(
        plans[0].contains("using ticket_country_idx"),
        "{}",
        plans[0]
    );
    assert!(
        plans[1].contains("using ticket_assignee_idx"),
        "{}",
        plans[1]
    );
    assert!(!plans[1].contains("Sort"), "{}", plans[1]);
}

#[tokio::test]
async fn the_office_looks_at_ten_thousand_tickets_a_page() {
    let office = crowded().await;
    let hoa = vn("0c3");
    for (path, most) in [
        ("/tickets".to_owned(), 200),
        (format!("/tickets?assignee={hoa}"), 200),
        ("/tickets?unassigned=true&status=open".to_owned(), 200),
        ("/tickets?status=open".to_owned(), 10_100),
        ("/tickets?status=in_progress".to_owned(), 10_100),
        ("/tickets?status=closed&unassigned=true".to_owned(), 10_100),
        ("/tickets?unassigned=false".to_owned(), 10_100),
        ("/tickets?source=ticket_source_3".to_owned(), 10_100),
        (format!("/tickets?assignee={hoa}&status=open"), 10_100),
    ] {
        let rows = cost(&office, MANAGER, &path).await;
        assert!(rows <= most, "{path}: {rows}");
    }
    // So does each page after the first, wherever it begins.
    let mut next = String::new();
    for _ in 0..9 {
        let path = format!("/tickets?status=in_progress{next}");
        let page = office.found(MANAGER, &path).await;
        next = format!("&cursor={}", page["next"].as_str().unwrap());
    }
    for (filter, most) in [("status=in_progress", 10_100), ("limit=1", 10)] {
        let rows = cost(&office, MANAGER, &format!("/tickets?{filter}{next}")).await;
        assert!(rows <= most, "{filter}: {rows}");
    }
    // A page that found nothing among those it looked at says where to go on.
    for (filter, found, pages) in [
        ("source=ticket_source_3", 1, 11),
        ("status=in_progress", 1, 11),
        ("unassigned=true&status=open&limit=200", 51, 1),
        ("unassigned=true&status=open&source=ticket_source_3", 1, 1),
    ] {
        let walked = walk(&office, MANAGER, filter).await;
        assert_eq!((walked.1.len(), walked.0), (found, pages), "{filter}");
    }
    let filter = format!("assignee={hoa}&status=in_progress");
    assert_eq!(
        walk(&office, MANAGER, &filter).await,
        (6, vec![vn("0d2")]),
        "among 50,001 of hers"
    );
}

/// Whoever sends a record names its sources, and each is a row from then on.
#[tokio::test]
async fn a_page_of_sources_looks_at_ten_thousand_and_at_none_of_another_country() {
    let office =
        Office::open_with(|config| config.database.staff_connections = 1.try_into().unwrap()).await;
    office
        .run(
            "insert into pancake_source (country_code, connection_id, source_id, is_active) \
             select code, 'conn-' || code, 's ' || lpad(n::text, 6, '0'), n = 25000 \
             from generate_series(1, 30000) as n, unnest(array['SG', 'VN']) as c (code); analyze pancake_source",
        )
        .await;
    for (filter, most) in [
        ("", 60),
        ("?connection=conn-VN", 60),
        ("?connection=other-VN&active=true", 60),
        ("?active=true", 10_100),
        ("?active=false", 10_100),
    ] {
        let path = format!("/pancake/sources{filter}");
        let rows = cost_in(&office, "pancake_source", ADMIN, &path).await;
        assert!(rows <= most, "{path}: {rows}");
    }
    let mut pages = Vec::new();
    let mut next = String::new();
    loop {
        let path = format!("/pancake/sources?active=true{next}");
        let page = office.found(ADMIN, &path).await;
        pages.push(column(&page, "source_id"));
        let Some(cursor) = page["next"].as_str() else {
            break;
        };
        next = format!("&cursor={cursor}");
    }
    let found: [&[&str]; 4] = [&["(none)"], &[], &["s 025000"], &[]];
    assert_eq!(pages, found);
}
