//! Migrations on a database that is not as new: what they find, and what an earlier run left.

use regional_core::db::migrate::{self, MigrationError};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::data::count;
use super::{database_at, is_whole, last_applied, take_back_to};
use crate::support::database::{TestDatabase, parse};

const ORPHAN: &str = "insert into contact_book (contact_id, country_code, account_id, name) values \
    ('01890000-0000-7000-8000-0000000000b9', 'VN', '01890000-0000-7000-8000-0000000000a9', 'Hồ Văn Ý')";

#[tokio::test]
async fn a_contact_without_its_account_stops_0005_and_stays() {
    let (database, owner) = database_at(4).await;
    // Of another country is as good as missing.
    database
        .as_owner(
            "insert into account (account_id, country_code) \
             values ('01890000-0000-7000-8000-0000000000a9', 'SG')",
        )
        .await;
    database.as_owner(ORPHAN).await;
    let stopped = migrate::up(&owner).await.unwrap_err();
    let text = stopped.to_string();
    assert!(matches!(
        stopped,
        MigrationError::Stopped { version: 5, .. }
    ));
    assert!(text.starts_with("migration 0005 stopped: 1 contacts in contact_book have no account"));
    assert!(text.contains("select contact_id, country_code, account_id"));
    assert!(!text.contains("Hồ"), "{text}");
    assert_eq!(last_applied(&owner).await, 4);
    let contacts = "select count(*) from contact_book";
    assert_eq!(count(&database, contacts).await, 1);
    let columns = "select count(*) from pg_attribute \
                   where attrelid = 'contact_book'::regclass and attname = 'primary_phone'";
    assert_eq!(count(&database, columns).await, 0);

    database
        .as_owner("update contact_book set country_code = 'SG'")
        .await;
    migrate::up(&owner).await.unwrap();
    assert_eq!(count(&database, contacts).await, 1);

    // And while it is taken back, one may become an orphan; the next "up" sees it.
    take_back_to(&owner, 4).await.unwrap();
    database
        .as_owner("update contact_book set country_code = 'VN'")
        .await;
    migrate::up(&owner).await.unwrap_err();
}

async fn is_valid(database: &TestDatabase, index: &'static str) -> bool {
    sqlx::query_scalar("select indisvalid from pg_index where indexrelid = $1::regclass")
        .bind(index)
        .fetch_one(database.owner_pool())
        .await
        .unwrap()
}

/// What a run leaves that was cut off while it built the index.
#[tokio::test]
async fn an_index_that_broke_off_is_built_again() {
    for (version, table, index, row) in [
        (
            2,
            "account",
            "account_normalized_phone_idx",
            "insert into account (account_id, country_code) values (gen_random_uuid(), 'VN')",
        ),
        (
            5,
            "pancake_webhook_event",
            "pancake_webhook_event_normalized_phone_idx",
            "insert into pancake_webhook_event (event_id, country_code, region_id, connection_id, \
                 layer, payload_hash, payload) values (gen_random_uuid(), 'VN', 'smp-asia', 'vn-1', \
                 'poll', decode(repeat('01', 32), 'hex'), '{}')",
        ),
    ] {
        let (database, owner) = database_at(version).await;
        let column = format!("alter table {table} add column normalized_phone text");
        run(&database, column).await.unwrap();
        // A build waits for whoever writes, so it can be stopped in the middle.
        let mut writing = database.owner_pool().begin().await.unwrap();
        sqlx::query(row).execute(&mut *writing).await.unwrap();
        let mut building = database.owner_pool().acquire().await.unwrap();
        sqlx::query("set statement_timeout = 300")
            .execute(&mut *building)
            .await
            .unwrap();
        let build = format!(
            "create index concurrently {index} on {table} (country_code, normalized_phone)"
        );
        sqlx::raw_sql(AssertSqlSafe(build))
            .execute(&mut *building)
            .await
            .unwrap_err();
        building.close().await.unwrap();
        writing.commit().await.unwrap();
        assert!(!is_valid(&database, index).await);

        migrate::up(&owner).await.unwrap();
        assert!(is_valid(&database, index).await);
        assert!(is_whole(&owner).await);
    }
}

async fn run(database: &TestDatabase, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(database.owner_pool())
        .await
        .map(|_| ())
}

#[tokio::test]
async fn a_unique_index_that_failed_is_built_again_once_its_data_allows_it() {
    let (database, owner) = database_at(4).await;
    database
        .as_owner(
            "alter table contact_book add column primary_phone text; \
             insert into account (account_id, country_code) \
                 values ('01890000-0000-7000-8000-0000000000a1', 'VN'); \
             insert into contact_book (contact_id, country_code, account_id, primary_phone) \
                 select gen_random_uuid(), 'VN', '01890000-0000-7000-8000-0000000000a1', \
                        '+84901234567' \
                 from generate_series(1, 2)",
        )
        .await;
    migrate::up(&owner).await.unwrap_err();
    let key = "contact_book_account_primary_phone_key";
    assert!(!is_valid(&database, key).await);
    assert_eq!(last_applied(&owner).await, 4);
    migrate::up(&owner).await.unwrap_err();

    database
        .as_owner(
            "update contact_book set primary_phone = null \
             where contact_id = (select contact_id from contact_book limit 1)",
        )
        .await;
    migrate::up(&owner).await.unwrap();
    assert!(is_valid(&database, key).await);
    let unchecked = "select count(*) from pg_constraint where not convalidated";
    assert_eq!(count(&database, unchecked).await, 0);
}

#[tokio::test]
async fn who_waits_too_long_for_a_table_gives_up_and_breaks_nothing() {
    let (database, owner) = database_at(2).await;
    let mut writing = database.owner_pool().begin().await.unwrap();
    sqlx::query("insert into account (account_id, country_code) values (gen_random_uuid(), 'VN')")
        .execute(&mut *writing)
        .await
        .unwrap();
    let busy = migrate::up(&owner).await.unwrap_err();
    assert!(
        matches!(busy, MigrationError::Busy { version: 3 }),
        "{busy}"
    );
    assert_eq!(last_applied(&owner).await, 2);
    writing.commit().await.unwrap();
    migrate::up(&owner).await.unwrap();
    assert!(is_whole(&owner).await);
}

#[tokio::test]
async fn connections_that_events_name_are_there_with_their_latest_country() {
    let (database, owner) = database_at(5).await;
    database
        .as_owner(
            "insert into pancake_webhook_event (event_id, country_code, region_id, connection_id, \
                 layer, payload_hash, payload, received_at) \
             select gen_random_uuid(), country, 'smp-asia', connection, 'poll', \
                    decode(repeat('01', 32), 'hex'), '{}', at \
             from (values ('VN', 'vn-1', timestamptz '2026-01-01'), \
                          ('SG', 'moved', '2026-01-01'), \
                          ('VN', 'moved', '2026-01-02')) as v (country, connection, at)",
        )
        .await;
    migrate::up(&owner).await.unwrap();
    let connections: Vec<(String, String, String)> = sqlx::query_as(
        "select connection_id, country_code, status from pancake_connection order by 1",
    )
    .fetch_all(database.owner_pool())
    .await
    .unwrap();
    let row = |id: &str| (id.to_owned(), "VN".to_owned(), "active".to_owned());
    assert_eq!(connections, [row("moved"), row("vn-1")]);
}

#[tokio::test]
async fn the_setting_is_added_to_each_country_and_taken_away_alone() {
    let (database, owner) = database_at(9).await;
    let settings = async || -> Vec<(String, Value, i64)> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "select country_code, app_settings::text, version from app_setting order by 1",
        )
        .fetch_all(database.owner_pool())
        .await
        .unwrap();
        rows.into_iter()
            .map(|(country, settings, version)| {
                (country, serde_json::from_str(&settings).unwrap(), version)
            })
            .collect()
    };
    database
        .as_owner("insert into app_setting values ('VN', '{\"lời chào\": \"Xin chào\"}')")
        .await;
    migrate::up(&owner).await.unwrap();
    database
        .as_owner("insert into app_setting (country_code) values ('SG')")
        .await;
    let switches = json!({"kill_switch": true, "processing_paused": false});
    assert_eq!(
        settings().await,
        [
            ("SG".to_owned(), json!({"pancake_integration": switches}), 1),
            (
                "VN".to_owned(),
                json!({"lời chào": "Xin chào", "pancake_integration": switches}),
                2
            ),
        ]
    );
    take_back_to(&owner, 9).await.unwrap();
    database
        .as_owner("insert into app_setting (country_code) values ('TH')")
        .await;
    assert_eq!(
        settings().await,
        [
            ("SG".to_owned(), json!({}), 2),
            ("TH".to_owned(), json!({}), 1),
            ("VN".to_owned(), json!({"lời chào": "Xin chào"}), 3),
        ]
    );
}

#[tokio::test]
async fn the_sources_of_events_of_before_become_those_that_count() {
    let (database, owner) = database_at(17).await;
    // More than a batch; some of one byte a character, some of three, and one too many for the column.
    database
        .as_owner(
            "insert into pancake_webhook_event (event_id, country_code, region_id, connection_id, layer, \
                 payload_hash, payload, source_ids) \
             select gen_random_uuid(), 'VN', 'smp-asia', 'vn-1', 'poll', sha256(n::text::bytea), '{}', \
                    case n when 1 then array[''] when 2 then array[repeat('x', 300)] \
                           when 3 then array['b', '', 'a', 'b', repeat('ậ', 200)] \
                           when 4 then array(select i::text from generate_series(1, 100000) as i) \
                           when 5 then '{}' else array['a', 'b'] end \
             from generate_series(1, 1200) as n",
        )
        .await;
    let kept = async || -> Vec<(i64, Vec<String>)> {
        sqlx::query_as(
            "select count(*), source_ids from pancake_webhook_event group by source_ids order by count(*), source_ids",
        )
        .fetch_all(database.owner_pool())
        .await
        .unwrap()
    };
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let first: Vec<String> = (1..=64).map(|number| number.to_string()).collect();
    let expected = [
        (1, first),
        (1, texts(&["b", "a", &"ậ".repeat(85)])),
        (1, texts(&[&"x".repeat(256)])),
        (2, texts(&[])),
        (1195, texts(&["a", "b"])),
    ];
    migrate::up(&owner).await.unwrap();
    assert_eq!(kept().await, expected);
    take_back_to(&owner, 17).await.unwrap();
    assert_eq!(kept().await, expected);
    migrate::up(&owner).await.unwrap();
    assert!(is_whole(&owner).await);
}

const TWO_TICKETS: &str = "insert into account (account_id, country_code, name) \
         values ('01890000-0000-7000-8000-0000000000a9', 'VN', 'Hồ Văn Ý'); \
     insert into ticket (ticket_id, country_code, source_id, account_id, connection_id, record_digest, phone_state) \
         select gen_random_uuid(), 'VN', 'ticket_source_pancake', '01890000-0000-7000-8000-0000000000a9', \
                connection, sha256('x'), 'usable' from unnest(array['vn-1', 'vn-1', 'vn-2']) as connection";

#[tokio::test]
async fn a_person_with_two_open_tickets_stops_0019_until_one_is_closed() {
    let (database, owner) = database_at(18).await;
    database.as_owner(TWO_TICKETS).await;
    let stopped = migrate::up(&owner).await.unwrap_err();
    let text = stopped.to_string();
    assert!(matches!(
        stopped,
        MigrationError::Stopped { version: 19, .. }
    ));
    assert!(text.starts_with("migration 0019 stopped: 1 persons have more than one open ticket"));
    assert!(text.contains("select country_code, account_id") && !text.contains("Hồ"));
    assert_eq!(last_applied(&owner).await, 18);

    database
        .as_owner(
            "update ticket set status = 'closed', closed_at = now() \
             where ticket_id = (select ticket_id from ticket where connection_id = 'vn-1' limit 1)",
        )
        .await;
    migrate::up(&owner).await.unwrap();
    // And while it is taken back, there may be two again; the next "up" sees them.
    take_back_to(&owner, 18).await.unwrap();
    database
        .as_owner("update ticket set status = 'open', closed_at = null")
        .await;
    migrate::up(&owner).await.unwrap_err();
    let tickets = "select count(*) from ticket where status <> 'closed'";
    assert_eq!(count(&database, tickets).await, 3);
}

/// A backup is restored at its own version, by programs that know later ones.
#[tokio::test]
async fn it_goes_no_further_than_it_is_told_and_to_no_version_that_it_does_not_know() {
    let database = TestDatabase::create_empty().await;
    let owner = parse(&database.owner_url());
    let versions = |applied: Vec<migrate::MigrationStatus>| -> Vec<i64> {
        applied.iter().map(|migration| migration.version).collect()
    };
    let to = |version| migrate::up_to(&owner, Some(version));
    assert_eq!(versions(to(3).await.unwrap()), [1, 2, 3]);
    assert!(to(2).await.unwrap().is_empty());
    to(9999).await.unwrap_err();
    let rest = versions(migrate::up(&owner).await.unwrap());
    assert_eq!(rest.first(), Some(&4));
}
