//! The tables of `smp_global`: what they refuse, and that migrations go up, down and up again.

mod seeds;

use std::fs;
use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, PgPool};

use crate::support::Database;

const TABLES: [&str; 5] = [
    "currencies",
    "countries",
    "currency_rates",
    "tax_configs",
    "i18n_translations",
];

/// Not null.
const NOT_NULL: &str = "23502";

/// The files of a folder of this crate whose names end so, in order.
fn files(folder: &str, suffix: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(suffix))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

async fn run_file(pool: &PgPool, path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    sqlx::raw_sql(AssertSqlSafe(text))
        .execute(pool)
        .await
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

async fn seed(pool: &PgPool) {
    for path in files("seeds", ".sql") {
        run_file(pool, &path).await;
    }
}

async fn seeded() -> Database {
    let database = Database::new().await;
    seed(&database.owner).await;
    database
}

/// The statement is taken; it leaves nothing behind.
async fn assert_taken(pool: &PgPool, statement: &str) {
    let mut transaction = pool.begin().await.unwrap();
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&mut *transaction)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
    assert_ne!(done.rows_affected(), 0, "{statement}");
    sqlx::raw_sql("set constraints all immediate")
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.rollback().await.unwrap();
}

/// The statement is refused, by the constraint or with the SQLSTATE of this name.
async fn assert_refused(pool: &PgPool, statement: &str, reason: &str) {
    let error = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(pool)
        .await
        .expect_err(statement);
    let refusal = error
        .as_database_error()
        .unwrap_or_else(|| panic!("{statement}: {error}"));
    let code = refusal.code().unwrap_or_default().into_owned();
    assert_eq!(refusal.constraint().unwrap_or(&code), reason, "{statement}");
}

/// Sets a column of one seeded row, and says which constraint refuses that. None: it is taken.
async fn set(pool: &PgPool, table: &str, row: &str, cases: &[(&str, Option<&str>)]) {
    for (assignment, reason) in cases {
        let statement = format!("update smp_global.{table} set {assignment} where {row}");
        match reason {
            Some(reason) => assert_refused(pool, &statement, reason).await,
            None => assert_taken(pool, &statement).await,
        }
    }
}

/// Every row of the five tables, as text.
async fn all_rows(pool: &PgPool) -> Vec<String> {
    let mut rows = Vec::new();
    for table in TABLES {
        let of_table: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
            "select '{table} ' || to_jsonb(r)::text from smp_global.{table} r order by 1"
        )))
        .fetch_all(pool)
        .await
        .unwrap();
        rows.extend(of_table);
    }
    rows
}

#[tokio::test]
async fn a_currency_is_one_of_iso_4217_with_its_number_and_minor_units() {
    let database = seeded().await;
    let iso = Some("currencies_code_is_iso_4217");
    set(
        &database.owner,
        "currencies",
        "code = 'VND'",
        &[
            ("numeric_code = '705'", iso),
            ("numeric_code = '70'", iso),
            ("minor_units = 2", iso),
            ("minor_units = 5", iso),
            ("minor_units = -1", iso),
            ("name = ''", Some("currencies_name_check")),
            ("name = ' Dong'", Some("currencies_name_check")),
            ("name = E'Do\\nng'", Some("currencies_name_check")),
            ("name = repeat('x', 129)", Some("currencies_name_check")),
            ("name = null", Some(NOT_NULL)),
            ("symbol = repeat('₫', 6)", Some("currencies_symbol_check")),
            ("row_version = -1", Some("currencies_row_version_check")),
            ("name = 'Đồng', symbol = 'đ', is_active = false", None),
        ],
    )
    .await;
    for (code, number, minor_units, reason) in [
        ("ABC", "999", 2, "currencies_code_is_iso_4217"),
        // Withdrawn: the kuna, the leva.
        ("HRK", "191", 2, "currencies_code_is_iso_4217"),
        ("BGN", "975", 2, "currencies_code_is_iso_4217"),
        // No money: gold, "no currency".
        ("XAU", "959", 0, "currencies_code_is_iso_4217"),
        ("XXX", "999", 0, "currencies_code_is_iso_4217"),
        ("chf", "756", 2, "currencies_code_check"),
        ("CHFX", "756", 2, "currencies_code_check"),
        ("USD", "840", 2, "currencies_pkey"),
    ] {
        let statement = format!(
            "insert into smp_global.currencies (code, numeric_code, name, minor_units, symbol) \
             values ('{code}', '{number}', 'Test', {minor_units}, 'T')"
        );
        assert_refused(&database.owner, &statement, reason).await;
    }
    for (code, number, minor_units) in [("CHF", "756", 2), ("KWD", "414", 3), ("CLF", "990", 4)] {
        let statement = format!(
            "insert into smp_global.currencies (code, numeric_code, name, minor_units, symbol) \
             values ('{code}', '{number}', 'Test', {minor_units}, 'T')"
        );
        assert_taken(&database.owner, &statement).await;
    }
}

#[tokio::test]
async fn cash_is_rounded_to_a_whole_number_of_minor_units() {
    let database = seeded().await;
    let part_of_a_unit = Some("currencies_cash_increment_is_whole_minor_units");
    let out_of_bounds = Some("currencies_cash_increment_check");
    set(
        &database.owner,
        "currencies",
        "code = 'VND'",
        &[
            ("cash_increment = 0.5", part_of_a_unit),
            ("cash_increment = 0", out_of_bounds),
            ("cash_increment = -1", out_of_bounds),
            ("cash_increment = 'NaN'", out_of_bounds),
            ("cash_increment = 'Infinity'", out_of_bounds),
            ("cash_increment = 1000", None),
            ("cash_increment = 1.00", None),
            ("cash_increment = null", None),
        ],
    )
    .await;
    set(
        &database.owner,
        "currencies",
        "code = 'MYR'",
        &[("cash_increment = 0.005", part_of_a_unit)],
    )
    .await;
}

#[tokio::test]
async fn a_country_is_one_of_iso_3166_1_with_its_other_codes() {
    let database = seeded().await;
    let iso = Some("countries_code_is_iso_3166_1");
    set(
        &database.owner,
        "countries",
        "code = 'VN'",
        &[
            ("alpha3 = 'THA'", iso),
            ("alpha3 = 'vnm'", iso),
            ("alpha3 = 'VNM 704', numeric_code = ''", iso),
            ("numeric_code = '764'", iso),
            ("numeric_code = '4'", iso),
            ("name = 'Viet Nam '", Some("countries_name_check")),
            (
                "default_currency = 'CHF'",
                Some("countries_default_currency_fkey"),
            ),
            ("default_currency = null", Some(NOT_NULL)),
            ("calling_code = '+84'", Some("countries_calling_code_check")),
            ("calling_code = '084'", Some("countries_calling_code_check")),
            (
                "calling_code = '8444'",
                Some("countries_calling_code_check"),
            ),
            ("name = 'Việt Nam', default_currency = 'USD'", None),
        ],
    )
    .await;
    for (code, alpha3, number, reason) in [
        ("XX", "XXX", "000", "countries_code_is_iso_3166_1"),
        // Reserved, or left to users.
        ("UK", "GBR", "826", "countries_code_is_iso_3166_1"),
        ("EU", "EUE", "967", "countries_code_is_iso_3166_1"),
        ("XK", "XKX", "983", "countries_code_is_iso_3166_1"),
        // No more.
        ("SU", "SUN", "810", "countries_code_is_iso_3166_1"),
        ("jp", "JPN", "392", "countries_code_check"),
        ("SG", "SGP", "702", "countries_pkey"),
    ] {
        let statement = format!(
            "insert into smp_global.countries (code, alpha3, numeric_code, name, default_currency, \
                 default_locale, time_zones, calling_code) \
             values ('{code}', '{alpha3}', '{number}', 'Test', 'USD', 'en', \
                 array['Asia/Tokyo'], '81')"
        );
        assert_refused(&database.owner, &statement, reason).await;
    }
    assert_taken(
        &database.owner,
        "insert into smp_global.countries (code, alpha3, numeric_code, name, default_currency, \
             default_locale, time_zones, calling_code) \
         values ('JP', 'JPN', '392', 'Japan', 'JPY', 'ja-JP', array['Asia/Tokyo'], '81')",
    )
    .await;
}

#[tokio::test]
async fn a_countrys_time_zones_are_a_list_of_ianas() {
    let database = seeded().await;
    let unknown = Some("countries_time_zones_are_iana");
    let no_list = Some("countries_time_zones_is_a_list");
    set(
        &database.owner,
        "countries",
        "code = 'VN'",
        &[
            ("time_zones = array['Asia/Hanoi']", unknown),
            ("time_zones = array['asia/ho_chi_minh']", unknown),
            // An old name, which not every system has; an abbreviation; an offset; what PostgreSQL
            // itself would take for a zone.
            ("time_zones = array['Asia/Saigon']", unknown),
            ("time_zones = array['ICT']", unknown),
            ("time_zones = array['Etc/GMT-7']", unknown),
            ("time_zones = array['localtime']", unknown),
            ("time_zones = array['+07']", unknown),
            (
                "time_zones = array['Asia/Ho_Chi_Minh', 'Mars/Olympus']",
                unknown,
            ),
            ("time_zones = array['Asia/Ho_Chi_Minh', null]", unknown),
            ("time_zones = '{}'", no_list),
            ("time_zones = '[0:0]={Asia/Ho_Chi_Minh}'", no_list),
            ("time_zones = '{{Asia/Ho_Chi_Minh}}'", no_list),
            (
                "time_zones = array_fill('Asia/Ho_Chi_Minh'::text, array[65])",
                no_list,
            ),
            ("time_zones = null", Some(NOT_NULL)),
            (
                "time_zones = array['Asia/Ho_Chi_Minh', 'Asia/Bangkok']",
                None,
            ),
        ],
    )
    .await;
    let unknown_here: Vec<String> = sqlx::query_scalar(
        "select unnest(time_zones) from smp_global.countries \
         except select name from pg_timezone_names",
    )
    .fetch_all(&database.owner)
    .await
    .unwrap();
    assert_eq!(unknown_here, Vec::<String>::new());
}

#[tokio::test]
async fn a_locale_is_well_formed_bcp_47_in_its_usual_spelling() {
    let database = seeded().await;
    let refused = Some("countries_default_locale_check");
    set(
        &database.owner,
        "countries",
        "code = 'VN'",
        &[
            ("default_locale = 'vi'", None),
            ("default_locale = 'fil-PH'", None),
            ("default_locale = 'zh-Hans-CN'", None),
            ("default_locale = 'es-419'", None),
            ("default_locale = 'sr-Latn-RS'", None),
            ("default_locale = 'de-CH-1996'", None),
            ("default_locale = 'sl-rozaj-biske-1994'", None),
            ("default_locale = ''", refused),
            ("default_locale = 'v'", refused),
            ("default_locale = 'vi_VN'", refused),
            ("default_locale = 'vi-vn'", refused),
            ("default_locale = 'VI-VN'", refused),
            ("default_locale = 'zh-hans'", refused),
            ("default_locale = 'zh-CN-Hans'", refused),
            ("default_locale = 'vi-VN-'", refused),
            ("default_locale = 'vi--VN'", refused),
            ("default_locale = E'vi-VN\\n'", refused),
            ("default_locale = 'vietnamese'", refused),
            ("default_locale = 'de-1996-1996'", refused),
            ("default_locale = 'sl-rozaj-biske-rozaj'", refused),
            ("default_locale = 'en-x-private'", refused),
            ("default_locale = 'th-u-ca-buddhist'", refused),
            (
                "default_locale = 'en-aaaaaaaa-bbbbbbbb-cccccccc-dddddddd'",
                refused,
            ),
        ],
    )
    .await;
    assert_refused(
        &database.owner,
        "insert into smp_global.i18n_translations (locale, namespace, key, text) \
         values ('vi_VN', 'common', 'save', 'Lưu')",
        "i18n_translations_locale_check",
    )
    .await;
}

#[tokio::test]
async fn a_rate_is_exact_positive_and_between_two_known_currencies() {
    let database = seeded().await;
    let rate = Some("currency_rates_rate_check");
    let valid_from = Some("currency_rates_valid_from_check");
    set(
        &database.owner,
        "currency_rates",
        "base = 'USD' and quote = 'VND'",
        &[
            ("rate = 0", rate),
            ("rate = -1", rate),
            ("rate = 'NaN'", rate),
            ("rate = 'Infinity'", rate),
            ("rate = 1000000000", rate),
            // Refused, not rounded.
            ("rate = 0.0000000000000000001", rate),
            ("rate = 0.000000000000000001", None),
            ("rate = 999999999.999999999999999999", None),
            ("rate = null", None),
            ("valid_from = 'infinity'", valid_from),
            ("valid_from = '-infinity'", valid_from),
            ("valid_from = '0206-01-01'", valid_from),
            ("valid_from = '3000-01-01'", valid_from),
            ("valid_from = null", Some(NOT_NULL)),
            ("source = ''", Some("currency_rates_source_check")),
            ("source = 'Some Bank'", Some("currency_rates_source_check")),
            ("source = 'vietcombank:transfer'", None),
        ],
    )
    .await;
    for (base, quote, day, reason) in [
        ("USD", "CHF", "2026-01-01", "currency_rates_quote_fkey"),
        ("CHF", "USD", "2026-01-01", "currency_rates_base_fkey"),
        (
            "USD",
            "USD",
            "2026-01-01",
            "currency_rates_quote_is_not_base",
        ),
        ("USD", "VND", "2026-01-01", "currency_rates_pkey"),
    ] {
        let statement = format!(
            "insert into smp_global.currency_rates (base, quote, valid_from, rate, source) \
             values ('{base}', '{quote}', '{day}', 1, 'test')"
        );
        assert_refused(&database.owner, &statement, reason).await;
    }
    assert_refused(
        &database.owner,
        "delete from smp_global.currencies where code = 'EUR'",
        "currency_rates_base_fkey",
    )
    .await;
}

#[tokio::test]
async fn a_tax_is_a_part_of_the_amount_and_not_a_percentage() {
    let database = seeded().await;
    let rate = Some("tax_configs_rate_check");
    let category = Some("tax_configs_category_check");
    set(
        &database.owner,
        "tax_configs",
        "country = 'VN' and kind = 'cit'",
        &[
            ("rate = 20", rate),
            ("rate = 1", rate),
            ("rate = -0.01", rate),
            ("rate = 'NaN'", rate),
            ("rate = 0.1234567", rate),
            ("rate = 0.999999", None),
            ("rate = 0", None),
            ("rate = null", None),
            ("kind = 'VAT'", Some("tax_configs_kind_check")),
            ("kind = ''", Some("tax_configs_kind_check")),
            ("kind = repeat('x', 33)", Some("tax_configs_kind_check")),
            ("category = 're duced'", category),
            ("category = 'reduced_'", category),
            ("category = repeat('x', 65)", category),
            ("note = ''", Some("tax_configs_note_check")),
            ("note = repeat('x', 1025)", Some("tax_configs_note_check")),
            ("note = null", None),
            ("country = 'JP'", Some("tax_configs_country_fkey")),
            (
                "valid_from = 'infinity'",
                Some("tax_configs_valid_from_check"),
            ),
        ],
    )
    .await;
    assert_refused(
        &database.owner,
        "insert into smp_global.tax_configs (country, kind, category, valid_from, rate) \
         values ('VN', 'vat', 'standard', '2025-07-01', 0.12)",
        "tax_configs_pkey",
    )
    .await;
}

#[tokio::test]
async fn a_text_is_composed_bounded_and_under_a_plain_key() {
    let database = seeded().await;
    let (key, text) = (
        Some("i18n_translations_key_check"),
        Some("i18n_translations_text_check"),
    );
    let control = Some("i18n_translations_text_has_no_control_character");
    set(
        &database.owner,
        "i18n_translations",
        "locale = 'vi' and namespace = 'common' and key = 'save'",
        &[
            ("text = ''", text),
            ("text = repeat('ư', 4097)", text),
            ("text = repeat('ư', 4096)", None),
            ("text = null", Some(NOT_NULL)),
            // The same to the eye, another to a machine.
            (
                "text = normalize('Hủy', nfd)",
                Some("i18n_translations_text_is_composed"),
            ),
            ("text = E'one\\ntwo'", None),
            ("text = E'one\\ttwo'", control),
            ("text = E'one\\r\\ntwo'", control),
            ("text = E'\\u0085'", control),
            ("key = ''", key),
            ("key = 'Save'", key),
            ("key = 'save.'", key),
            ("key = 'save..all'", key),
            ("key = repeat('k', 129)", key),
            ("key = 'save.all_of.2_rows'", None),
            (
                "namespace = 'a.b'",
                Some("i18n_translations_namespace_check"),
            ),
            (
                "namespace = repeat('n', 65)",
                Some("i18n_translations_namespace_check"),
            ),
            ("key = 'cancel'", Some("i18n_translations_pkey")),
        ],
    )
    .await;
}

/// An editor is told which field is wrong, and the name of the constraint is all there is to tell by.
#[tokio::test]
async fn each_constraint_is_named_after_its_table_and_a_column() {
    let database = Database::new().await;
    let unclear: Vec<String> = sqlx::query_scalar(
        "select conname::text from pg_constraint join pg_class on pg_class.oid = conrelid \
         where relnamespace = 'smp_global'::regnamespace and relname = any ($1) \
           and contype in ('c', 'f') \
           and not exists ( \
             select from pg_attribute \
             where attrelid = conrelid and attnum = any (conkey) \
               and starts_with(conname, relname || '_' || attname || '_'))",
    )
    .bind(TABLES)
    .fetch_all(&database.owner)
    .await
    .unwrap();
    assert_eq!(unclear, Vec::<String>::new());
}

/// A restate deletes and sends in the order of the tables, not of the references.
#[tokio::test]
async fn a_transaction_may_put_references_off_until_it_commits() {
    let database = seeded().await;
    let mut transaction = database.owner.begin().await.unwrap();
    for statement in [
        "set constraints all deferred",
        "create temp table kept on commit drop as select * from smp_global.currencies",
        "delete from smp_global.currencies",
        "insert into smp_global.tax_configs (country, kind, category, valid_from, rate) \
         values ('JP', 'vat', 'standard', '2019-10-01', 0.10)",
        "insert into smp_global.countries (code, alpha3, numeric_code, name, default_currency, \
             default_locale, time_zones, calling_code) \
         values ('JP', 'JPN', '392', 'Japan', 'JPY', 'ja-JP', array['Asia/Tokyo'], '81')",
        "insert into smp_global.currencies select * from kept",
    ] {
        sqlx::raw_sql(statement)
            .execute(&mut *transaction)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    transaction.commit().await.unwrap();

    let mut transaction = database.owner.begin().await.unwrap();
    for statement in [
        "set constraints all deferred",
        "delete from smp_global.countries where code = 'JP'",
    ] {
        sqlx::raw_sql(statement)
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    let error = transaction.commit().await.unwrap_err();
    assert_eq!(
        error.as_database_error().unwrap().constraint(),
        Some("tax_configs_country_fkey")
    );
}

#[tokio::test]
async fn each_table_and_column_says_what_it_is() {
    let database = Database::new().await;
    let unexplained: Vec<String> = sqlx::query_scalar(
        "select concat_ws('.', relname, attname) from pg_class \
         join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped \
         where relnamespace = 'smp_global'::regnamespace and relname = any ($1) \
           and col_description(pg_class.oid, attnum) is null \
         union all \
         select relname::text from pg_class \
         where relnamespace = 'smp_global'::regnamespace and relname = any ($1) \
           and obj_description(oid, 'pg_class') is null",
    )
    .bind(TABLES)
    .fetch_all(&database.owner)
    .await
    .unwrap();
    assert_eq!(unexplained, Vec::<String>::new());
}

#[tokio::test]
async fn migrations_go_down_and_up_again_on_a_database_with_data() {
    let database = seeded().await;
    for path in files("migrations", ".down.sql").iter().rev() {
        run_file(&database.owner, path).await;
    }
    let left: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class \
         where relnamespace = 'smp_global'::regnamespace and relname not like '\\_%' \
         union all \
         select proname::text from pg_proc where pronamespace = 'smp_global'::regnamespace",
    )
    .fetch_all(&database.owner)
    .await
    .unwrap();
    assert_eq!(left, Vec::<String>::new());

    for path in files("migrations", ".up.sql") {
        run_file(&database.owner, &path).await;
    }
    assert_eq!(all_rows(&database.owner).await, Vec::<String>::new());
    seed(&database.owner).await;
    assert!(!all_rows(&database.owner).await.is_empty());
}
