//! What a database knows of its part in replication, for people and for machines.

use protocol::RegionId;
use serde::Serialize;
use sqlx::{PgPool, Row as _};

use crate::envelope::epoch_of;
use crate::position::Position;
use crate::table::Table;

/// The state of a hub or a region, from its own database.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Whose database it is.
    pub region: String,
    /// `hub` or `region`.
    pub role: String,
    /// The epoch of the stream.
    pub epoch: i64,
    /// Hub: the last change. Region: the last that is applied.
    pub seq: i64,
    /// In the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayStatus>,
    /// In a region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applier: Option<ApplierStatus>,
    /// Each table.
    pub tables: Vec<TableStatus>,
}

/// How far the hub's changes are published.
#[derive(Debug, Serialize)]
pub struct RelayStatus {
    /// The last published change.
    pub published_seq: i64,
    /// Changes that are not.
    pub waiting: i64,
    /// How long the oldest of them has waited, in seconds.
    pub waiting_secs: Option<f64>,
    /// Deletions that not every region has passed.
    pub deletions_waiting: i64,
    /// How long ago every row was sent again, in seconds.
    pub restated_secs_ago: Option<f64>,
    /// What each region said last.
    pub regions: Vec<RegionReport>,
}

/// What a region said last of its position.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct RegionReport {
    /// Its id.
    pub region: String,
    /// How long ago, in seconds; none if it never did.
    pub answered_secs_ago: Option<f64>,
    /// Up to where it had applied the stream.
    pub seq: i64,
    /// Whether a table differed.
    pub differs: bool,
    /// Why it has said nothing since.
    pub error: Option<String>,
}

/// How far a region is.
#[derive(Debug, Serialize)]
pub struct ApplierStatus {
    /// The next record's offset.
    pub next_offset: i64,
    /// How old the last heartbeat is, in seconds: how far behind the hub this region may be.
    pub lag_secs: Option<f64>,
    /// Of that heartbeat: from the hub's change log into its Kafka.
    pub publish_secs: Option<f64>,
    /// From the hub's Kafka until the region's applier had it.
    pub transport_secs: Option<f64>,
    /// From there until it was committed.
    pub apply_secs: Option<f64>,
    /// Records that are parked and not healed.
    pub parked: i64,
}

/// One table.
#[derive(Debug, Serialize)]
pub struct TableStatus {
    /// Its name.
    pub table: &'static str,
    /// Its rows, as the triggers have counted them.
    pub rows: i64,
    /// The sum of their hashes, as the triggers have added them up.
    pub hash: String,
    /// Region: whether it was the hub's at the last digest; none if there was none yet.
    pub same_as_hub: Option<bool>,
    /// Region: how long ago that was, in seconds.
    pub checked_secs_ago: Option<f64>,
    /// `verify` only: whether the triggers' count is what the rows come to when they are all counted anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recount_agrees: Option<bool>,
}

impl Status {
    /// Reads it. With `recount`, every row is read.
    pub async fn read(pool: &PgPool, recount: bool) -> Result<Self, sqlx::Error> {
        let (region, role): (String, String) =
            sqlx::query_as("select region_id, role from smp_global.node")
                .fetch_one(pool)
                .await?;
        let is_hub = role == "hub";
        let (relay, applier, seq) = if is_hub {
            let relay = read_relay(pool).await?;
            let seq = sqlx::query_scalar("select last_value from smp_global.change_seq")
                .fetch_one(pool)
                .await?;
            (Some(relay), None, seq)
        } else {
            let (applier, seq) = read_applier(pool).await?;
            (None, Some(applier), seq)
        };
        let mut tables = Vec::new();
        for table in Table::ALL {
            tables.push(read_table(pool, table, is_hub, recount).await?);
        }
        Ok(Self {
            region,
            role,
            epoch: epoch_of(seq),
            seq,
            relay,
            applier,
            tables,
        })
    }

    /// What is wrong, in words; nothing if all is well.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for table in &self.tables {
            if table.recount_agrees == Some(false) {
                faults.push(format!(
                    "{}: its rows are not what was written through it: they were changed behind the triggers; \
                     heal by `replicator restate` in the hub",
                    table.table
                ));
            }
            if table.same_as_hub == Some(false) {
                faults.push(format!(
                    "{}: differs from the hub's: heal by `replicator restate` in the hub",
                    table.table
                ));
            }
            if self.applier.is_some() && table.same_as_hub.is_none() {
                faults.push(format!("{}: not compared with the hub yet", table.table));
            }
        }
        for report in self.relay.iter().flat_map(|relay| &relay.regions) {
            if let Some(error) = &report.error {
                faults.push(format!(
                    "{} does not tell its position: {error}; until it does, deletions stay in the log",
                    report.region
                ));
            }
            if report.differs {
                faults.push(format!(
                    "{}: a table differs from the hub's: every row goes out again by itself, once",
                    report.region
                ));
            }
        }
        if let Some(applier) = &self.applier {
            if applier.parked > 0 {
                faults.push(format!(
                    "{} records are parked: see smp_global.parked_record for the cause",
                    applier.parked
                ));
            }
            if applier.lag_secs.is_none() {
                faults.push("no heartbeat has come from the hub yet".to_owned());
            }
        }
        faults
    }

    /// As a table that a person can read.
    #[must_use]
    pub fn to_text(&self) -> String {
        let seconds = |value: Option<f64>| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3} s"))
        };
        let mut lines = vec![format!(
            "{} ({}): epoch {}, seq {}",
            self.region, self.role, self.epoch, self.seq
        )];
        if let Some(relay) = &self.relay {
            lines.push(format!(
                "published up to {}; {} changes wait, the oldest for {}",
                relay.published_seq,
                relay.waiting,
                seconds(relay.waiting_secs)
            ));
            for report in &relay.regions {
                lines.push(format!(
                    "{} was at seq {} {} ago, and its tables {}",
                    report.region,
                    report.seq,
                    seconds(report.answered_secs_ago),
                    if report.differs {
                        "DIFFERED"
                    } else {
                        "did not differ"
                    }
                ));
            }
            if relay.deletions_waiting > 0 {
                lines.push(format!(
                    "{} deletions stay in the log until every region has passed them",
                    relay.deletions_waiting
                ));
            }
        }
        if let Some(applier) = &self.applier {
            lines.push(format!(
                "lag {} (last heartbeat: publish {}, transport {}, apply {}); {} parked",
                seconds(applier.lag_secs),
                seconds(applier.publish_secs),
                seconds(applier.transport_secs),
                seconds(applier.apply_secs),
                applier.parked
            ));
        }
        lines.push(format!(
            "{:<20} {:>10}  {:<24} {:<16} {:<14} RECOUNT",
            "TABLE", "ROWS", "HASH", "SAME AS HUB", "CHECKED"
        ));
        let verdict = |value: Option<bool>| match value {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        };
        for table in &self.tables {
            lines.push(format!(
                "{:<20} {:>10}  {:<24} {:<16} {:<14} {}",
                table.table,
                table.rows,
                table.hash,
                verdict(table.same_as_hub),
                seconds(table.checked_secs_ago),
                verdict(table.recount_agrees)
            ));
        }
        lines.extend(
            self.faults()
                .into_iter()
                .map(|fault| format!("fault: {fault}")),
        );
        lines.join("\n") + "\n"
    }
}

/// What a region tells the hub.
pub async fn read_position(pool: &PgPool) -> Result<Position, sqlx::Error> {
    let row = sqlx::query(
        "select n.region_id, p.applied_seq, c.compared_seq, c.differs from smp_global.node n, \
         smp_global.applied_position p, lateral (select \
         coalesce(min(seq) filter (where not is_same), min(seq), 0) as compared_seq, coalesce(not bool_and(is_same), false) as differs \
         from smp_global.digest_check) c",
    )
    .fetch_one(pool)
    .await?;
    let region: String = row.try_get("region_id")?;
    let seq = row.try_get("applied_seq")?;
    Ok(Position {
        region: RegionId::parse(&region).map_err(|error| sqlx::Error::Decode(error.into()))?,
        epoch: epoch_of(seq),
        seq,
        compared_seq: row.try_get("compared_seq")?,
        differs: row.try_get("differs")?,
    })
}

async fn read_relay(pool: &PgPool) -> Result<RelayStatus, sqlx::Error> {
    let row = sqlx::query(
        "select published_seq, \
         (select count(*) from smp_global.change_log where seq > published_seq) as waiting, \
         (select extract(epoch from clock_timestamp() - min(committed_at))::float8 \
          from smp_global.change_log where seq > published_seq) as waiting_secs, \
         (select count(*) from smp_global.deleted_row) as deletions_waiting, \
         extract(epoch from clock_timestamp() - restated_at)::float8 as restated_secs_ago \
         from smp_global.relay_state",
    )
    .fetch_one(pool)
    .await?;
    let regions = sqlx::query_as(
        "select region_id as region, applied_seq as seq, differs, error, \
         extract(epoch from clock_timestamp() - answered_at)::float8 as answered_secs_ago \
         from smp_global.region_report order by region_id",
    )
    .fetch_all(pool)
    .await?;
    Ok(RelayStatus {
        deletions_waiting: row.try_get("deletions_waiting")?,
        restated_secs_ago: row.try_get("restated_secs_ago")?,
        regions,
        published_seq: row.try_get("published_seq")?,
        waiting: row.try_get("waiting")?,
        waiting_secs: row.try_get("waiting_secs")?,
    })
}

async fn read_applier(pool: &PgPool) -> Result<(ApplierStatus, i64), sqlx::Error> {
    let row = sqlx::query(
        "select p.next_offset, p.applied_seq, \
         extract(epoch from clock_timestamp() - h.committed_at)::float8 as lag, \
         extract(epoch from h.published_at - h.committed_at)::float8 as publish, \
         extract(epoch from h.received_at - h.published_at)::float8 as transport, \
         extract(epoch from h.applied_at - h.received_at)::float8 as apply, \
         (select count(*) from smp_global.parked_record where healed_at is null) as parked \
         from smp_global.applied_position p left join smp_global.applied_heartbeat h on true",
    )
    .fetch_one(pool)
    .await?;
    let applier = ApplierStatus {
        next_offset: row.try_get("next_offset")?,
        lag_secs: row.try_get("lag")?,
        publish_secs: row.try_get("publish")?,
        transport_secs: row.try_get("transport")?,
        apply_secs: row.try_get("apply")?,
        parked: row.try_get("parked")?,
    };
    Ok((applier, row.try_get("applied_seq")?))
}

async fn read_table(
    pool: &PgPool,
    table: Table,
    is_hub: bool,
    recount: bool,
) -> Result<TableStatus, sqlx::Error> {
    // One statement, one snapshot: the count and the recount are of the same rows.
    let row = sqlx::query(
        "select d.row_count, d.hash::text as hash, \
         case when $2 then (select r.row_count = d.row_count and r.hash = d.hash \
                            from smp_global.recount_digest(d.table_name) r) end as recount_agrees \
         from smp_global.table_digest d where d.table_name = $1",
    )
    .bind(table.as_str())
    .bind(recount)
    .fetch_one(pool)
    .await?;
    let check = if is_hub {
        None
    } else {
        sqlx::query(
            "select is_same, extract(epoch from now() - checked_at)::float8 as ago \
             from smp_global.digest_check where table_name = $1",
        )
        .bind(table.as_str())
        .fetch_optional(pool)
        .await?
    };
    Ok(TableStatus {
        table: table.as_str(),
        rows: row.try_get("row_count")?,
        hash: row.try_get("hash")?,
        recount_agrees: row.try_get("recount_agrees")?,
        same_as_hub: match &check {
            Some(check) => Some(check.try_get("is_same")?),
            None => None,
        },
        checked_secs_ago: match &check {
            Some(check) => Some(check.try_get("ago")?),
            None => None,
        },
    })
}
