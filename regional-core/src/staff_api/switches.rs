//! `/pancake/switches`.

use axum::body::Body;
use axum::http::StatusCode;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answered};
use super::body::{BOOLEAN, Fields, boolean};
use super::caller::Caller;
use super::condition::{check, version_of};
use super::desk::{Action, Change};
use super::openapi::{BadBody, NotThisVersion, Refusals};
use super::store::switches::{self as store, Switches};
use crate::app::SharedApp;
use crate::error::StaffApiError;

pub(super) fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new().routes(routes!(show_switches, change_switches))
}

/// The country's switches
#[utoipa::path(
    get,
    path = "/pancake/switches",
    tag = "pancake",
    responses((status = 200, body = Switches, description = "The switches"), Refusals)
)]
async fn show_switches(caller: Caller) -> Answered {
    caller.parameters(&[])?;
    let mut desk = caller.desk_for(Action::Access).await?;
    let switches = store::load(desk.connection(), caller.country.as_str()).await?;
    desk.leave().await?;
    answer::row(StatusCode::OK, switches.version, &switches)
}

/// What to change of the switches: at least one of these.
#[derive(ToSchema)]
struct SwitchesChange {
    /// On: whatever comes is kept and skipped.
    #[schema(required = false)]
    kill_switch: Option<bool>,
    /// On: whatever comes is kept and waits.
    #[schema(required = false)]
    processing_paused: Option<bool>,
}

/// Throws or lifts a switch
///
/// Every process that processes reads it with its next batch.
#[utoipa::path(
    patch,
    path = "/pancake/switches",
    tag = "pancake",
    request_body = SwitchesChange,
    responses(
        (status = 200, body = Switches, description = "The switches as they are now"),
        Refusals, BadBody, NotThisVersion
    )
)]
async fn change_switches(caller: Caller, body: Body) -> Answered {
    caller.parameters(&[])?;
    let version = version_of(&caller.headers)?;
    let wanted = read_change(&caller.read(body).await?)?;
    let mut desk = caller.desk_for(Action::ToggleSwitch).await?;
    let country = caller.country.as_str();
    let there = store::lock(desk.connection(), country).await?;
    check(version, there.version)?;
    let kill_switch = wanted.kill_switch.unwrap_or(there.kill_switch);
    let paused = wanted.processing_paused.unwrap_or(there.processing_paused);
    let change = Change::new("update", "pancake_switches", country)
        .field("kill_switch", there.kill_switch, kill_switch)
        .field("processing_paused", there.processing_paused, paused);
    if change.is_empty() {
        desk.leave().await?;
        return answer::row(StatusCode::OK, there.version, &there);
    }
    let values = (kill_switch, paused);
    let is_written = store::update(desk.connection(), &there, values, &caller.subject).await?;
    let now = store::load(desk.connection(), country).await?;
    if !is_written {
        // Somebody else was the first to set any.
        let current_version = now.version;
        return Err(StaffApiError::Stale { current_version });
    }
    desk.commit(change).await?;
    // What waited may go on at once.
    caller.app.wake.wake();
    answer::row(StatusCode::OK, now.version, &now)
}

fn read_change(body: &[u8]) -> Result<SwitchesChange, StaffApiError> {
    let mut fields = Fields::parse_change(body)?;
    let kill_switch = fields.optional("kill_switch", BOOLEAN, boolean);
    let processing_paused = fields.optional("processing_paused", BOOLEAN, boolean);
    fields.finish()?;
    Ok(SwitchesChange {
        kill_switch,
        processing_paused,
    })
}
