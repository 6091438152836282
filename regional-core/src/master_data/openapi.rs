//! The parts of the description that all paths share.

use axum::http::{HeaderName, header};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Schema};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{RefOr, Required, Type};
use utoipa::{IntoResponses, OpenApi};

use super::ask::{MIN_SEQ, SEQ};
use crate::error::ProblemDocument;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "SMP Global: master data",
        version = "1",
        description = "Countries, currencies, rates, taxes and texts, the same in every region. Read \
                       everywhere, by whoever reaches a core; written in the hub, by whoever has the role \
                       master_data_editor. For callers inside the region: the edge does not proxy these \
                       paths. Decimals are JSON strings. Days are days of the calendar of the document that is worked on; \
                       where none is given, it is today in UTC."
    ),
    components(schemas(ProblemDocument))
)]
pub(super) struct Description;

/// What each path may answer beside 200.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it describes the answers, which error.rs gives")]
pub(super) enum Others {
    /// It is what `If-None-Match` names.
    #[response(status = 304)]
    NotModified,
    /// A field of the request cannot be used; the problem names it and its limit.
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(#[to_schema] ProblemDocument),
    /// Nothing is known of it; the problem names it.
    #[response(status = 404, content_type = "application/problem+json")]
    NotThere(#[to_schema] ProblemDocument),
    /// Not as new as `x-smp-min-seq` asks for, and not within the time that a request may wait.
    #[response(status = 409, content_type = "application/problem+json")]
    Behind(#[to_schema] ProblemDocument),
    /// No master data is loaded. Repeat it after `Retry-After`.
    #[response(status = 503, content_type = "application/problem+json")]
    Absent(#[to_schema] ProblemDocument),
}

/// What each path that writes may answer beside 200 and 201.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it describes the answers, which error.rs gives")]
pub(super) enum Refusals {
    /// The path, a header or the body cannot be read.
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(#[to_schema] ProblemDocument),
    /// No bearer token, or one that cannot be used.
    #[response(status = 401, content_type = "application/problem+json")]
    Unknown(#[to_schema] ProblemDocument),
    /// Its holder has not the role `master_data_editor`.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] ProblemDocument),
    /// DELETE: there is no such row.
    #[response(status = 404, content_type = "application/problem+json")]
    NotThere(#[to_schema] ProblemDocument),
    /// This is not the hub. DELETE: other rows refer to this one; the problem names them.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(#[to_schema] ProblemDocument),
    /// The row is there in another version, which the problem names; or it is there, and should not be.
    #[response(status = 412, content_type = "application/problem+json")]
    Stale(#[to_schema] ProblemDocument),
    /// The body is larger than 64 KiB.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(#[to_schema] ProblemDocument),
    /// The row cannot be as it was sent. The problem names each field and its limit.
    #[response(status = 422, content_type = "application/problem+json")]
    Refused(#[to_schema] ProblemDocument),
    /// Neither `If-Match` nor `If-None-Match`.
    #[response(status = 428, content_type = "application/problem+json")]
    Unconditional(#[to_schema] ProblemDocument),
    /// Nothing can be written now, or not through this core. Repeat it after `Retry-After`.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] ProblemDocument),
}

/// Adds how a caller says who it is.
pub(super) fn describe_security(openapi: &mut utoipa::openapi::OpenApi) {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some(
            "EdDSA or RS256, of the issuer and for the audience that the core knows, good for an hour at \
             most, with the claims sub, roles and countries.",
        ))
        .build();
    let components = openapi.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
}

/// Adds the headers that each path takes and gives.
pub(super) fn describe_headers(openapi: &mut utoipa::openapi::OpenApi) {
    let text = || Schema::from(ObjectBuilder::new().schema_type(Type::String).build());
    let number = || Schema::from(ObjectBuilder::new().schema_type(Type::Integer).build());
    let parameter = |name: HeaderName, schema: Schema, description: &str| {
        let parameter = ParameterBuilder::new()
            .name(name.as_str())
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .schema(Some(schema))
            .description(Some(description))
            .build();
        RefOr::T(parameter)
    };
    let response_header = |schema: Schema, description: &str| {
        let header = HeaderBuilder::new()
            .schema(Some(schema))
            .description(Some(description))
            .build();
        RefOr::T(header)
    };
    for item in openapi.paths.paths.values_mut() {
        for (operation, is_put) in [(item.put.as_mut(), true), (item.delete.as_mut(), false)] {
            let Some(operation) = operation else {
                continue;
            };
            let parameters = operation.parameters.get_or_insert_default();
            parameters.push(parameter(
                header::IF_MATCH,
                text(),
                "The version of the row that is written, \"<row_version>\", as its ETag has it.",
            ));
            if is_put {
                parameters.push(parameter(
                    header::IF_NONE_MATCH,
                    text(),
                    "* in place of If-Match: there is no such row yet.",
                ));
            }
            for status in ["200", "201"] {
                let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status) else {
                    continue;
                };
                let headers = &mut response.headers;
                let seq = response_header(
                    number(),
                    "The version token: sent as x-smp-min-seq, a read in any region sees the change.",
                );
                headers.insert(SEQ.to_string(), seq);
                if is_put {
                    let etag = response_header(text(), "The row's new version, for If-Match.");
                    headers.insert(header::ETAG.to_string(), etag);
                }
            }
        }
    }
    let operations = openapi
        .paths
        .paths
        .iter_mut()
        .filter_map(|(path, item)| Some((path.ends_with("/openapi.json"), item.get.as_mut()?)));
    for (is_description, operation) in operations {
        let parameters = operation.parameters.get_or_insert_default();
        parameters.push(parameter(
            header::IF_NONE_MATCH,
            text(),
            "An ETag, or several: answered 304 if the answer is still that one.",
        ));
        if !is_description {
            parameters.push(parameter(
                MIN_SEQ,
                number(),
                "Waits until master data is at least here, else 409: the version token of a write in \
                 the hub.",
            ));
        }
        for status in ["200", "304"] {
            let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status) else {
                continue;
            };
            let headers = &mut response.headers;
            let etag = response_header(text(), "Strong: equal where the answer is, byte by byte.");
            headers.insert(header::ETAG.to_string(), etag);
            let cache_control = response_header(text(), "How long the answer may be kept.");
            headers.insert(header::CACHE_CONTROL.to_string(), cache_control);
            if !is_description {
                let seq = response_header(
                    number(),
                    "Up to which change of the hub the answer knows everything.",
                );
                headers.insert(SEQ.to_string(), seq);
            }
        }
    }
}
