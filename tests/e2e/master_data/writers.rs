//! Several writers of the hub at once: a random stream of changes that overlap, wait and fail.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// `SplitMix64`: the same numbers from the same seed.
#[derive(Clone)]
pub(super) struct Random(u64);

impl Random {
    /// From a seed of `SMP_SEED` or of chance, which is printed: a test that fails shows it.
    pub(super) fn announced() -> Self {
        let seed = std::env::var("SMP_SEED").map_or_else(
            |_| {
                let mut bytes = [0; 8];
                getrandom::fill(&mut bytes).unwrap();
                u64::from_le_bytes(bytes)
            },
            |seed| seed.parse().unwrap(),
        );
        eprintln!("to write and kill the same again: SMP_SEED={seed}");
        Self(seed)
    }

    /// Another series of numbers.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Up to so many milliseconds.
    pub(super) fn up_to_ms(&mut self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }

    /// In any order.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1);
            items.swap(last, usize::try_from(other).unwrap());
        }
    }

    fn pick<'a>(&mut self, items: &[&'a str]) -> &'a str {
        let index = self.below(items.len() as u64);
        items[usize::try_from(index).unwrap()]
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// What a writer did.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Written {
    /// Rows that were changed in transactions that were committed.
    pub(super) changes: u64,
    pub(super) commits: u64,
    /// Transactions that were taken back, or that a constraint refused.
    pub(super) rollbacks: u64,
    /// How often the server was gone.
    pub(super) reconnects: u64,
}

/// As many as write at once. Each holds the hub's lock only while its transaction lasts.
const WRITERS: usize = 3;

pub(super) struct Writers {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Written>>,
}

impl Writers {
    pub(super) fn start(hub: &PgConnectOptions, random: &mut Random) -> Self {
        let (stop, stopped) = watch::channel(false);
        let tasks = (0..WRITERS)
            .map(|_| tokio::spawn(write(hub.clone(), random.fork(), stopped.clone())))
            .collect();
        Self { stop, tasks }
    }

    /// Ends them, after the transaction that each is at.
    pub(super) async fn stop(self) -> Written {
        self.stop.send(true).unwrap();
        let mut all = Written::default();
        for task in self.tasks {
            let one = task.await.unwrap();
            all.changes += one.changes;
            all.commits += one.commits;
            all.rollbacks += one.rollbacks;
            all.reconnects += one.reconnects;
        }
        all
    }
}

async fn write(
    hub: PgConnectOptions,
    mut random: Random,
    stopped: watch::Receiver<bool>,
) -> Written {
    let mut written = Written::default();
    let mut connection = None;
    while !*stopped.borrow() {
        let Some(open) = &mut connection else {
            connection = PgConnection::connect_with(&hub).await.ok();
            if connection.is_none() {
                sleep(Duration::from_millis(20)).await;
            }
            continue;
        };
        match transact(open, &mut random).await {
            Ok(Some(changes)) => {
                written.commits += 1;
                written.changes += changes;
            }
            Ok(None) => written.rollbacks += 1,
            Err(error) => {
                let code = error
                    .as_database_error()
                    .and_then(|refusal| Some(refusal.code()?.into_owned()));
                match code.as_deref() {
                    // A reference to what is not there, or a key that is: as random as the rest.
                    Some("23503" | "23505") => written.rollbacks += 1,
                    // The server is going, or gone.
                    None | Some("57P01" | "57P02" | "57P03") => {
                        written.reconnects += 1;
                        connection = None;
                    }
                    Some(_) => panic!("no writer should meet this: {error}"),
                }
            }
        }
        sleep(random.up_to_ms(20)).await;
    }
    written
}

/// One transaction: how many rows it changed, if it was committed.
async fn transact(
    connection: &mut PgConnection,
    random: &mut Random,
) -> Result<Option<u64>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let mut changes = 0;
    for _ in 0..=random.below(4) {
        changes += sqlx::query(AssertSqlSafe(statement(random)))
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        if random.below(4) == 0 {
            // With the lock held: others wait.
            sleep(random.up_to_ms(8)).await;
        }
    }
    if random.below(8) == 0 {
        transaction.rollback().await?;
        return Ok(None);
    }
    transaction.commit().await?;
    Ok(Some(changes))
}

/// Few keys, so that they are met again: changed, deleted, and made anew.
fn statement(random: &mut Random) -> String {
    let locale = random.pick(&["vi", "en", "zh", "th"]);
    let key = random.below(40);
    let number = random.below(1_000_000);
    let day = random.below(9) + 1;
    let base = random.pick(&["USD", "EUR", "GBP", "AUD"]);
    let quote = random.pick(&["VND", "THB", "KRW"]);
    let of_key = format!("locale = '{locale}' and namespace = 'faults' and key = 'k{key}'");
    match random.below(14) {
        0..=4 => format!(
            "insert into smp_global.i18n_translations (locale, namespace, key, text) \
             values ('{locale}', 'faults', 'k{key}', 'chữ {number}') \
             on conflict (locale, namespace, key) do update set text = excluded.text"
        ),
        5 | 6 => format!("delete from smp_global.i18n_translations where {of_key}"),
        7 => format!(
            "update smp_global.i18n_translations set text = '字 {number}' \
             where namespace = 'faults' and key like 'k{}%'",
            random.below(4)
        ),
        8 => {
            let other = random.below(40);
            format!("update smp_global.i18n_translations set key = 'k{other}' where {of_key}")
        }
        9 => format!(
            "insert into smp_global.currency_rates (base, quote, valid_from, rate, source) \
             values ('{base}', '{quote}', '2030-01-0{day}', {number}.{:018}, 'faults') \
             on conflict (base, quote, valid_from) do update set rate = excluded.rate",
            random.below(1_000_000_000_000_000_000)
        ),
        10 => format!(
            "delete from smp_global.currency_rates where source = 'faults' and base = '{base}' \
             and valid_from >= '2030-01-0{day}'"
        ),
        11 => format!(
            "insert into smp_global.tax_configs (country, kind, category, valid_from, rate) \
             values ('VN', 'vat', 'faults', '2030-01-0{day}', 0.{number:06}) \
             on conflict (country, kind, category, valid_from) do update set rate = excluded.rate"
        ),
        12 => {
            let (code, numeric, minor) = [("GBP", 826, 2), ("AUD", 36, 2), ("KRW", 410, 0)]
                [usize::try_from(random.below(3)).unwrap()];
            format!(
                "insert into smp_global.currencies (code, numeric_code, name, minor_units, symbol) \
                 values ('{code}', '{numeric:03}', 'Name {number}', {minor}, '{code}') \
                 on conflict (code) do update set name = excluded.name"
            )
        }
        _ => format!(
            "delete from smp_global.currencies where code = '{}'",
            random.pick(&["GBP", "AUD", "KRW"])
        ),
    }
}
