//! The parts of the description that all paths share.

use axum::http::{HeaderName, header};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Schema};
use utoipa::openapi::{RefOr, Required, Type};
use utoipa::{IntoResponses, OpenApi};

use super::ask::{MIN_SEQ, SEQ};
use crate::error::ProblemDocument;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "SMP Global: master data",
        version = "1",
        description = "Countries, currencies, rates, taxes and texts, the same in every region. Read only. \
                       For callers inside the region: the edge does not proxy these paths. Decimals are \
                       JSON strings. Days are days of the calendar of the document that is worked on; \
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
