//! The seeds: what they bring, and that they are right and change nothing a second time.

use std::collections::{BTreeMap, BTreeSet};

use super::{all_rows, seed, seeded};

#[tokio::test]
async fn on_each_day_viet_nams_vat_is_what_the_law_said() {
    let database = seeded().await;
    for (day, standard, reduction) in [
        ("2008-12-31", None, None),
        ("2009-01-01", Some("0.10"), None),
        ("2022-01-31", Some("0.10"), None),
        ("2022-02-01", Some("0.10"), Some("0.08")),
        ("2022-12-31", Some("0.10"), Some("0.08")),
        ("2023-01-01", Some("0.10"), None),
        ("2023-06-30", Some("0.10"), None),
        ("2023-07-01", Some("0.10"), Some("0.08")),
        ("2024-02-29", Some("0.10"), Some("0.08")),
        ("2025-06-30", Some("0.10"), Some("0.08")),
        ("2025-07-01", Some("0.10"), Some("0.08")),
        ("2026-12-31", Some("0.10"), Some("0.08")),
        ("2027-01-01", Some("0.10"), None),
    ] {
        for (category, expected) in [("standard", standard), ("temporary_reduction", reduction)] {
            let rate: Option<Option<String>> = sqlx::query_scalar(
                "select rate::text from smp_global.tax_configs \
                 where country = 'VN' and kind = 'vat' and category = $1 \
                   and valid_from <= $2::text::date \
                 order by valid_from desc limit 1",
            )
            .bind(category)
            .bind(day)
            .fetch_optional(&database.owner)
            .await
            .unwrap();
            assert_eq!(rate.flatten().as_deref(), expected, "{category} on {day}");
        }
    }
}

#[tokio::test]
async fn seeds_bring_what_is_needed_and_change_nothing_a_second_time() {
    let database = seeded().await;
    let before = all_rows(&database.owner).await;
    let mut counts = BTreeMap::new();
    for row in &before {
        *counts.entry(row.split(' ').next().unwrap()).or_insert(0) += 1;
    }
    assert_eq!(counts["currencies"], 10);
    assert_eq!(counts["countries"], 8);
    assert_eq!(counts["currency_rates"], 18);
    seed(&database.owner).await;
    assert_eq!(all_rows(&database.owner).await, before);

    // What an editor changed stays as the editor left it.
    sqlx::raw_sql("update smp_global.countries set name = 'Vietnam' where code = 'VN'")
        .execute(&database.owner)
        .await
        .unwrap();
    seed(&database.owner).await;
    let name: String =
        sqlx::query_scalar("select name from smp_global.countries where code = 'VN'")
            .fetch_one(&database.owner)
            .await
            .unwrap();
    assert_eq!(name, "Vietnam");
}

#[tokio::test]
async fn seeded_rates_lead_there_and_back() {
    let database = seeded().await;
    let without_way_back: Vec<(String, String)> = sqlx::query_as(
        "select there.base, there.quote from smp_global.currency_rates there \
         left join smp_global.currency_rates back \
           on (back.base, back.quote, back.valid_from) = (there.quote, there.base, there.valid_from) \
         where coalesce(abs(there.rate * back.rate - 1), 1) > 0.0000000001",
    )
    .fetch_all(&database.owner)
    .await
    .unwrap();
    assert_eq!(without_way_back, Vec::new());
}

/// The values that a text leaves open, sorted.
fn placeholders(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = text
        .split('{')
        .skip(1)
        .map(|rest| rest.split_once('}').expect("a brace is closed").0)
        .collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn seeded_locales_have_the_same_keys_and_the_same_placeholders() {
    let database = seeded().await;
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "select locale, namespace || '/' || key, text from smp_global.i18n_translations",
    )
    .fetch_all(&database.owner)
    .await
    .unwrap();
    let mut texts: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for (locale, key, text) in &rows {
        texts.entry(locale).or_default().insert(key, text);
    }
    assert_eq!(
        texts.keys().copied().collect::<Vec<_>>(),
        ["en", "th", "vi", "zh"]
    );
    let english = &texts["en"];
    assert!(english.len() >= 60);
    let namespaces: BTreeSet<&str> = english
        .keys()
        .map(|key| key.split_once('/').unwrap().0)
        .collect();
    assert_eq!(
        namespaces.into_iter().collect::<Vec<_>>(),
        ["common", "errors", "notification", "pancake", "ticket"]
    );
    for (locale, of_locale) in &texts {
        assert!(of_locale.keys().eq(english.keys()), "{locale}");
        for (key, text) in of_locale {
            assert_eq!(
                placeholders(text),
                placeholders(english[key]),
                "{locale} {key}"
            );
        }
    }
}
