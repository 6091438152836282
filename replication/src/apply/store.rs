//! A region's tables and position.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, Postgres, Transaction};
use tracing::{info, warn};

use super::{ApplyError, Read};
use crate::envelope::{Change, Envelope, UnixMicros};
use crate::kafka::Record;
use crate::table::Table;

/// The advisory lock of the one active applier: "apply" in ASCII.
const APPLY_LOCK: i64 = 0x61_7070_6c79;

/// As much of a cause as `parked_record` keeps.
const CAUSE_BYTES: usize = 1_024;

/// Up to where a region has applied the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Position {
    /// The next record's offset.
    pub next_offset: i64,
    /// The highest `seq` that is applied.
    pub applied_seq: i64,
    /// Where the last finished restate began.
    pub restate_since: i64,
}

/// The statements of a table.
struct Statements {
    /// Writes rows (`$1`, a JSON array) that are newer than what is there.
    upsert: String,
    /// The same, where deletions are remembered: a row that is newer than its deletion, which is then
    /// forgotten. Looking for them costs a row a tenth of all.
    upsert_above_deletions: String,
    /// Deletes rows by key (`$1`, a JSON array of `{seq, key}`) that are older than the deletion.
    delete: String,
    /// Remembers those deletions.
    remember_deletions: String,
    /// Deletes all rows that are older than `$1`.
    delete_older: String,
    /// Counts those that are not.
    count_since: String,
}

/// The region's database, of which this is the one writer of master data.
pub(super) struct Store {
    connection: PgConnection,
    position: Position,
    statements: HashMap<Table, Statements>,
    /// The tables of which a deletion may be remembered.
    with_deletions: HashSet<Table>,
    /// When the hub made the last digest of each table that came since [`Store::open`].
    digested_at: HashMap<Table, UnixMicros>,
}

/// Changes of one table and kind that follow one another: one statement. By key, for of several changes
/// of a row only the last counts, and a statement must not meet a row twice.
struct Segment<'r> {
    table: Table,
    deletes: bool,
    changes: HashMap<&'r [u8], (&'r Record, &'r Envelope)>,
}

impl Store {
    /// Waits until no other applier is active, and loads the position.
    pub(super) async fn open(pool: &PgPool) -> Result<Self, ApplyError> {
        // The lock lives as long as its connection, by which all is written.
        let mut connection = pool.acquire().await?.detach();
        sqlx::query("select pg_advisory_lock($1)")
            .bind(APPLY_LOCK)
            .execute(&mut connection)
            .await?;
        // Exactly as the hub wrote it, whatever this server's settings are.
        sqlx::query("set timezone = 'UTC'")
            .execute(&mut connection)
            .await?;
        // A plan is kept from when a table was empty. Row by row, by the index, is right at any size.
        sqlx::raw_sql(
            "set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off",
        )
        .execute(&mut connection)
        .await?;
        let position = sqlx::query_as(
            "select next_offset, applied_seq, restate_since from smp_global.applied_position",
        )
        .fetch_one(&mut connection)
        .await?;
        let mut statements = HashMap::new();
        for table in Table::ALL {
            statements.insert(table, Statements::of(table, &mut connection).await?);
        }
        Ok(Self {
            with_deletions: tables_with_deletions(&mut connection).await?,
            connection,
            position,
            statements,
            digested_at: HashMap::new(),
        })
    }

    /// Whether each table was compared with a digest that the hub made at `time` or later. Then all that
    /// was committed in the hub before it is here.
    pub(super) fn is_compared_since(&self, time: UnixMicros) -> bool {
        Table::ALL
            .iter()
            .all(|table| self.digested_at.get(table).is_some_and(|at| *at >= time))
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Reads on from `offset`, the start of the log. What is there stays; versions never go back.
    pub(super) async fn rewind(&mut self, offset: i64) -> Result<(), ApplyError> {
        sqlx::query("update smp_global.applied_position set next_offset = $1")
            .bind(offset)
            .execute(&mut self.connection)
            .await?;
        self.position.next_offset = offset;
        Ok(())
    }

    /// Applies records in their order: all of them, and the position behind the last, in one transaction.
    pub(super) async fn apply(&mut self, records: &[Read]) -> Result<(), ApplyError> {
        let Some((last, _)) = records.last() else {
            return Ok(());
        };
        let next_offset = last.offset + 1;
        let mut transaction = self.connection.begin().await?;
        let found: i64 =
            sqlx::query_scalar("select next_offset from smp_global.applied_position for update")
                .fetch_one(&mut *transaction)
                .await?;
        if found != self.position.next_offset {
            return Err(ApplyError::Fenced {
                expected: self.position.next_offset,
                found,
            });
        }
        let mut batch = Batch {
            transaction,
            statements: &self.statements,
            with_deletions: self.with_deletions.clone(),
            segment: None,
            has_written: false,
            position: self.position,
        };
        for (record, read) in records {
            match read {
                None => {}
                Some(Err(cause)) => batch.park(record, cause).await?,
                Some(Ok(envelope)) => batch.take(record, envelope).await?,
            }
        }
        batch.flush().await?;
        batch.position.next_offset = next_offset;
        let position = batch.position;
        sqlx::query(
            "update smp_global.applied_position \
             set next_offset = $1, applied_seq = $2, restate_since = $3, applied_at = clock_timestamp()",
        )
        .bind(position.next_offset)
        .bind(position.applied_seq)
        .bind(position.restate_since)
        .execute(&mut *batch.transaction)
        .await?;
        if batch.has_written {
            // For whoever holds the tables in memory.
            sqlx::query("select pg_notify('smp_global_applied', $1::text)")
                .bind(position.applied_seq)
                .execute(&mut *batch.transaction)
                .await?;
        }
        let with_deletions = batch.with_deletions;
        batch.transaction.commit().await?;
        self.position = position;
        self.with_deletions = with_deletions;
        for (_, read) in records {
            if let Some(Ok(envelope)) = read
                && let Change::Digest { table, .. } = envelope.change
            {
                self.digested_at.insert(table, envelope.committed_at);
            }
        }
        Ok(())
    }
}

/// A transaction under way.
struct Batch<'s, 'r> {
    transaction: Transaction<'s, Postgres>,
    statements: &'s HashMap<Table, Statements>,
    with_deletions: HashSet<Table>,
    segment: Option<Segment<'r>>,
    has_written: bool,
    position: Position,
}

impl<'r> Batch<'_, 'r> {
    async fn take(&mut self, record: &'r Record, envelope: &'r Envelope) -> Result<(), ApplyError> {
        let (table, deletes) = match &envelope.change {
            Change::Row { table, .. } => (*table, false),
            Change::Delete { table, .. } => (*table, true),
            mark => {
                self.flush().await?;
                self.take_mark(envelope, mark).await?;
                self.position.applied_seq = self.position.applied_seq.max(envelope.seq);
                return Ok(());
            }
        };
        self.position.applied_seq = self.position.applied_seq.max(envelope.seq);
        // The restate that began there holds everything: what is older came late.
        if envelope.seq < self.position.restate_since {
            return Ok(());
        }
        if self
            .segment
            .as_ref()
            .is_some_and(|segment| segment.table != table || segment.deletes != deletes)
        {
            self.flush().await?;
        }
        let segment = self.segment.get_or_insert_with(|| Segment {
            table,
            deletes,
            changes: HashMap::new(),
        });
        let key = record.key.as_deref().unwrap_or_default();
        let place = segment.changes.entry(key).or_insert((record, envelope));
        if place.1.seq < envelope.seq {
            *place = (record, envelope);
        }
        Ok(())
    }

    async fn take_mark(&mut self, envelope: &Envelope, mark: &Change) -> Result<(), ApplyError> {
        match mark {
            Change::Heartbeat => {
                sqlx::query(
                    "insert into smp_global.applied_heartbeat as h \
                     (seq, committed_at, published_at, received_at, applied_at) \
                     values ($1, to_timestamp($2 / 1e6), to_timestamp($3 / 1e6), now(), clock_timestamp()) \
                     on conflict (only_one) do update set seq = excluded.seq, \
                     committed_at = excluded.committed_at, published_at = excluded.published_at, \
                     received_at = excluded.received_at, applied_at = excluded.applied_at \
                     where h.seq < excluded.seq",
                )
                .bind(envelope.seq)
                .bind(envelope.committed_at.0)
                .bind(envelope.published_at.0)
                .execute(&mut *self.transaction)
                .await?;
            }
            Change::Digest { table, rows, hash } => {
                // One from before what is here says nothing about it.
                if envelope.seq < self.position.applied_seq {
                    return Ok(());
                }
                self.check_digest(envelope.seq, *table, *rows, hash).await?;
            }
            Change::RestateBegin => info!(seq = envelope.seq, "a restate begins"),
            Change::RestateEnd { since, rows } if *since > self.position.restate_since => {
                self.finish_restate(*since, *rows).await?;
            }
            Change::RestateEnd { .. } | Change::Row { .. } | Change::Delete { .. } => {}
        }
        Ok(())
    }

    async fn check_digest(
        &mut self,
        seq: i64,
        table: Table,
        rows: i64,
        hash: &str,
    ) -> Result<(), ApplyError> {
        let began_to_differ: bool = sqlx::query_scalar(
            "insert into smp_global.digest_check as c \
             (table_name, seq, hub_rows, hub_hash, region_rows, region_hash, is_same, differs_since) \
             select d.table_name, $2, $3, $4::numeric, d.row_count, d.hash, s.same, \
                    case when s.same then null else now() end \
             from smp_global.table_digest d, \
             lateral (select d.row_count = $3 and d.hash = $4::numeric as same) s \
             where d.table_name = $1 \
             on conflict (table_name) do update set seq = excluded.seq, hub_rows = excluded.hub_rows, \
             hub_hash = excluded.hub_hash, region_rows = excluded.region_rows, \
             region_hash = excluded.region_hash, is_same = excluded.is_same, checked_at = now(), \
             differs_since = case when excluded.is_same then null \
                                  else coalesce(c.differs_since, now()) end \
             returning not is_same and differs_since = now()",
        )
        .bind(table.as_str())
        .bind(seq)
        .bind(rows)
        .bind(hash)
        .fetch_one(&mut *self.transaction)
        .await?;
        if began_to_differ {
            warn!(%table, seq, "the table differs from the hub's from here on");
        }
        Ok(())
    }

    /// All of the hub's `rows` have come again since `since`: what is older is in the hub no more. If not
    /// all have come (a log made anew may begin in the middle), nothing is deleted, and the digests behind
    /// tell that the region differs.
    async fn finish_restate(&mut self, since: i64, rows: i64) -> Result<(), ApplyError> {
        let mut arrived = 0;
        for statements in self.statements.values() {
            let count: i64 = sqlx::query_scalar(AssertSqlSafe(statements.count_since.clone()))
                .bind(since)
                .fetch_one(&mut *self.transaction)
                .await?;
            arrived += count;
        }
        if arrived != rows {
            warn!(
                since,
                arrived, rows, "a restate has not arrived whole: it deletes nothing"
            );
            return Ok(());
        }
        let mut gone = 0;
        for table in Table::ALL.iter().rev() {
            if let Some(statements) = self.statements.get(table) {
                gone += sqlx::query(AssertSqlSafe(statements.delete_older.clone()))
                    .bind(since)
                    .execute(&mut *self.transaction)
                    .await?
                    .rows_affected();
            }
        }
        for statement in [
            "delete from smp_global.deleted_row where row_version < $1",
            "update smp_global.parked_record set healed_at = now() \
             where healed_at is null and $1 is not null",
        ] {
            sqlx::query(statement)
                .bind(since)
                .execute(&mut *self.transaction)
                .await?;
        }
        sqlx::query("select smp_global.rebase_digests()")
            .execute(&mut *self.transaction)
            .await?;
        self.with_deletions = tables_with_deletions(&mut self.transaction).await?;
        self.has_written = true;
        self.position.restate_since = since;
        info!(
            since,
            gone, "a restate has ended; rows that the hub has no more are gone"
        );
        Ok(())
    }

    /// Applies what has gathered. What the database refuses as a whole is tried one by one, and what it
    /// refuses then is parked.
    async fn flush(&mut self) -> Result<(), ApplyError> {
        let Some(segment) = self.segment.take() else {
            return Ok(());
        };
        self.has_written = true;
        let changes: Vec<_> = segment.changes.into_values().collect();
        let all: Vec<_> = changes.iter().map(|(_, envelope)| *envelope).collect();
        match self.write(segment.table, segment.deletes, &all).await {
            Err(error) if is_refusal(&error) => {}
            result => return Ok(result?),
        }
        for (record, envelope) in changes {
            match self
                .write(segment.table, segment.deletes, &[envelope])
                .await
            {
                Err(error) if is_refusal(&error) => {
                    self.park(record, &format!("the database refuses it: {error}"))
                        .await?;
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// Writes changes of one table and kind, all or none.
    async fn write(
        &mut self,
        table: Table,
        deletes: bool,
        changes: &[&Envelope],
    ) -> Result<(), sqlx::Error> {
        let Some(statements) = self.statements.get(&table) else {
            return Ok(());
        };
        let mut json = String::from("[");
        for (index, envelope) in changes.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            match &envelope.change {
                Change::Row { row, .. } => json.push_str(row.get()),
                Change::Delete { key, .. } => {
                    // Writing to a `String` cannot fail.
                    let _ = write!(json, "{{\"seq\":{},\"key\":{}}}", envelope.seq, key.get());
                }
                _ => {}
            }
        }
        json.push(']');
        let all: &[&String] = if deletes {
            // Also if it fails: it is only looked for in vain.
            self.with_deletions.insert(table);
            &[&statements.remember_deletions, &statements.delete]
        } else if self.with_deletions.contains(&table) {
            &[&statements.upsert_above_deletions]
        } else {
            &[&statements.upsert]
        };
        let mut savepoint = self.transaction.begin().await?;
        for statement in all {
            sqlx::query(AssertSqlSafe((*statement).clone()))
                .bind(&json)
                .execute(&mut *savepoint)
                .await?;
        }
        savepoint.commit().await
    }

    async fn park(&mut self, record: &Record, cause: &str) -> Result<(), ApplyError> {
        let cause = cause.replace('\0', "\u{fffd}");
        warn!(offset = record.offset, cause, "a record is parked");
        let headers: serde_json::Map<String, serde_json::Value> = record
            .headers
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value).replace('\0', "\u{fffd}");
                (name.replace('\0', "\u{fffd}"), value.into())
            })
            .collect();
        sqlx::query(
            "insert into smp_global.parked_record (kafka_offset, record_key, record_value, headers, cause) \
             values ($1, $2, $3, $4::jsonb, $5)",
        )
        .bind(record.offset)
        .bind(&record.key)
        .bind(&record.value)
        .bind(serde_json::Value::Object(headers).to_string())
        .bind(cause.get(..cause.floor_char_boundary(CAUSE_BYTES)))
        .execute(&mut *self.transaction)
        .await?;
        Ok(())
    }
}

/// Whether the database refuses what it was given, rather than being in trouble itself: SQLSTATE classes
/// 21 (a row twice in one statement: under two keys), 22 (data), 23 (constraint) and 54 (more than it can
/// hold), and P0001 (a trigger's own refusal).
fn is_refusal(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| {
            ["21", "22", "23", "54"]
                .iter()
                .any(|class| code.starts_with(class))
                || code == "P0001"
        })
}

async fn tables_with_deletions(
    connection: &mut PgConnection,
) -> Result<HashSet<Table>, sqlx::Error> {
    let mut tables = HashSet::new();
    for table in Table::ALL {
        let has: bool = sqlx::query_scalar(
            "select exists (select from smp_global.deleted_row where table_name = $1)",
        )
        .bind(table.as_str())
        .fetch_one(&mut *connection)
        .await?;
        if has {
            tables.insert(table);
        }
    }
    Ok(tables)
}

impl Statements {
    /// Made from the table as it is, so that a column that is added is carried from then on.
    async fn of(table: Table, connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let columns: Vec<(String, bool)> = sqlx::query_as(
            "select quote_ident(a.attname), coalesce(a.attnum = any (i.indkey), false) \
             from pg_attribute a \
             left join pg_index i on i.indrelid = a.attrelid and i.indisprimary \
             where a.attrelid = format('smp_global.%I', $1)::regclass and a.attnum > 0 \
             and not a.attisdropped and a.attgenerated = '' order by a.attnum",
        )
        .bind(table.as_str())
        .fetch_all(connection)
        .await?;
        let columns: Vec<(&str, bool)> =
            columns.iter().map(|(c, key)| (c.as_str(), *key)).collect();
        let (keys, others): (Vec<_>, Vec<_>) = columns.iter().partition(|(_, is_key)| *is_key);
        let join = |columns: &[(&str, bool)], separator: &str, of: &dyn Fn(&str) -> String| {
            columns
                .iter()
                .map(|(name, _)| of(name))
                .collect::<Vec<_>>()
                .join(separator)
        };
        let names = join(&columns, ", ", &str::to_owned);
        let values = join(&columns, ", ", &|name| format!("r.{name}"));
        let updates = join(&others, ", ", &|name| format!("{name} = r.{name}"));
        let key_object = format!(
            "jsonb_build_object({})",
            join(&keys, ", ", &|name| format!("'{name}', r.{name}"))
        );
        let same_key = join(&keys, " and ", &|name| format!("t.{name} = r.{name}"));
        // Only the applier writes, so a row that is not there stays absent until it is inserted. An
        // `on conflict` would lock each row before it updates it, and log both.
        let merge = |rows: &str| {
            format!(
                "merge into smp_global.{table} t using ({rows}) r on {same_key} \
                 when matched and t.row_version < r.row_version then update set {updates} \
                 when not matched then insert ({names}) values ({values})"
            )
        };
        let this_key = format!("d.table_name = '{table}' and d.key = {key_object}");
        Ok(Self {
            upsert: merge(&format!(
                "select * from json_populate_recordset(null::smp_global.{table}, $1::json)"
            )),
            upsert_above_deletions: format!(
                "with r as materialized \
                 (select * from json_populate_recordset(null::smp_global.{table}, $1::json)), \
                 forgotten as (delete from smp_global.deleted_row d using r \
                 where {this_key} and d.row_version < r.row_version) {}",
                merge(&format!(
                    "select * from r where not exists (select from smp_global.deleted_row d \
                     where {this_key} and d.row_version > r.row_version)"
                ))
            ),
            delete: format!(
                "delete from smp_global.{table} t using jsonb_array_elements($1::jsonb) e, \
                 jsonb_populate_record(null::smp_global.{table}, e -> 'key') r \
                 where {same_key} and t.row_version < (e ->> 'seq')::bigint"
            ),
            remember_deletions: format!(
                "insert into smp_global.deleted_row as d (table_name, key, row_version) \
                 select '{table}', e -> 'key', (e ->> 'seq')::bigint \
                 from jsonb_array_elements($1::jsonb) e \
                 on conflict (table_name, key) do update \
                 set row_version = greatest(d.row_version, excluded.row_version)"
            ),
            delete_older: format!("delete from smp_global.{table} where row_version < $1"),
            count_since: format!("select count(*) from smp_global.{table} where row_version >= $1"),
        })
    }
}
