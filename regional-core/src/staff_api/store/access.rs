//! Who asks, what they may, and what they changed.

use sqlx::PgConnection;

use crate::staff_api::caller::Caller;
use crate::staff_api::desk::Change;
use crate::staff_api::value::Id;

/// Until the transaction ends, the connection is `core_staff`'s and sees what this caller may see.
pub(in crate::staff_api) async fn become_staff(
    connection: &mut PgConnection,
    country: &str,
    role: &str,
    subject: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "select set_config('role', 'core_staff', true), set_config('smp.countries', $1, true), \
                set_config('smp.role', $2, true), set_config('smp.subject', $3, true), \
                set_config('smp.staff_id', '', true)",
    )
    .bind(country)
    .bind(role)
    .bind(subject)
    .execute(connection)
    .await?;
    Ok(())
}

/// The caller's row in `staff`.
#[derive(sqlx::FromRow)]
pub(in crate::staff_api) struct KnownStaff {
    pub(in crate::staff_api) staff_id: Id,
    pub(in crate::staff_api) is_active: bool,
    pub(in crate::staff_api) role: String,
}

/// The caller's row in `staff`. From here on the transaction knows whose tickets are their own.
pub(in crate::staff_api) async fn identify(
    connection: &mut PgConnection,
    country: &str,
    subject: &str,
) -> Result<Option<KnownStaff>, sqlx::Error> {
    sqlx::query_as(
        "select staff_id, is_active, role, set_config('smp.staff_id', staff_id::text, true) \
         from staff where country_code = $1 and subject = $2",
    )
    .bind(country)
    .bind(subject)
    .fetch_optional(connection)
    .await
}

/// Whether a role may do this.
pub(in crate::staff_api) async fn may(
    connection: &mut PgConnection,
    module: &str,
    action: &str,
    role: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists (select from module_permission_action \
                        where module = $1 and action = $2 and role = $3)",
    )
    .bind(module)
    .bind(action)
    .bind(role)
    .fetch_one(connection)
    .await
}

pub(in crate::staff_api) async fn insert_audit(
    connection: &mut PgConnection,
    caller: &Caller,
    change: &Change,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into audit_log (audit_id, country_code, subject, role, action, entity, entity_id, changes, \
                                request_id) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(Id::new())
    .bind(caller.country.as_str())
    .bind(&caller.subject)
    .bind(caller.role.as_str())
    .bind(change.action)
    .bind(change.entity)
    .bind(&change.entity_id)
    .bind(change.changes())
    .bind(&caller.request_id)
    .execute(connection)
    .await?;
    Ok(())
}
