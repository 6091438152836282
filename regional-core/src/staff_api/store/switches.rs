//! A country's switches, one key of its row in `app_setting`.

use serde::Serialize;
use serde_json::json;
use sqlx::{FromRow, PgConnection};
use utoipa::ToSchema;

use crate::staff_api::value::Moment;

/// The switches of a country's Pancake integration.
#[derive(Debug, Clone, FromRow, Serialize, ToSchema)]
pub(in crate::staff_api) struct Switches {
    #[schema(example = "VN")]
    pub(in crate::staff_api) country_code: String,
    /// On: whatever comes is kept and skipped.
    pub(in crate::staff_api) kill_switch: bool,
    /// On: whatever comes is kept and waits.
    pub(in crate::staff_api) processing_paused: bool,
    /// Null where nobody has set any: it is switched off then.
    pub(in crate::staff_api) updated_at: Option<Moment>,
    /// The `sub` of who changed it last; null where a migration did, or nobody.
    pub(in crate::staff_api) updated_by: Option<String>,
    /// For `If-Match`; 0 where nobody has set any.
    pub(in crate::staff_api) version: i64,
}

impl Switches {
    fn unset(country: &str) -> Self {
        Self {
            country_code: country.to_owned(),
            kill_switch: true,
            processing_paused: false,
            updated_at: None,
            updated_by: None,
            version: 0,
        }
    }
}

/// Anything but a plain `false` (or, of the pause, nothing) is on, as processing reads it.
const SELECT: &str = "select country_code, \
         coalesce((s -> 'kill_switch')::text, 'true') <> 'false' as kill_switch, \
         coalesce((s -> 'processing_paused')::text, 'false') <> 'false' as processing_paused, \
         updated_at, updated_by, version \
     from (select *, app_settings -> 'pancake_integration' as s from app_setting \
           where country_code = $1 ";

/// The switches, as processing sees them.
pub(in crate::staff_api) async fn load(
    connection: &mut PgConnection,
    country: &str,
) -> Result<Switches, sqlx::Error> {
    load_with(connection, country, "").await
}

/// As [`load`], and nobody else changes them until the transaction ends, if somebody has before.
pub(in crate::staff_api) async fn lock(
    connection: &mut PgConnection,
    country: &str,
) -> Result<Switches, sqlx::Error> {
    load_with(connection, country, "for update").await
}

async fn load_with(
    connection: &mut PgConnection,
    country: &str,
    lock: &str,
) -> Result<Switches, sqlx::Error> {
    let switches = sqlx::query_as(sqlx::AssertSqlSafe(format!("{SELECT} {lock}) as setting")))
        .bind(country)
        .fetch_optional(connection)
        .await?;
    Ok(switches.unwrap_or_else(|| Switches::unset(country)))
}

/// Writes them over those of `there`. Whether that is still what there is; else nothing is written.
pub(in crate::staff_api) async fn update(
    connection: &mut PgConnection,
    there: &Switches,
    (kill_switch, processing_paused): (bool, bool),
    updated_by: &str,
) -> Result<bool, sqlx::Error> {
    let switches = json!({"kill_switch": kill_switch, "processing_paused": processing_paused});
    let statement = if there.version == 0 {
        "insert into app_setting (country_code, app_settings, updated_by) \
         values ($1, jsonb_build_object('pancake_integration', $2::jsonb), $3) on conflict do nothing"
    } else {
        "update app_setting set app_settings = app_settings || jsonb_build_object('pancake_integration', \
                 case jsonb_typeof(app_settings -> 'pancake_integration') \
                 when 'object' then app_settings -> 'pancake_integration' else '{}' end || $2::jsonb), \
             updated_by = $3, version = version + 1, \
             updated_at = clock_timestamp() where country_code = $1 and version = $4"
    };
    let mut query = sqlx::query(statement)
        .bind(&there.country_code)
        .bind(switches)
        .bind(updated_by);
    if there.version != 0 {
        query = query.bind(there.version);
    }
    Ok(query.execute(connection).await?.rows_affected() == 1)
}
