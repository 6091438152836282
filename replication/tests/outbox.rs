//! The hub's change log: every change, once, in the order of the commits.

use sqlx::{Connection as _, Executor as _, PgPool};

use crate::support::{Database, run};

const TRANSLATION: &str = "insert into smp_global.i18n_translations (locale, namespace, key, text)";

/// `(seq, kind, key)` of the log.
async fn log(pool: &PgPool) -> Vec<(i64, String, Option<String>)> {
    sqlx::query_as("select seq, kind, key ->> 'key' from smp_global.change_log order by seq")
        .fetch_all(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn plain_sql_is_captured_whatever_form_it_takes() {
    let hub = Database::hub().await;
    run(
        &hub.owner,
        &format!(
            "{TRANSLATION} values ('en', 'common', 'a', 'A'), ('en', 'common', 'b', 'B'); \
             update smp_global.i18n_translations set text = 'AA' where key = 'a'; \
             {TRANSLATION} values ('en', 'common', 'b', 'BB') \
                 on conflict (locale, namespace, key) do update set text = excluded.text; \
             update smp_global.i18n_translations set key = 'c' where key = 'b'; \
             delete from smp_global.i18n_translations where key = 'a';"
        ),
    )
    .await;
    let log = log(&hub.owner).await;
    let seen: Vec<_> = log
        .iter()
        .map(|(_, kind, key)| (kind.as_str(), key.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(
        seen,
        [
            ("row", "a"),
            ("row", "b"),
            ("row", "a"),
            ("row", "b"),
            ("row", "c"),
            ("delete", "b"),
            ("delete", "a"),
        ]
    );
    let version: i64 =
        sqlx::query_scalar("select row_version from smp_global.i18n_translations where key = 'c'")
            .fetch_one(&hub.owner)
            .await
            .unwrap();
    assert_eq!(version, log[4].0, "a row's version is its seq in the log");
}

#[tokio::test]
async fn a_row_that_comes_back_is_newer_than_its_deletion() {
    let hub = Database::hub().await;
    run(
        &hub.owner,
        &format!(
            "{TRANSLATION} values ('en', 'common', 'a', 'A'); \
             delete from smp_global.i18n_translations; \
             {TRANSLATION} values ('en', 'common', 'a', 'again');"
        ),
    )
    .await;
    let log = log(&hub.owner).await;
    assert!(log.is_sorted_by(|before, after| before.0 < after.0));
    assert_eq!(log[1].1, "delete");
    let deleted: i64 = sqlx::query_scalar("select count(*) from smp_global.deleted_row")
        .fetch_one(&hub.owner)
        .await
        .unwrap();
    assert_eq!(deleted, 0);
}

#[tokio::test]
async fn what_is_rolled_back_was_never_there() {
    let hub = Database::hub().await;
    run(
        &hub.owner,
        &format!("begin; {TRANSLATION} values ('en', 'common', 'a', 'A'); rollback;"),
    )
    .await;
    assert_eq!(log(&hub.owner).await, []);
}

#[tokio::test]
async fn truncate_is_refused_for_nothing_would_carry_it() {
    let hub = Database::hub().await;
    let code = crate::support::refusal(&hub.owner, "truncate smp_global.i18n_translations").await;
    assert_eq!(code, "P0001");
}

/// The trap of an outbox: a writer takes its number early and commits late, and a reader that has passed
/// the number never sees the row; or it takes the number early and changes the row late, and the older
/// change stands behind the newer.
#[tokio::test]
async fn writers_that_overlap_are_logged_in_the_order_of_their_commits() {
    let hub = Database::hub().await;
    run(
        &hub.owner,
        &format!("{TRANSLATION} values ('en', 'common', 'hot', '0')"),
    )
    .await;
    let reader = hub.admin().await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    // A relay's cursor: passes what it has seen and never looks back.
    let cursor = tokio::spawn({
        let stop = std::sync::Arc::clone(&stop);
        async move {
            let (mut position, mut texts) = (0_i64, Vec::new());
            loop {
                let is_last = stop.load(std::sync::atomic::Ordering::SeqCst);
                let rows: Vec<(i64, String)> = sqlx::query_as(
                    "select seq, content ->> 'text' from smp_global.change_log \
                     where seq > $1 order by seq",
                )
                .bind(position)
                .fetch_all(&reader)
                .await
                .unwrap();
                for (seq, text) in rows {
                    position = seq;
                    texts.push(text);
                }
                if is_last {
                    return texts;
                }
            }
        }
    });
    let mut writers = Vec::new();
    for writer in 0..6 {
        let options = hub.owner.connect_options();
        writers.push(tokio::spawn(async move {
            let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect_with(&options)
                .await
                .unwrap();
            let mut committed = Vec::new();
            for turn in 0..60 {
                let text = format!("{writer}.{turn}");
                let mut transaction = connection.begin().await.unwrap();
                // The early number: this transaction has its id long before it changes the hot row.
                transaction.execute("select txid_current()").await.unwrap();
                let other = format!("own{writer}");
                sqlx::query(
                    "insert into smp_global.i18n_translations (locale, namespace, key, text) \
                     values ('en', 'common', $1, $2) \
                     on conflict (locale, namespace, key) do update set text = excluded.text",
                )
                .bind(&other)
                .bind(format!("own {text}"))
                .execute(&mut *transaction)
                .await
                .unwrap();
                let before: String = sqlx::query_scalar(
                    "update smp_global.i18n_translations set text = $1 where key = 'hot' \
                     returning (select text from smp_global.i18n_translations where key = 'hot')",
                )
                .bind(&text)
                .fetch_one(&mut *transaction)
                .await
                .unwrap();
                if turn % 7 == 3 {
                    transaction.rollback().await.unwrap();
                } else {
                    transaction.commit().await.unwrap();
                    committed.push((before, text));
                }
            }
            committed
        }));
    }
    let mut committed = Vec::new();
    for writer in writers {
        committed.extend(writer.await.unwrap());
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    let seen = cursor.await.unwrap();
    let hot: Vec<_> = seen
        .iter()
        .filter(|text| !text.starts_with("own"))
        .collect();
    assert_eq!(
        hot.len(),
        committed.len() + 1,
        "a change was skipped or repeated"
    );
    // Each commit saw the one before it: that chain is the order of the commits.
    let next: std::collections::HashMap<_, _> = committed.into_iter().collect();
    let mut expected = vec!["0".to_owned()];
    while let Some(text) = next.get(expected.last().unwrap()) {
        expected.push(text.clone());
    }
    assert_eq!(hot, expected.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn the_digest_is_that_of_all_rows_after_any_change() {
    let hub = Database::hub().await;
    run(
        &hub.owner,
        &format!(
            "{TRANSLATION} select 'en', 'common', 'k' || n, 'T' || n from generate_series(1, 500) n; \
             update smp_global.i18n_translations set text = text || '!' where key like 'k1%'; \
             update smp_global.i18n_translations set key = 'z' || key where key like 'k2%'; \
             {TRANSLATION} values ('en', 'common', 'k3', 'x'), ('en', 'common', 'new', 'y') \
                 on conflict (locale, namespace, key) do update set text = excluded.text; \
             delete from smp_global.i18n_translations where key like 'k4%';"
        ),
    )
    .await;
    let (kept, counted): (String, String) = sqlx::query_as(
        "select d.row_count || ' ' || d.hash, r.row_count || ' ' || r.hash \
         from smp_global.table_digest d, smp_global.recount_digest(d.table_name) r \
         where d.table_name = 'i18n_translations'",
    )
    .fetch_one(&hub.owner)
    .await
    .unwrap();
    assert_eq!(kept, counted);
    assert!(!kept.starts_with("0 "));
}

#[tokio::test]
async fn a_restate_sends_every_row_again_between_two_marks() {
    let hub = Database::hub().await;
    run(
        &hub.owner,
        &format!(
            "{TRANSLATION} values ('en', 'common', 'a', 'A'), ('en', 'common', 'b', 'B'); \
             delete from smp_global.i18n_translations where key = 'b'; \
             delete from smp_global.change_log;"
        ),
    )
    .await;
    let since: i64 = sqlx::query_scalar("select smp_global.restate()")
        .fetch_one(&hub.owner)
        .await
        .unwrap();
    let log = log(&hub.owner).await;
    let kinds: Vec<_> = log.iter().map(|(_, kind, _)| kind.as_str()).collect();
    assert_eq!(kinds[..3], ["restate_begin", "row", "restate_end"]);
    assert_eq!(kinds[3..], ["digest"; 5]);
    assert_eq!(log[0].0, since);
    // A stream that was ahead is left behind: the epoch rises above it.
    let ahead = (7_i64 << 40) + 99;
    let since: i64 = sqlx::query_scalar("select smp_global.restate($1)")
        .bind(ahead)
        .fetch_one(&hub.owner)
        .await
        .unwrap();
    assert_eq!(since >> 40, 8);
}
