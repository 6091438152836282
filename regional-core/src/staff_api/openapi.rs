//! The parts of the description that all paths share.

use axum::http::header;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{RefOr, Required, Type};
use utoipa::{IntoResponses, OpenApi};

use super::caller::COUNTRY;
use crate::error::ProblemDocument;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "SMP Global: CRM for staff",
        version = "1",
        description = "What admins, managers and telesales see and change, in one country at a time. A bearer \
                       token says who asks; the country is the token's, or the one that X-Country-Code names. Behind \
                       the edge the same paths are below /api, and the country is the one by which the edge \
                       routed. Lists are walked by cursor. What changes a row that may be changed by others names its \
                       version in If-Match."
    ),
    components(schemas(ProblemDocument))
)]
pub(super) struct Description;

/// What each path may answer beside what it is for.
#[derive(IntoResponses)]
#[expect(
    dead_code,
    reason = "it describes the answers, which error/staff_api.rs gives"
)]
pub(super) enum Refusals {
    /// The path, the query, a header or the body cannot be read; the problem names it and its limit.
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(#[to_schema] ProblemDocument),
    /// No bearer token, or one that cannot be used.
    #[response(status = 401, content_type = "application/problem+json")]
    Unknown(#[to_schema] ProblemDocument),
    /// Not for this role, not in this country, or not on its staff.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] ProblemDocument),
    /// The database does not answer. Repeat it after `Retry-After`; `detail` says whether a change may be there.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] ProblemDocument),
}

/// What a path of one row may answer beside that.
#[derive(IntoResponses)]
#[expect(
    dead_code,
    reason = "it describes the answers, which error/staff_api.rs gives"
)]
pub(super) enum NoRow {
    /// There is no such row, or it is not the caller's to see.
    #[response(status = 404, content_type = "application/problem+json")]
    NotThere(#[to_schema] ProblemDocument),
}

/// What a path that takes a body may answer beside that.
#[derive(IntoResponses)]
#[expect(
    dead_code,
    reason = "it describes the answers, which error/staff_api.rs gives"
)]
pub(super) enum BadBody {
    /// The body is larger than 64 KiB.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(#[to_schema] ProblemDocument),
    /// Fields cannot be as they were sent. The problem names each field and its limit.
    #[response(status = 422, content_type = "application/problem+json")]
    Refused(#[to_schema] ProblemDocument),
}

/// What a path that changes one version of a row may answer beside that.
#[derive(IntoResponses)]
#[expect(
    dead_code,
    reason = "it describes the answers, which error/staff_api.rs gives"
)]
pub(super) enum NotThisVersion {
    /// The row is there in another version, which the problem names.
    #[response(status = 412, content_type = "application/problem+json")]
    Stale(#[to_schema] ProblemDocument),
    /// No `If-Match`.
    #[response(status = 428, content_type = "application/problem+json")]
    Unconditional(#[to_schema] ProblemDocument),
}

/// What a path may answer where another row can be in the way.
#[derive(IntoResponses)]
#[expect(
    dead_code,
    reason = "it describes the answers, which error/staff_api.rs gives"
)]
pub(super) enum InTheWay {
    /// Another row is in the way; the problem says which.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(#[to_schema] ProblemDocument),
}

/// Adds who may call, the headers that each path takes and gives, and that bodies have no other fields.
pub(super) fn complete(openapi: &mut utoipa::openapi::OpenApi) {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some(
            "EdDSA or RS256, of the issuer and for the audience that the core knows, good for an hour at \
             most, with the claims sub, roles (admin, manager or telesale) and countries; with the scope crm if it \
             has one.",
        ))
        .build();
    let components = openapi.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let mut bodies = Vec::new();
    for (path, item) in &mut openapi.paths.paths {
        if path.ends_with("/openapi.json") {
            continue;
        }
        let operations = [
            item.get.as_mut(),
            item.post.as_mut(),
            item.put.as_mut(),
            item.patch.as_mut(),
            item.delete.as_mut(),
        ];
        for operation in operations.into_iter().flatten() {
            describe(operation);
            bodies.extend(body_of(operation));
        }
    }
    for body in bodies {
        // No field of a body is passed over.
        if let Some(RefOr::T(Schema::Object(schema))) = components.schemas.get_mut(&body) {
            schema.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
}

fn describe(operation: &mut Operation) {
    let bearer = SecurityRequirement::new("bearer", Vec::<String>::new());
    operation.security = Some(vec![bearer]);
    add_header(
        operation,
        COUNTRY.as_str(),
        "For which country; needed if the token is for several of this region. Not looked at behind the edge.",
        ("^[A-Za-z]{2}$", Required::False),
    );
    if operation.responses.responses.contains_key("428") {
        let name = header::IF_MATCH;
        let description =
            "The version of the row that is changed, \"<version>\", as its ETag has it.";
        let read = (r#"^"[0-9]+"$"#, Required::True);
        add_header(operation, name.as_str(), description, read);
        if let Some(RefOr::T(response)) = operation.responses.responses.get_mut("200") {
            let etag = HeaderBuilder::new()
                .schema(Some(text().build()))
                .description(Some("The row's version, for If-Match."))
                .build();
            response
                .headers
                .insert(header::ETAG.to_string(), RefOr::T(etag));
        }
    }
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// The schema of the body that an operation takes, by its name.
fn body_of(operation: &Operation) -> Option<String> {
    if let Some(RefOr::T(body)) = &operation.request_body
        && let Some(RefOr::T(content)) = body.content.values().next()
        && let Some(RefOr::Ref(schema)) = &content.schema
    {
        schema.ref_location.rsplit('/').next().map(str::to_owned)
    } else {
        None
    }
}

fn add_header(
    operation: &mut Operation,
    name: &str,
    description: &str,
    (pattern, required): (&str, Required),
) {
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(required)
        .schema(Some(text().pattern(Some(pattern)).build()))
        .description(Some(description))
        .build();
    operation
        .parameters
        .get_or_insert_default()
        .push(RefOr::T(parameter));
}
