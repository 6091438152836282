//! What somebody should know.

use serde_json::Value;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};

use crate::staff_api::cursor::Place;
use crate::staff_api::value::{Id, Moment};

/// A notification with what its text is made of, as far as its reader may see that.
#[derive(Debug, FromRow)]
pub(in crate::staff_api) struct NotificationRow {
    pub(in crate::staff_api) notification_id: Id,
    pub(in crate::staff_api) role: Option<String>,
    pub(in crate::staff_api) template_code: String,
    pub(in crate::staff_api) ticket_id: Option<Id>,
    pub(in crate::staff_api) data: Value,
    pub(in crate::staff_api) created_at: Moment,
    pub(in crate::staff_api) read_at: Option<Moment>,
    /// Locale → text.
    pub(in crate::staff_api) subject: Value,
    /// Locale → text.
    pub(in crate::staff_api) body: Value,
    pub(in crate::staff_api) customer_name: Option<String>,
    pub(in crate::staff_api) source_name: Option<String>,
}

const SELECT: &str = "select n.notification_id, n.role, n.template_code, n.ticket_id, n.data, n.created_at, n.read_at, \
         t.subject, t.body, coalesce(a.name, k.subject) as customer_name, m.name as source_name \
     from notification as n \
     join notification_template as t on t.code = n.template_code \
     left join ticket as k on k.country_code = n.country_code and k.ticket_id = n.ticket_id \
     left join account as a on a.country_code = k.country_code and a.account_id = k.account_id \
     left join crm_master_data as m on m.id = k.source_id \
     where n.country_code = ";

/// Which notifications.
#[derive(Debug)]
pub(in crate::staff_api) struct NotificationFilter {
    pub(in crate::staff_api) staff_id: Option<Id>,
    pub(in crate::staff_api) role: &'static str,
    pub(in crate::staff_api) is_unread: bool,
    pub(in crate::staff_api) before: Option<Place>,
}

/// The latest first. Those of a person and those of a role have an index each.
pub(in crate::staff_api) async fn list(
    connection: &mut PgConnection,
    country: &str,
    filter: &NotificationFilter,
    limit: i64,
) -> Result<Vec<NotificationRow>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new("with own as (");
    if let Some(staff_id) = filter.staff_id {
        push_ids(&mut query, country, filter, limit, "staff_id", staff_id);
        query.push(" union all ");
    }
    push_ids(&mut query, country, filter, limit, "role", filter.role);
    query.push(") ").push(SELECT).push_bind(country);
    query.push(" and n.notification_id in (select notification_id from own)");
    query
        .push(" order by n.created_at desc, n.notification_id desc limit ")
        .push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}

fn push_ids<T>(
    query: &mut QueryBuilder<Postgres>,
    country: &str,
    filter: &NotificationFilter,
    limit: i64,
    column: &str,
    value: T,
) where
    T: for<'q> sqlx::Encode<'q, Postgres> + sqlx::Type<Postgres>,
{
    query.push("(select notification_id from notification where country_code = ");
    query.push_bind(country);
    query
        .push(" and ")
        .push(column)
        .push(" = ")
        .push_bind(value);
    if filter.is_unread {
        query.push(" and read_at is null");
    }
    if let Some(before) = filter.before {
        query
            .push(" and (created_at, notification_id) < (")
            .push_bind(before.at);
        query.push(", ").push_bind(before.id).push(")");
    }
    query
        .push(" order by created_at desc, notification_id desc limit ")
        .push_bind(limit);
    query.push(")");
}

/// One, which nobody else marks until the transaction ends.
pub(in crate::staff_api) async fn lock(
    connection: &mut PgConnection,
    country: &str,
    notification_id: Id,
) -> Result<Option<NotificationRow>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new(SELECT);
    query.push_bind(country);
    query
        .push(" and n.notification_id = ")
        .push_bind(notification_id)
        .push(" for update of n");
    query.build_query_as().fetch_optional(connection).await
}

/// Writes that it was read, now.
pub(in crate::staff_api) async fn mark_read(
    connection: &mut PgConnection,
    country: &str,
    notification_id: Id,
) -> Result<Moment, sqlx::Error> {
    sqlx::query_scalar(
        "update notification set read_at = clock_timestamp() \
         where country_code = $1 and notification_id = $2 returning read_at",
    )
    .bind(country)
    .bind(notification_id)
    .fetch_one(connection)
    .await
}
