//! `/notifications`.

use axum::http::{HeaderValue, header};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answered, Page, PathOf, path_of};
use super::caller::Caller;
use super::cursor::{List, Place};
use super::desk::Change;
use super::language::{choose, render};
use super::openapi::{NoRow, Refusals};
use super::store::notifications::{self as store, NotificationFilter, NotificationRow};
use super::value::{Id, Moment};
use crate::app::SharedApp;
use crate::error::StaffApiError;

const LIST: List = List("notifications");

pub(super) fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list_notifications))
        .routes(routes!(read_notification))
}

/// Something that the caller, or everybody of the caller's role, should know.
#[derive(Serialize, ToSchema)]
struct Notification {
    notification_id: Id,
    /// The role that it is for; null where it is for the caller alone.
    role: Option<String>,
    /// What kind of news it is.
    #[schema(example = "noti_pancake_new_lead")]
    template_code: String,
    ticket_id: Option<Id>,
    /// Without personal data: it shows on locked screens.
    subject: String,
    body: String,
    /// Of `subject` and `body`: `vi`, `en`, `zh` or `th`.
    #[schema(example = "vi")]
    language: &'static str,
    created_at: Moment,
    /// When it was read; of a role's, by any of them.
    read_at: Option<Moment>,
}

impl Notification {
    fn of(row: NotificationRow, language: &'static str) -> Self {
        let number = row.data.get("attempts").map(Value::to_string);
        let value = |name: &str| {
            let known = match name {
                "customer_name" => row.customer_name.as_deref(),
                "source_name" => row.source_name.as_deref(),
                "attempts" => number.as_deref(),
                _ => None,
            };
            row.data.get(name).and_then(Value::as_str).or(known)
        };
        Self {
            subject: render(&row.subject, language, value),
            body: render(&row.body, language, value),
            notification_id: row.notification_id,
            role: row.role,
            template_code: row.template_code,
            ticket_id: row.ticket_id,
            language,
            created_at: row.created_at,
            read_at: row.read_at,
        }
    }
}

fn language(caller: &Caller) -> &'static str {
    let header = caller.headers.get(header::ACCEPT_LANGUAGE);
    choose(header.and_then(|value| value.to_str().ok()))
}

fn speak(answered: Answered, language: &'static str) -> Answered {
    let mut response = answered?;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language));
    headers.insert(header::VARY, HeaderValue::from_static("accept-language"));
    Ok(response)
}

/// What the caller should know, the latest first
///
/// Their own, and those of their role.
#[utoipa::path(
    get,
    path = "/notifications",
    tag = "notifications",
    params(
        ("unread" = Option<bool>, Query, description = "Only what nobody has read"),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 200, description = "50 if not given"),
        ("cursor" = Option<String>, Query, min_length = 1, description = "`next` of the page before"),
        ("accept-language" = Option<String>, Header, description = "`vi`, `en`, `zh` or `th`; else English"),
    ),
    responses((status = 200, body = Page<Notification>, description = "A page"), Refusals)
)]
async fn list_notifications(caller: Caller) -> Answered {
    let parameters = caller.parameters(&["unread", "limit", "cursor"])?;
    let limit = parameters.limit()?;
    let is_unread = parameters.boolean("unread")?.unwrap_or_default();
    let before = LIST.place(&parameters)?;
    let mut desk = caller.desk().await?;
    let filter = NotificationFilter {
        staff_id: desk.staff_id,
        role: caller.role.as_str(),
        is_unread,
        before,
    };
    let country = caller.country.as_str();
    let rows = store::list(desk.connection(), country, &filter, i64::from(limit) + 1).await?;
    desk.leave().await?;
    let language = language(&caller);
    let items = rows
        .into_iter()
        .map(|row| Notification::of(row, language))
        .collect();
    let page: Page<Notification> = Page::new(items, limit, |last: &Notification| {
        LIST.write_place(Place {
            at: last.created_at,
            id: last.notification_id,
        })
    });
    speak(answer::ok(&page), language)
}

/// Says that a notification was read
///
/// Of a role's, for all of them.
#[utoipa::path(
    post,
    path = "/notifications/{notification_id}/read",
    tag = "notifications",
    params(
        ("notification_id" = String, Path, format = "uuid"),
        ("accept-language" = Option<String>, Header, description = "`vi`, `en`, `zh` or `th`; else English"),
    ),
    responses((status = 200, body = Notification, description = "The notification"), Refusals, NoRow)
)]
async fn read_notification(caller: Caller, path: PathOf<String>) -> Answered {
    let notification_id = Id::parse("notification_id", &path_of(path)?)?;
    caller.parameters(&[])?;
    let mut desk = caller.desk().await?;
    let country = caller.country.as_str();
    let row = store::lock(desk.connection(), country, notification_id).await?;
    let mut row = row.ok_or(StaffApiError::NotThere("notification"))?;
    if row.read_at.is_some() {
        desk.leave().await?;
    } else {
        let connection = desk.connection();
        row.read_at = Some(store::mark_read(connection, country, notification_id).await?);
        desk.commit(Change::new("read", "notification", &notification_id.0))
            .await?;
    }
    let language = language(&caller);
    speak(answer::ok(&Notification::of(row, language)), language)
}
