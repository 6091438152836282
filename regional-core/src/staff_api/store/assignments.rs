//! Tickets that are given by hand.

use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use utoipa::ToSchema;

use crate::staff_api::value::{Id, Moment};

/// A ticket that was given by hand.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub(in crate::staff_api) struct Given {
    ticket_id: Id,
    staff_id: Id,
    /// How many tickets they have open now.
    open_tickets: i64,
    /// Up to how many they would be given automatically. By hand it may be more.
    capacity: i32,
    /// When the ticket was changed last.
    updated_at: Moment,
}

/// Whether somebody works here who can be given tickets.
pub(in crate::staff_api) async fn is_active(
    connection: &mut PgConnection,
    country: &str,
    staff_id: Id,
) -> Result<Option<bool>, sqlx::Error> {
    sqlx::query_scalar("select is_active from staff where country_code = $1 and staff_id = $2")
        .bind(country)
        .bind(staff_id)
        .fetch_optional(connection)
        .await
}

/// Gives a ticket to somebody, and tells them.
pub(in crate::staff_api) async fn assign(
    connection: &mut PgConnection,
    country: &str,
    (ticket_id, staff_id): (Id, Id),
    assigned_by: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update ticket set assignee_id = $3, \
             updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond') \
         where country_code = $1 and ticket_id = $2",
    )
    .bind(country)
    .bind(ticket_id)
    .bind(staff_id)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "insert into ticket_assignment \
             (assignment_id, country_code, ticket_id, staff_id, method, assigned_by, assigned_at) \
         values ($1, $2, $3, $4, 'manual', $5, clock_timestamp())",
    )
    .bind(Id::new())
    .bind(country)
    .bind(ticket_id)
    .bind(staff_id)
    .bind(assigned_by)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "insert into notification (notification_id, country_code, staff_id, template_code, ticket_id, created_at) \
         values ($1, $2, $3, 'noti_pancake_new_lead', $4, clock_timestamp())",
    )
    .bind(Id::new())
    .bind(country)
    .bind(staff_id)
    .bind(ticket_id)
    .execute(connection)
    .await?;
    Ok(())
}

/// What somebody has, after they were given a ticket.
pub(in crate::staff_api) async fn given(
    connection: &mut PgConnection,
    country: &str,
    ticket_id: Id,
) -> Result<Given, sqlx::Error> {
    sqlx::query_as(
        "select t.ticket_id, s.staff_id, s.capacity, t.updated_at, \
             (select count(*) from ticket as o where o.assignee_id = s.staff_id and o.status <> 'closed') \
             as open_tickets \
         from ticket as t join staff as s on s.country_code = t.country_code and s.staff_id = t.assignee_id \
         where t.country_code = $1 and t.ticket_id = $2",
    )
    .bind(country)
    .bind(ticket_id)
    .fetch_one(connection)
    .await
}
