//! Lists that look at a bounded number of rows, whatever is looked for.

use sqlx::{PgConnection, Postgres, QueryBuilder};

use crate::staff_api::cursor::Place;
use crate::staff_api::value::{Id, Moment};

/// How many rows one page looks at, at most. What no index finds (a source, a state that most rows have) is
/// looked for among so many, and the list goes on behind them.
pub(super) const LOOKED_AT_MAX: i64 = 10_000;

/// A page's rows.
#[derive(Debug)]
pub(in crate::staff_api) struct Found<T, P = Place> {
    pub(in crate::staff_api) items: Vec<T>,
    /// Where to go on if not all were looked at.
    pub(in crate::staff_api) looked_until: Option<P>,
}

impl<T, P> Found<T, P> {
    pub(in crate::staff_api) fn nothing() -> Self {
        Self {
            items: Vec::new(),
            looked_until: None,
        }
    }
}

/// The keys of a page's rows, the latest first.
pub(super) struct Walked {
    pub(super) ids: Vec<Id>,
    pub(super) looked_until: Option<Place>,
}

/// A walk through a table.
pub(super) struct Walk {
    query: QueryBuilder<Postgres>,
    looked_at: i64,
    limit: i64,
    is_indexed: bool,
}

impl Walk {
    /// For up to `limit` rows; `is_indexed` says that no row is looked at that is not found.
    pub(super) fn new(limit: i64, is_indexed: bool) -> Self {
        Self {
            query: QueryBuilder::new("with looked_at as materialized ("),
            looked_at: if is_indexed { limit } else { LOOKED_AT_MAX },
            limit,
            is_indexed,
        }
    }

    /// `select … as id, … as moment, … from … where …`: the rows that are looked at, all by an index.
    pub(super) fn rows(&mut self) -> &mut QueryBuilder<Postgres> {
        &mut self.query
    }

    /// ` and …`: which of them are found. After [`Walk::rows`].
    pub(super) fn others(&mut self) -> &mut QueryBuilder<Postgres> {
        self.query
            .push(" order by moment desc, id desc limit ")
            .push_bind(self.looked_at)
            .push("), found as (select id, moment from looked_at where true")
    }

    pub(super) async fn run(
        mut self,
        connection: &mut PgConnection,
    ) -> Result<Walked, sqlx::Error> {
        walk_by_index(connection).await?;
        self.query
            .push(" order by moment desc, id desc limit ")
            .push_bind(self.limit)
            .push(
                ") select id, moment, true as is_found from found \
                 union all (select id, moment, false from looked_at \
                            where (select count(*) from looked_at) = ",
            )
            .push_bind(self.looked_at)
            .push(" order by moment, id limit 1)");
        let rows: Vec<(Id, Moment, bool)> =
            self.query.build_query_as().fetch_all(connection).await?;
        let last = rows.iter().find(|row| !row.2 && !self.is_indexed);
        Ok(Walked {
            ids: rows.iter().filter(|row| row.2).map(|row| row.0).collect(),
            looked_until: last.map(|(id, at, _)| Place { at: *at, id: *id }),
        })
    }
}

/// Until the transaction ends, rows are read in the order of an index. PostgreSQL knows how scattered the rows of
/// an index's first column are, not those of all, and would rather read and sort a country's whole table than
/// ten thousand rows of it. And one process reads them: several would each read ahead of what the page needs.
pub(in crate::staff_api) async fn walk_by_index(
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "select set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), \
             set_config('max_parallel_workers_per_gather', '0', true)",
    )
    .execute(connection)
    .await?;
    Ok(())
}
