//! Lists whose pages are not as they might be: empty, long, or with a byte too many.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::shop::{Shop, lead};
use crate::support::pancake_rest::Fault;

const MARK: &str = "select complete_until::text from pancake_watermark where table_name = 'lead'";
const CAUSE: &str = "select gaps -> 0 ->> 'cause' from pancake_watermark where table_name = 'lead'";

/// One request reads all that a poll asks for.
async fn open() -> Shop {
    Shop::open_with(|config| config.jobs.first_poll = Duration::from_mins(30)).await
}

fn page(leads: Range<u32>, cursor: &Value) -> Vec<u8> {
    let entries: Vec<Value> = leads.map(|number| lead(number, 600)).collect();
    json!({"entries": entries, "cursor": cursor})
        .to_string()
        .into_bytes()
}

fn pages(pages: impl IntoIterator<Item = (String, Vec<u8>)>) -> Fault {
    Fault::Pages(Arc::new(BTreeMap::from_iter(pages)))
}

/// A record, so many empty pages, and another record.
fn far_apart(empty: u32) -> Fault {
    let first = (String::new(), page(0..1, &json!("1")));
    let last = ((empty + 1).to_string(), page(1..2, &Value::Null));
    let between = (1..=empty).map(|at| (at.to_string(), page(0..0, &json!((at + 1).to_string()))));
    pages([first, last].into_iter().chain(between))
}

#[tokio::test]
async fn a_page_without_entries_is_not_the_end_while_it_names_another_one() {
    let shop = open().await;
    shop.pancake.set_fault(far_apart(100));
    shop.done("poll").await;
    assert_eq!(shop.layers().await, "poll 2");
}

#[tokio::test]
async fn more_than_a_hundred_empty_pages_in_a_row_are_a_gap_and_never_complete() {
    let shop = open().await;
    shop.pancake.set_fault(far_apart(101));
    assert_eq!(
        shop.failed("poll").await,
        "vn-main: Pancake's answer cannot be read: more than 100 pages in a row are empty"
    );
    assert_eq!(shop.text(MARK).await, None);
    assert!(shop.text(CAUSE).await.unwrap().contains("100 pages"));
}

#[tokio::test]
async fn a_long_page_is_written_a_thousand_records_at_a_time() {
    let shop = open().await;
    shop.pancake
        .set_fault(pages([(String::new(), page(0..9_500, &Value::Null))]));
    for _ in 0..2 {
        shop.done("poll").await;
        assert_eq!(shop.layers().await, "poll 9500");
    }
    let largest = "select max(events) from \
         (select count(*) as events from pancake_webhook_event group by xmin::text) as by_transaction";
    assert_eq!(shop.count(largest).await, 1_000);
}

#[tokio::test]
async fn an_answer_that_is_larger_than_any_page_is_not_kept_in_memory() {
    let entries = vec!["{}"; 10_001].join(",");
    let long = format!(r#"{{"entries":[],"x":"{}"}}"#, "x".repeat(17 * 1024 * 1024));
    for (body, why) in [
        (
            format!(r#"{{"entries":[{entries}]}}"#),
            "it has more than 10,000 entries",
        ),
        (long, "it is longer than 16 MiB"),
    ] {
        let shop = open().await;
        shop.pancake
            .set_fault(pages([(String::new(), body.into_bytes())]));
        let error = shop.failed("poll").await;
        assert!(error.ends_with(why), "{error}");
    }
}

#[tokio::test]
async fn a_byte_that_is_not_utf_8_costs_neither_its_record_nor_the_others() {
    let shop = open().await;
    let mut body = page(0..3, &Value::Null);
    let name = "Nguyễn Văn 1".as_bytes();
    let place = body.windows(name.len()).position(|part| part == name);
    body[place.unwrap()] = 0xff;
    shop.pancake.set_fault(pages([(String::new(), body)]));
    for _ in 0..2 {
        shop.done("poll").await;
        assert_eq!(shop.layers().await, "poll 3");
    }
    let names = "select string_agg(name, ', ' order by record_id) from pancake_webhook_event";
    assert_eq!(
        shop.text(names).await.as_deref(),
        Some("Nguyễn Văn 0, \u{fffd}guyễn Văn 1, Nguyễn Văn 2")
    );
}
