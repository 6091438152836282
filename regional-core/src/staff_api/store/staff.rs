//! Who works in a country, when they are away, and whose leads they take.

use serde::Serialize;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use utoipa::ToSchema;

use crate::staff_api::cursor::Place;
use crate::staff_api::value::{Id, Moment};

/// Somebody who works in the country.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub(in crate::staff_api) struct Staff {
    pub(in crate::staff_api) staff_id: Id,
    /// The `sub` of their token.
    subject: String,
    pub(in crate::staff_api) display_name: String,
    /// `admin`, `manager` or `telesale`.
    #[schema(example = "telesale")]
    pub(in crate::staff_api) role: String,
    /// Whoever left stays in the list, and gets no ticket.
    pub(in crate::staff_api) is_active: bool,
    /// How many tickets may be open at once before no more are given automatically.
    pub(in crate::staff_api) capacity: i32,
    /// How many are.
    open_tickets: i64,
    /// Whether an absence covers this moment.
    is_absent: bool,
    last_assigned_at: Option<Moment>,
    created_at: Moment,
    updated_at: Moment,
    /// For `If-Match`.
    pub(in crate::staff_api) version: i64,
}

const COLUMNS: &str = "staff_id, subject, display_name, role, is_active, capacity, last_assigned_at, created_at, \
     updated_at, (extract(epoch from updated_at) * 1000000)::bigint as version, \
     (select count(*) from ticket as t where t.assignee_id = staff.staff_id and t.status <> 'closed') as open_tickets, \
     exists (select from staff_absence as a where a.staff_id = staff.staff_id and a.ends_at > now() \
             and a.starts_at <= now()) as is_absent";

/// Which staff.
#[derive(Debug, Default)]
pub(in crate::staff_api) struct StaffFilter {
    pub(in crate::staff_api) role: Option<&'static str>,
    pub(in crate::staff_api) is_active: Option<bool>,
    pub(in crate::staff_api) before: Option<Place>,
}

/// Who came last first.
pub(in crate::staff_api) async fn list(
    connection: &mut PgConnection,
    country: &str,
    filter: StaffFilter,
    limit: i64,
) -> Result<Vec<Staff>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new("select ");
    query.push(COLUMNS);
    query
        .push(" from staff where country_code = ")
        .push_bind(country);
    if let Some(role) = filter.role {
        query.push(" and role = ").push_bind(role);
    }
    if let Some(is_active) = filter.is_active {
        query.push(" and is_active = ").push_bind(is_active);
    }
    if let Some(before) = filter.before {
        query
            .push(" and (created_at, staff_id) < (")
            .push_bind(before.at);
        query.push(", ").push_bind(before.id).push(")");
    }
    query
        .push(" order by created_at desc, staff_id desc limit ")
        .push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}

impl Staff {
    pub(in crate::staff_api) fn place(&self) -> Place {
        Place {
            at: self.created_at,
            id: self.staff_id,
        }
    }
}

pub(in crate::staff_api) async fn find(
    connection: &mut PgConnection,
    country: &str,
    staff_id: Id,
) -> Result<Option<Staff>, sqlx::Error> {
    find_with(connection, country, staff_id, "").await
}

/// As [`find`], and nobody else changes them until the transaction ends.
pub(in crate::staff_api) async fn lock(
    connection: &mut PgConnection,
    country: &str,
    staff_id: Id,
) -> Result<Option<Staff>, sqlx::Error> {
    find_with(connection, country, staff_id, "for update").await
}

async fn find_with(
    connection: &mut PgConnection,
    country: &str,
    staff_id: Id,
    lock: &str,
) -> Result<Option<Staff>, sqlx::Error> {
    let statement =
        format!("select {COLUMNS} from staff where country_code = $1 and staff_id = $2 {lock}");
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(staff_id)
        .fetch_optional(connection)
        .await
}

/// What a row of staff says.
#[derive(Debug)]
pub(in crate::staff_api) struct StaffValues {
    pub(in crate::staff_api) display_name: String,
    pub(in crate::staff_api) role: &'static str,
    pub(in crate::staff_api) capacity: i32,
    pub(in crate::staff_api) is_active: bool,
}

/// Adds somebody, who is active.
pub(in crate::staff_api) async fn insert(
    connection: &mut PgConnection,
    country: &str,
    (staff_id, subject): (Id, &str),
    values: &StaffValues,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into staff (staff_id, country_code, subject, display_name, role, capacity) \
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(staff_id)
    .bind(country)
    .bind(subject)
    .bind(&values.display_name)
    .bind(values.role)
    .bind(values.capacity)
    .execute(connection)
    .await?;
    Ok(())
}

pub(in crate::staff_api) async fn update(
    connection: &mut PgConnection,
    country: &str,
    staff_id: Id,
    values: &StaffValues,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update staff set display_name = $3, role = $4, capacity = $5, is_active = $6, \
             updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond') \
         where country_code = $1 and staff_id = $2",
    )
    .bind(country)
    .bind(staff_id)
    .bind(&values.display_name)
    .bind(values.role)
    .bind(values.capacity)
    .bind(values.is_active)
    .execute(connection)
    .await?;
    Ok(())
}

/// When somebody gets no ticket.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub(in crate::staff_api) struct Absence {
    pub(in crate::staff_api) absence_id: Id,
    /// Its first moment.
    pub(in crate::staff_api) starts_at: Moment,
    /// The first moment after it.
    pub(in crate::staff_api) ends_at: Moment,
    pub(in crate::staff_api) reason: Option<String>,
}

/// Absences, the latest first.
pub(in crate::staff_api) async fn list_absences(
    connection: &mut PgConnection,
    country: &str,
    staff_id: Id,
    before: Option<Place>,
    limit: i64,
) -> Result<Vec<Absence>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new(
        "select absence_id, starts_at, ends_at, reason from staff_absence where country_code = ",
    );
    query
        .push_bind(country)
        .push(" and staff_id = ")
        .push_bind(staff_id);
    if let Some(before) = before {
        query
            .push(" and (starts_at, absence_id) < (")
            .push_bind(before.at);
        query.push(", ").push_bind(before.id).push(")");
    }
    query
        .push(" order by starts_at desc, absence_id desc limit ")
        .push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}

pub(in crate::staff_api) async fn insert_absence(
    connection: &mut PgConnection,
    country: &str,
    staff_id: Id,
    absence: &Absence,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into staff_absence (absence_id, country_code, staff_id, starts_at, ends_at, reason) \
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(absence.absence_id)
    .bind(country)
    .bind(staff_id)
    .bind(absence.starts_at)
    .bind(absence.ends_at)
    .bind(&absence.reason)
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether there was one.
pub(in crate::staff_api) async fn delete_absence(
    connection: &mut PgConnection,
    country: &str,
    staff_id: Id,
    absence_id: Id,
) -> Result<bool, sqlx::Error> {
    let deleted = sqlx::query(
        "delete from staff_absence where country_code = $1 and staff_id = $2 and absence_id = $3",
    )
    .bind(country)
    .bind(staff_id)
    .bind(absence_id)
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected() == 1)
}

/// The sources whose leads somebody takes; of none that is named, all.
pub(in crate::staff_api) async fn list_sources(
    connection: &mut PgConnection,
    country: &str,
    staff_id: Id,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select source_id from staff_source where country_code = $1 and staff_id = $2 order by source_id",
    )
    .bind(country)
    .bind(staff_id)
    .fetch_all(connection)
    .await
}

pub(in crate::staff_api) async fn replace_sources(
    connection: &mut PgConnection,
    country: &str,
    staff_id: Id,
    source_ids: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "delete from staff_source where country_code = $1 and staff_id = $2 and source_id <> all ($3)",
    )
    .bind(country)
    .bind(staff_id)
    .bind(source_ids)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "insert into staff_source (staff_id, country_code, source_id) \
         select $2, $1, source_id from unnest($3::text[]) as s (source_id) on conflict do nothing",
    )
    .bind(country)
    .bind(staff_id)
    .bind(source_ids)
    .execute(connection)
    .await?;
    Ok(())
}
