//! SQL of schema `smp_global`, which this role may read where it is there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::TryStreamExt;
use rust_decimal::Decimal;
use sqlx::postgres::PgListener;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use time::Date;
use tokio::task::{spawn_blocking, yield_now};

use super::snapshot::{
    Countries, Country, Currencies, Currency, Part, Rate, Rates, Snapshot, Table, Tax, Taxes, Texts,
};
use crate::db::{describe, has_code};

/// On which master data says that it has changed: the hub's triggers, and the applier.
const CHANNELS: [&str; 2] = ["smp_global_change", "smp_global_applied"];

/// After how many rows other tasks of this thread get their turn.
const ROWS_AT_A_TIME: u32 = 512;

/// What a look at the database found.
pub(super) enum Found {
    /// No master data, and why.
    Absent(String),
    /// What is known already.
    Same,
    /// Something newer.
    Newer {
        /// It.
        snapshot: Box<Snapshot>,
        /// How many tables were read for it. The others are as they were.
        tables_read: u64,
    },
}

/// Listens for changes. Works where the schema is absent too.
pub(super) async fn listen(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen_all(CHANNELS).await?;
    Ok(listener)
}

/// Reads what has changed since `known`, all of it at one moment.
pub(super) async fn look(pool: &PgPool, known: Option<&Snapshot>) -> Result<Found, sqlx::Error> {
    match read(pool, known).await {
        // Undefined schema or table; or it is there and not (yet) granted.
        Err(error) if has_code(&error, &["3F000", "42P01", "42501"]) => {
            Ok(Found::Absent(describe(&error)))
        }
        found => found,
    }
}

async fn read(pool: &PgPool, known: Option<&Snapshot>) -> Result<Found, sqlx::Error> {
    let mut transaction = pool
        .begin_with("begin transaction isolation level repeatable read, read only")
        .await?;
    let connection = &mut *transaction;
    // The two grants make it cheaper (digests are kept by triggers, so nothing is counted) and the hub's
    // position exact (a deletion has a seq and no row). Without them it works as well.
    let node: Option<(String, bool, bool)> = sqlx::query_as(
        "select role, \
                has_table_privilege('smp_global.table_digest', 'select'), \
                has_column_privilege('smp_global.change_log', 'seq', 'select') \
         from smp_global.node",
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some((role, reads_digests, reads_log)) = node else {
        return Ok(Found::Absent(
            "smp_global.node says neither hub nor region".to_owned(),
        ));
    };
    let part = if role == "hub" {
        Part::Hub
    } else {
        Part::Region
    };
    let known = known.filter(|known| known.part == part);

    let applied: i64 = match part {
        Part::Hub => 0,
        Part::Region => {
            sqlx::query_scalar("select applied_seq from smp_global.applied_position")
                .fetch_one(&mut *connection)
                .await?
        }
    };
    if part == Part::Region && known.is_some_and(|known| known.seq == applied) {
        return Ok(Found::Same);
    }

    let versions = table_versions(&mut *connection, reads_digests).await?;
    let mut tables_read = 0;
    let mut snapshot = Snapshot {
        part,
        seq: applied,
        countries: unless_same(
            &mut *connection,
            &versions,
            known.map(|known| &known.countries),
            &mut tables_read,
        )
        .await?,
        currencies: unless_same(
            &mut *connection,
            &versions,
            known.map(|known| &known.currencies),
            &mut tables_read,
        )
        .await?,
        rates: unless_same(
            &mut *connection,
            &versions,
            known.map(|known| &known.rates),
            &mut tables_read,
        )
        .await?,
        taxes: unless_same(
            &mut *connection,
            &versions,
            known.map(|known| &known.taxes),
            &mut tables_read,
        )
        .await?,
        texts: unless_same(
            &mut *connection,
            &versions,
            known.map(|known| &known.texts),
            &mut tables_read,
        )
        .await?,
    };
    if part == Part::Hub {
        snapshot.seq = hub_seq(&mut *connection, &snapshot, known, reads_log).await?;
    }
    transaction.rollback().await?;

    if tables_read == 0 && known.is_some_and(|known| known.seq == snapshot.seq) {
        return Ok(Found::Same);
    }
    Ok(Found::Newer {
        snapshot: Box::new(snapshot),
        tables_read,
    })
}

/// The hub's position: writers commit one after the other in the order of their seqs, so whoever sees
/// one sees all below it. It never goes back: without the log, a deletion would take it back.
async fn hub_seq(
    connection: &mut PgConnection,
    snapshot: &Snapshot,
    known: Option<&Snapshot>,
    reads_log: bool,
) -> Result<i64, sqlx::Error> {
    let logged: Option<i64> = if reads_log {
        sqlx::query_scalar("select max(seq) from smp_global.change_log")
            .fetch_one(connection)
            .await?
    } else {
        None
    };
    let seqs = [
        snapshot.countries.newest,
        snapshot.currencies.newest,
        snapshot.rates.newest,
        snapshot.taxes.newest,
        snapshot.texts.newest,
        logged.unwrap_or_default(),
        known.map_or(0, |known| known.seq),
    ];
    Ok(seqs.into_iter().max().unwrap_or_default())
}

/// A text for each table that is another one when a row is: rows and the sum of their hashes, or rows and
/// the greatest version (a change raises it; a deletion alone takes a row away).
async fn table_versions(
    connection: &mut PgConnection,
    reads_digests: bool,
) -> Result<HashMap<String, String>, sqlx::Error> {
    let versions: Vec<(String, String)> = if reads_digests {
        sqlx::query_as(
            "select table_name, 'digest ' || row_count || ' ' || hash from smp_global.table_digest",
        )
        .fetch_all(connection)
        .await?
    } else {
        let counts = [
            Countries::NAME,
            Currencies::NAME,
            Rates::NAME,
            Taxes::NAME,
            Texts::NAME,
        ]
        .map(|name| {
            format!(
                "select '{name}', 'count ' || count(*) || ' ' || coalesce(max(row_version), 0) \
                 from smp_global.{name}"
            )
        })
        .join(" union all ");
        sqlx::query_as(AssertSqlSafe(counts))
            .fetch_all(connection)
            .await?
    };
    Ok(versions.into_iter().collect())
}

/// The table as it is known, if no row of it has changed.
async fn unless_same<T: Rows>(
    connection: &mut PgConnection,
    versions: &HashMap<String, String>,
    known: Option<&Arc<Table<T>>>,
    tables_read: &mut u64,
) -> Result<Arc<Table<T>>, sqlx::Error> {
    let version = versions.get(T::NAME).ok_or(sqlx::Error::RowNotFound)?;
    if let Some(known) = known.filter(|known| known.version == *version) {
        return Ok(Arc::clone(known));
    }
    let (rows, newest) = T::read(connection).await?;
    *tables_read += 1;
    Ok(Arc::new(Table {
        version: version.clone(),
        newest,
        rows,
    }))
}

/// The rows of a table.
trait Rows: Sized {
    const NAME: &'static str;

    /// All of them, and the greatest version of one.
    fn read(
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<(Self, i64), sqlx::Error>> + Send;
}

/// Reads row by row: what the server sends is not held a second time.
macro_rules! for_each_row {
    ($connection:expr, $sql:literal, $row:pat => $work:expr) => {{
        let mut rows = sqlx::query_as($sql).fetch($connection);
        let mut count: u32 = 0;
        while let Some($row) = rows.try_next().await? {
            $work
            count = count.wrapping_add(1);
            if count.is_multiple_of(ROWS_AT_A_TIME) {
                yield_now().await;
            }
        }
    }};
}

/// A numeric, which the database sends as its text so that no digit can be lost.
fn decimal(text: &str) -> Result<Decimal, sqlx::Error> {
    Decimal::from_str_exact(text).map_err(|error| sqlx::Error::Decode(error.into()))
}

fn optional_decimal(text: Option<String>) -> Result<Option<Decimal>, sqlx::Error> {
    text.map(|text| decimal(&text)).transpose()
}

impl Rows for Countries {
    const NAME: &'static str = "countries";

    async fn read(connection: &mut PgConnection) -> Result<(Self, i64), sqlx::Error> {
        let (mut countries, mut newest) = (BTreeMap::new(), 0);
        for_each_row!(
            connection,
            "select code, alpha3, numeric_code, name, default_currency, default_locale, time_zones, \
                    calling_code, is_active, row_version \
             from smp_global.countries",
            (code, alpha3, numeric_code, name, default_currency, default_locale, time_zones,
             calling_code, is_active, row_version) => {
                newest = newest.max(row_version);
                let code: String = code;
                let country = Country {
                    code: code.clone(),
                    alpha3,
                    numeric_code,
                    name,
                    default_currency,
                    default_locale,
                    time_zones,
                    calling_code,
                    is_active,
                    row_version,
                };
                countries.insert(code, country);
            }
        );
        Ok((countries, newest))
    }
}

impl Rows for Currencies {
    const NAME: &'static str = "currencies";

    async fn read(connection: &mut PgConnection) -> Result<(Self, i64), sqlx::Error> {
        let (mut currencies, mut newest) = (BTreeMap::new(), 0);
        for_each_row!(
            connection,
            "select code, numeric_code, name, minor_units, trim_scale(cash_increment)::text, symbol, is_active, \
                    row_version \
             from smp_global.currencies",
            (code, numeric_code, name, minor_units, cash_increment, symbol, is_active, row_version) => {
                newest = newest.max(row_version);
                let code: String = code;
                let minor_units: i16 = minor_units;
                let minor_units = u8::try_from(minor_units)
                    .map_err(|error| sqlx::Error::Decode(error.into()))?;
                let currency = Currency {
                    code: code.clone(),
                    numeric_code,
                    name,
                    minor_units,
                    cash_increment: optional_decimal(cash_increment)?,
                    symbol,
                    is_active,
                    row_version,
                };
                currencies.insert(code, currency);
            }
        );
        Ok((currencies, newest))
    }
}

impl Rows for Rates {
    const NAME: &'static str = "currency_rates";

    async fn read(connection: &mut PgConnection) -> Result<(Self, i64), sqlx::Error> {
        let (mut rates, mut newest) = (Self::default(), 0);
        for_each_row!(
            connection,
            "select base, quote, valid_from, rate::text, source, row_version \
             from smp_global.currency_rates",
            (base, quote, valid_from, rate, source, row_version) => {
                newest = newest.max(row_version);
                let (valid_from, source): (Date, String) = (valid_from, source);
                let rate = Rate {
                    valid_from,
                    rate: optional_decimal(rate)?,
                    source: source.into_boxed_str(),
                    row_version,
                };
                rates.add(base, quote, rate);
            }
        );
        rates.finish();
        Ok((rates, newest))
    }
}

impl Rows for Taxes {
    const NAME: &'static str = "tax_configs";

    async fn read(connection: &mut PgConnection) -> Result<(Self, i64), sqlx::Error> {
        let (mut taxes, mut newest) = (Self::default(), 0);
        for_each_row!(
            connection,
            "select country, kind, category, valid_from, rate::text, note, row_version \
             from smp_global.tax_configs",
            (country, kind, category, valid_from, rate, note, row_version) => {
                newest = newest.max(row_version);
                let (valid_from, note): (Date, Option<String>) = (valid_from, note);
                let tax = Tax {
                    valid_from,
                    rate: optional_decimal(rate)?,
                    note: note.map(String::into_boxed_str),
                    row_version,
                };
                taxes.add(country, kind, category, tax);
            }
        );
        taxes.finish();
        Ok((taxes, newest))
    }
}

impl Rows for Texts {
    const NAME: &'static str = "i18n_translations";

    async fn read(connection: &mut PgConnection) -> Result<(Self, i64), sqlx::Error> {
        let (mut texts, mut newest) = (Self::default(), 0);
        for_each_row!(
            connection,
            "select locale, namespace, key, text, row_version from smp_global.i18n_translations",
            (locale, namespace, key, text, row_version) => {
                newest = newest.max(row_version);
                let [locale, namespace, key, text]: [String; 4] = [locale, namespace, key, text];
                texts
                    .add(&locale, &namespace, &key, &text, row_version)
                    .map_err(|error| sqlx::Error::Decode(error.into()))?;
            }
        );
        // A million keys take a second to sort, in which this thread has requests to serve.
        let sorted = spawn_blocking(move || {
            texts.finish();
            texts
        });
        let texts = sorted.await.map_err(|_| sqlx::Error::WorkerCrashed)?;
        Ok((texts, newest))
    }
}
