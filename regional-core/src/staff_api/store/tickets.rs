//! Tickets, with their customers and who had them.

use serde::Serialize;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use utoipa::ToSchema;

use super::walk::{Found, Walk};
use crate::staff_api::cursor::Place;
use crate::staff_api::value::{Id, Moment};

/// Something to be done for a customer.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub(in crate::staff_api) struct Ticket {
    pub(in crate::staff_api) ticket_id: Id,
    account_id: Option<Id>,
    contact_id: Option<Id>,
    /// Where it came from: a `ticket_source`.
    #[schema(example = "ticket_source_pancake")]
    source_id: String,
    /// `open` (nobody began), `in_progress` or `closed`.
    #[schema(example = "open")]
    pub(in crate::staff_api) status: String,
    subject: Option<String>,
    /// Whose it is; null where it is nobody's yet.
    pub(in crate::staff_api) assignee_id: Option<Id>,
    /// The Pancake connection and record that it is about, if it is.
    connection_id: Option<String>,
    record_id: Option<Id>,
    /// Whether the record's number can be called: `usable`, or what is wrong with it.
    phone_state: Option<String>,
    pub(in crate::staff_api) created_at: Moment,
    updated_at: Moment,
    closed_at: Option<Moment>,
    /// For `If-Match`.
    pub(in crate::staff_api) version: i64,
}

/// A customer.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub(in crate::staff_api) struct Account {
    account_id: Id,
    name: Option<String>,
    phone_number: Option<String>,
    /// In E.164.
    normalized_phone: Option<String>,
    /// Whether the number may be called.
    phone_enabled: bool,
    email: Option<String>,
    created_at: Moment,
    updated_at: Moment,
}

/// A person to talk to at a customer.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub(in crate::staff_api) struct Contact {
    contact_id: Id,
    name: Option<String>,
    phone_number: Option<String>,
    /// In E.164.
    primary_phone: Option<String>,
    email: Option<String>,
}

/// Who got a ticket when.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub(in crate::staff_api) struct Assignment {
    assignment_id: Id,
    staff_id: Id,
    /// `automatic` or `manual`.
    #[schema(example = "automatic")]
    method: String,
    /// The `sub` of who did it by hand.
    assigned_by: Option<String>,
    assigned_at: Moment,
}

const COLUMNS: &str = "ticket_id, account_id, contact_id, source_id, status, subject, assignee_id, connection_id, \
     record_id, phone_state, created_at, updated_at, closed_at, \
     (extract(epoch from updated_at) * 1000000)::bigint as version";

/// Which tickets.
#[derive(Debug, Default)]
pub(in crate::staff_api) struct TicketFilter {
    pub(in crate::staff_api) status: Option<&'static str>,
    pub(in crate::staff_api) assignee_id: Option<Id>,
    pub(in crate::staff_api) is_unassigned: Option<bool>,
    pub(in crate::staff_api) source_id: Option<String>,
    pub(in crate::staff_api) before: Option<Place>,
}

impl TicketFilter {
    /// Whether an index finds all of it.
    fn is_indexed(&self) -> bool {
        self.status.is_none() && self.is_unassigned.is_none() && self.source_id.is_none()
    }

    fn push_indexed(&self, query: &mut QueryBuilder<Postgres>) {
        if let Some(assignee_id) = self.assignee_id {
            query.push(" and assignee_id = ").push_bind(assignee_id);
        }
        // As the partial index has it.
        let is_open = self.status.is_some_and(|status| status != "closed");
        if is_open && self.is_unassigned == Some(true) {
            query.push(" and assignee_id is null and status <> 'closed'");
        }
        if let Some(before) = self.before {
            query
                .push(" and (created_at, ticket_id) < (")
                .push_bind(before.at);
            query.push(", ").push_bind(before.id).push(")");
        }
    }

    fn push_others(&self, query: &mut QueryBuilder<Postgres>) {
        if let Some(status) = self.status {
            query.push(" and status = ").push_bind(status);
        }
        match self.is_unassigned {
            Some(true) => query.push(" and assignee_id is null"),
            Some(false) => query.push(" and assignee_id is not null"),
            None => query,
        };
        if let Some(source_id) = &self.source_id {
            query.push(" and source_id = ").push_bind(source_id.clone());
        }
    }
}

/// The latest first, up to `limit`.
pub(in crate::staff_api) async fn list(
    connection: &mut PgConnection,
    country: &str,
    filter: &TicketFilter,
    limit: i64,
) -> Result<Found<Ticket>, sqlx::Error> {
    let mut walk = Walk::new(limit, filter.is_indexed());
    walk.rows()
        .push(
            "select ticket_id as id, created_at as moment, status, assignee_id, source_id \
             from ticket where country_code = ",
        )
        .push_bind(country.to_owned());
    filter.push_indexed(walk.rows());
    filter.push_others(walk.others());
    let walked = walk.run(connection).await?;
    let statement = format!(
        "select {COLUMNS} from ticket where ticket_id = any ($1) order by created_at desc, ticket_id desc"
    );
    let items = sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(walked.ids)
        .fetch_all(connection)
        .await?;
    Ok(Found {
        items,
        looked_until: walked.looked_until,
    })
}

pub(in crate::staff_api) async fn find(
    connection: &mut PgConnection,
    country: &str,
    ticket_id: Id,
) -> Result<Option<Ticket>, sqlx::Error> {
    find_with(connection, country, ticket_id, "").await
}

/// As [`find`], and nobody else changes it until the transaction ends.
pub(in crate::staff_api) async fn lock(
    connection: &mut PgConnection,
    country: &str,
    ticket_id: Id,
) -> Result<Option<Ticket>, sqlx::Error> {
    find_with(connection, country, ticket_id, "for update").await
}

async fn find_with(
    connection: &mut PgConnection,
    country: &str,
    ticket_id: Id,
    lock: &str,
) -> Result<Option<Ticket>, sqlx::Error> {
    let statement =
        format!("select {COLUMNS} from ticket where country_code = $1 and ticket_id = $2 {lock}");
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(ticket_id)
        .fetch_optional(connection)
        .await
}

/// A ticket's customer.
pub(in crate::staff_api) async fn find_account(
    connection: &mut PgConnection,
    country: &str,
    ticket: &Ticket,
) -> Result<Option<Account>, sqlx::Error> {
    sqlx::query_as(
        "select account_id, name, phone_number, normalized_phone, phone_enabled, email, created_at, updated_at \
         from account where country_code = $1 and account_id = $2",
    )
    .bind(country)
    .bind(ticket.account_id)
    .fetch_optional(connection)
    .await
}

/// The person whom a ticket is about.
pub(in crate::staff_api) async fn find_contact(
    connection: &mut PgConnection,
    country: &str,
    ticket: &Ticket,
) -> Result<Option<Contact>, sqlx::Error> {
    sqlx::query_as(
        "select contact_id, name, phone_number, primary_phone, email \
         from contact_book where country_code = $1 and contact_id = $2",
    )
    .bind(country)
    .bind(ticket.contact_id)
    .fetch_optional(connection)
    .await
}

/// Who had a ticket, the last one first.
pub(in crate::staff_api) async fn assignments(
    connection: &mut PgConnection,
    country: &str,
    ticket_id: Id,
) -> Result<Vec<Assignment>, sqlx::Error> {
    sqlx::query_as(
        "select assignment_id, staff_id, method, assigned_by, assigned_at from ticket_assignment \
         where country_code = $1 and ticket_id = $2 order by assigned_at desc, assignment_id desc limit 50",
    )
    .bind(country)
    .bind(ticket_id)
    .fetch_all(connection)
    .await
}

/// Writes a status.
pub(in crate::staff_api) async fn set_status(
    connection: &mut PgConnection,
    country: &str,
    ticket_id: Id,
    status: &str,
) -> Result<Ticket, sqlx::Error> {
    let statement = format!(
        "update ticket set status = $3, \
             closed_at = case when $3 = 'closed' then clock_timestamp() end, \
             first_response_at = coalesce(first_response_at, case when $3 <> 'open' then clock_timestamp() end), \
             updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond') \
         where country_code = $1 and ticket_id = $2 returning {COLUMNS}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(ticket_id)
        .bind(status)
        .fetch_one(connection)
        .await
}
