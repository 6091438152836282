//! `/staff`.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answered, Page, PathOf, path_of};
use super::body::{BOOLEAN, Fields, boolean, text};
use super::caller::Caller;
use super::condition::{check, version_of};
use super::cursor::List;
use super::desk::Change;
use super::openapi::{BadBody, InTheWay, NoRow, NotThisVersion, Refusals};
use super::store::staff::{self as store, Staff, StaffFilter, StaffValues};
use super::value::{Id, Role};
use crate::app::SharedApp;
use crate::error::StaffApiError;

const LIST: List = List("staff");
const CAPACITY_DEFAULT: i32 = 50;
const CAPACITY_MAX: i32 = 10_000;
const CAPACITY_EXPECTED: &str = "a whole number from 1 to 10000 is expected";
const NAME_EXPECTED: &str = "1 to 1024 bytes without control characters are expected";
const ROLE_EXPECTED: &str = "admin, manager or telesale is expected";
const ONLY_ADMINS_GIVE_ROLES: StaffApiError =
    StaffApiError::NotForRole("role: only an admin makes somebody anything but a telesale");

pub(super) fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list_staff, add_staff))
        .routes(routes!(show_staff, change_staff))
}

/// Who works in the country, the latest first
#[utoipa::path(
    get,
    path = "/staff",
    tag = "staff",
    params(
        ("role" = Option<String>, Query, description = "`admin`, `manager` or `telesale`"),
        ("active" = Option<bool>, Query, description = "Only those who work here, or do not any more"),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 200, description = "50 if not given"),
        ("cursor" = Option<String>, Query, min_length = 1, description = "`next` of the page before"),
    ),
    responses((status = 200, body = Page<Staff>, description = "A page"), Refusals)
)]
async fn list_staff(caller: Caller) -> Answered {
    caller.require_office()?;
    let parameters = caller.parameters(&["role", "active", "limit", "cursor"])?;
    let limit = parameters.limit()?;
    let filter = StaffFilter {
        role: parameters.read("role", ROLE_EXPECTED, |name| {
            Role::read(name).map(Role::as_str)
        })?,
        is_active: parameters.boolean("active")?,
        before: LIST.place(&parameters)?,
    };
    let mut desk = caller.desk().await?;
    let country = caller.country.as_str();
    let items = store::list(desk.connection(), country, filter, i64::from(limit) + 1).await?;
    desk.leave().await?;
    answer::ok(&Page::new(items, limit, |last| {
        LIST.write_place(last.place())
    }))
}

/// One of the staff
#[utoipa::path(
    get,
    path = "/staff/{staff_id}",
    tag = "staff",
    params(("staff_id" = String, Path, format = "uuid")),
    responses((status = 200, body = Staff, description = "Somebody"), Refusals, NoRow)
)]
async fn show_staff(caller: Caller, path: PathOf<String>) -> Answered {
    let staff_id = Id::parse("staff_id", &path_of(path)?)?;
    caller.parameters(&[])?;
    let mut desk = caller.desk().await?;
    let staff = store::find(desk.connection(), caller.country.as_str(), staff_id).await?;
    desk.leave().await?;
    let staff = staff.ok_or(StaffApiError::NotThere("member of the staff"))?;
    answer::row(StatusCode::OK, staff.version, &staff)
}

/// Somebody new.
#[derive(ToSchema)]
struct NewStaff {
    /// The `sub` of their token: 1 to 128 bytes.
    #[schema(min_length = 1, max_length = 128)]
    subject: String,
    /// How colleagues see the name: 1 to 1024 bytes.
    #[schema(min_length = 1, max_length = 1024)]
    display_name: String,
    /// `telesale`; as an admin also `manager` or `admin`.
    #[schema(example = "telesale", pattern = "^(admin|manager|telesale)$", value_type = String)]
    role: Role,
    /// How many tickets may be open at once before no more are given automatically; 50 if not given.
    #[schema(required = false, minimum = 1, maximum = 10000, value_type = i32)]
    capacity: i32,
}

/// Adds somebody to the staff
#[utoipa::path(
    post,
    path = "/staff",
    tag = "staff",
    request_body = NewStaff,
    responses(
        (status = 201, body = Staff, description = "Somebody"),
        Refusals, BadBody, InTheWay
    )
)]
async fn add_staff(caller: Caller, body: Body) -> Answered {
    caller.require_office()?;
    caller.parameters(&[])?;
    let new = read_new(&caller.read(body).await?)?;
    if new.role != Role::Telesale && caller.role != Role::Admin {
        return Err(ONLY_ADMINS_GIVE_ROLES);
    }
    let mut desk = caller.desk().await?;
    let country = caller.country.as_str();
    let staff_id = Id::new();
    let values = StaffValues {
        display_name: new.display_name,
        role: new.role.as_str(),
        capacity: new.capacity,
        is_active: true,
    };
    store::insert(
        desk.connection(),
        country,
        (staff_id, &new.subject),
        &values,
    )
    .await?;
    let staff = store::find(desk.connection(), country, staff_id).await?;
    let staff = staff.ok_or(StaffApiError::Internal)?;
    let change = Change::new("create", "staff", &staff_id.0)
        .set("role", values.role)
        .set("capacity", values.capacity)
        .hidden("display_name", true)
        .hidden("subject", true);
    desk.commit(change).await?;
    answer::row(StatusCode::CREATED, staff.version, &staff)
}

fn read_new(body: &[u8]) -> Result<NewStaff, StaffApiError> {
    let mut fields = Fields::parse(body)?;
    let subject = fields.required(
        "subject",
        "1 to 128 bytes without control characters are expected",
        |value| text(value, 1..=128),
    );
    let display_name =
        fields.required("display_name", NAME_EXPECTED, |value| text(value, 1..=1024));
    let role = fields.required("role", ROLE_EXPECTED, read_role);
    let capacity = fields.optional("capacity", CAPACITY_EXPECTED, read_capacity);
    fields.finish()?;
    match (subject, display_name, role) {
        (Some(subject), Some(display_name), Some(role)) => Ok(NewStaff {
            subject,
            display_name,
            role,
            capacity: capacity.unwrap_or(CAPACITY_DEFAULT),
        }),
        _ => Err(StaffApiError::Internal),
    }
}

/// Somebody's role, if the caller may change anything of them.
pub(super) fn role_to_change(caller: &Caller, staff: &Staff) -> Result<Role, StaffApiError> {
    let role = Role::read(&staff.role).ok_or(StaffApiError::Internal)?;
    if role == Role::Admin && caller.role != Role::Admin {
        return Err(StaffApiError::NotForRole("only an admin changes an admin"));
    }
    Ok(role)
}

fn read_role(value: &Value) -> Option<Role> {
    Role::read(&text(value, 1..=16)?)
}

fn read_capacity(value: &Value) -> Option<i32> {
    let capacity = i32::try_from(value.as_i64()?).ok()?;
    (1..=CAPACITY_MAX).contains(&capacity).then_some(capacity)
}

/// What to change of somebody: at least one of these.
#[derive(ToSchema)]
struct StaffChange {
    #[schema(required = false, min_length = 1, max_length = 1024)]
    display_name: Option<String>,
    /// As an admin only.
    #[schema(required = false, pattern = "^(admin|manager|telesale)$", value_type = String)]
    role: Option<Role>,
    #[schema(required = false, minimum = 1, maximum = 10000)]
    capacity: Option<i32>,
    /// False for whoever left: they get no ticket, and cannot use this API any more.
    #[schema(required = false)]
    is_active: Option<bool>,
}

/// Changes somebody
///
/// A manager changes telesales and managers, and nobody's role.
#[utoipa::path(
    patch,
    path = "/staff/{staff_id}",
    tag = "staff",
    params(("staff_id" = String, Path, format = "uuid")),
    request_body = StaffChange,
    responses(
        (status = 200, body = Staff, description = "Somebody as they are now"),
        Refusals, NoRow, BadBody, NotThisVersion
    )
)]
async fn change_staff(caller: Caller, path: PathOf<String>, body: Body) -> Answered {
    caller.require_office()?;
    let staff_id = Id::parse("staff_id", &path_of(path)?)?;
    caller.parameters(&[])?;
    let version = version_of(&caller.headers)?;
    let wanted = read_change(&caller.read(body).await?)?;
    if wanted.role.is_some() && caller.role != Role::Admin {
        return Err(ONLY_ADMINS_GIVE_ROLES);
    }
    let mut desk = caller.desk().await?;
    let country = caller.country.as_str();
    let there = store::lock(desk.connection(), country, staff_id).await?;
    let there = there.ok_or(StaffApiError::NotThere("member of the staff"))?;
    let role = role_to_change(&caller, &there)?;
    check(version, there.version)?;
    let values = StaffValues {
        display_name: wanted
            .display_name
            .unwrap_or_else(|| there.display_name.clone()),
        role: wanted.role.unwrap_or(role).as_str(),
        capacity: wanted.capacity.unwrap_or(there.capacity),
        is_active: wanted.is_active.unwrap_or(there.is_active),
    };
    let change = Change::new("update", "staff", &staff_id.0)
        .field("role", there.role.as_str(), values.role)
        .field("capacity", there.capacity, values.capacity)
        .field("is_active", there.is_active, values.is_active)
        .hidden("display_name", there.display_name != values.display_name);
    if change.is_empty() {
        desk.leave().await?;
        return answer::row(StatusCode::OK, there.version, &there);
    }
    store::update(desk.connection(), country, staff_id, &values).await?;
    let staff = store::find(desk.connection(), country, staff_id).await?;
    let staff = staff.ok_or(StaffApiError::Internal)?;
    desk.commit(change).await?;
    answer::row(StatusCode::OK, staff.version, &staff)
}

fn read_change(body: &[u8]) -> Result<StaffChange, StaffApiError> {
    let mut fields = Fields::parse_change(body)?;
    let change = StaffChange {
        display_name: fields.optional("display_name", NAME_EXPECTED, |value| text(value, 1..=1024)),
        role: fields.optional("role", ROLE_EXPECTED, read_role),
        capacity: fields.optional("capacity", CAPACITY_EXPECTED, read_capacity),
        is_active: fields.optional("is_active", BOOLEAN, boolean),
    };
    fields.finish()?;
    Ok(change)
}
