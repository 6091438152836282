//! `PUT` and `DELETE /v1/master-data/…`, for whoever holds the role `master_data_editor`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::LengthLimitError;
use serde::Serialize;
use sqlx::PgPool;
use tokio::time::timeout;
use tracing::{info, warn};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::condition::Condition;
use super::fields::Fields;
use super::rows::{CountryRow, CurrencyRow, RateRow, Row, TaxRow, TranslationRow};
use super::store;
use crate::app::SharedApp;
use crate::auth::Principal;
use crate::error::MasterDataError;
use crate::master_data::ask::{Answered, JSON, PathOf, SEQ, path_of, row_etag};
use crate::master_data::openapi::Refusals;
use crate::master_data::parse::{self, Locale, Parameters, invalid};
use crate::master_data::snapshot::Part;

/// Who may write.
const ROLE: &str = "master_data_editor";
/// What a token that is limited by a scope must be good for.
const SCOPE: &str = "master_data:write";
/// How long a write may take. The server gives up by itself before that (`lock_timeout`,
/// `statement_timeout`), if it is there.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// Several times the largest row, a translation of 8 KiB in which each letter is escaped.
const BODY_MAX_BYTES: usize = 64 * 1024;

/// The routes, and their description.
pub(in crate::master_data) fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(put_country, delete_country))
        .routes(routes!(put_currency, delete_currency))
        .routes(routes!(put_rate, delete_rate))
        .routes(routes!(put_tax, delete_tax))
        .routes(routes!(put_translation, delete_translation))
}

/// Somebody who may write here. Nothing of a request is looked at before it is known that this is the
/// hub, and who asks.
struct Editor {
    app: SharedApp,
    principal: Principal,
    pool: PgPool,
}

impl FromRequestParts<SharedApp> for Editor {
    type Rejection = MasterDataError;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &SharedApp,
    ) -> Result<Self, Self::Rejection> {
        if app.master_data.at_least(None).await?.part == Part::Region {
            let region = app.guard.region().clone();
            return Err(MasterDataError::NotTheHub { region });
        }
        let principal = Principal::from_request_parts(parts, app).await?;
        principal.require(ROLE, SCOPE)?;
        let pool = app.editors.clone().ok_or(MasterDataError::NoEditor)?;
        Ok(Self {
            app: SharedApp::clone(app),
            principal,
            pool,
        })
    }
}

/// The columns of a primary key, by name.
type Key = BTreeMap<&'static str, String>;

fn key<const N: usize>(columns: [(&'static str, &str); N]) -> Key {
    columns
        .map(|(name, value)| (name, value.to_owned()))
        .into_iter()
        .collect()
}

/// A row as JSON: its key, and what the body says.
#[derive(Serialize)]
struct WholeRow<'r, R> {
    #[serde(flatten)]
    key: &'r Key,
    #[serde(flatten)]
    rest: R,
}

impl Editor {
    /// Makes the row, or changes it.
    async fn put<R: Row>(self, key: Key, request: Request) -> Answered {
        let (parts, body) = request.into_parts();
        Parameters::parse(parts.uri.query(), &[])?;
        let condition = Condition::of(&parts.headers)?;
        let mut fields = Fields::parse(&self.read(body).await?)?;
        let rest = R::read(&mut fields);
        let rest = fields.finish(rest)?;
        let key = &key;
        let row = json(&WholeRow { key, rest })?;
        let (status, action) = match condition {
            Condition::New => (StatusCode::CREATED, "created"),
            Condition::Version(_) => (StatusCode::OK, "changed"),
        };
        let (pool, who) = (self.pool.clone(), self.subject());
        let write = async move { store::put(&pool, &R::TABLE, &row, condition, &who).await };
        let row_version = self.finish(R::TABLE.name, action, write).await?;
        let body = json(&Written {
            row_version,
            seq: row_version,
        })?;
        let etag = HeaderValue::from_str(&row_etag(row_version));
        let etag = etag.map_err(|_| MasterDataError::Internal)?;
        let mut response = answer(status, row_version, body);
        response.headers_mut().insert(header::ETAG, etag);
        Ok(response)
    }

    /// Deletes the row.
    async fn delete<R: Row>(self, key: Key, request: &Parts) -> Answered {
        Parameters::parse(request.uri.query(), &[])?;
        let Condition::Version(version) = Condition::of(&request.headers)? else {
            return Err(invalid(
                "if-none-match",
                "not with DELETE: if-match is expected",
            ));
        };
        let (pool, who, key) = (self.pool.clone(), self.subject(), json(&key)?);
        let write = async move { store::delete(&pool, &R::TABLE, &key, version, &who).await };
        let seq = self.finish(R::TABLE.name, "deleted", write).await?;
        Ok(answer(StatusCode::OK, seq, json(&Deleted { seq })?))
    }

    async fn read(&self, body: Body) -> Result<bytes::Bytes, MasterDataError> {
        let patience = self.app.config.http.body_timeout;
        let read = timeout(patience, to_bytes(body, BODY_MAX_BYTES)).await;
        let read = read.map_err(|_| MasterDataError::BodyBroken)?;
        read.map_err(|error| match std::error::Error::source(&error) {
            Some(cause) if cause.is::<LengthLimitError>() => MasterDataError::BodyTooLarge,
            _ => MasterDataError::BodyBroken,
        })
    }

    fn subject(&self) -> String {
        self.principal.subject().to_owned()
    }

    /// Writes, and logs who changed what, and nothing of what is in it. A task of its own: a client that
    /// hangs up cancels neither.
    async fn finish(
        &self,
        table: &'static str,
        action: &'static str,
        write: impl Future<Output = Result<i64, MasterDataError>> + Send + 'static,
    ) -> Result<i64, MasterDataError> {
        let who = self.subject();
        let task = tokio::spawn(async move {
            let written = timeout(WRITE_PATIENCE, write)
                .await
                .unwrap_or(Err(MasterDataError::Unavailable));
            match &written {
                Ok(seq) => info!(
                    auth.subject = who,
                    master_data.table = table,
                    master_data.action = action,
                    master_data.seq = seq,
                    "master data is written"
                ),
                Err(MasterDataError::Unavailable) => warn!(
                    auth.subject = who,
                    master_data.table = table,
                    master_data.action = action,
                    "whether master data is written is not known"
                ),
                Err(_) => {}
            }
            written
        });
        task.await.unwrap_or(Err(MasterDataError::Internal))
    }
}

fn json(value: &impl Serialize) -> Result<String, MasterDataError> {
    serde_json::to_string(value).map_err(|_| MasterDataError::Internal)
}

fn answer(status: StatusCode, seq: i64, body: String) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CACHE_CONTROL, no_store);
    headers.insert(SEQ, HeaderValue::from(seq));
    response
}

/// A row is written.
#[derive(Serialize, ToSchema)]
struct Written {
    /// Its version, as `If-Match` takes it.
    row_version: i64,
    /// The version token: sent as `x-smp-min-seq`, a read waits until it sees the row.
    seq: i64,
}

/// A row is deleted.
#[derive(Serialize, ToSchema)]
struct Deleted {
    /// The version token: sent as `x-smp-min-seq`, a read waits until it sees no row.
    seq: i64,
}

/// Makes or changes a country
#[utoipa::path(
    put,
    path = "/countries/{code}",
    params(("code" = String, Path, description = "ISO 3166-1 alpha-2", pattern = "^[A-Z]{2}$", example = "VN")),
    request_body = CountryRow,
    responses(
        (status = 200, description = "Changed", body = Written),
        (status = 201, description = "Made", body = Written),
        Refusals
    ),
    security(("bearer" = []))
)]
async fn put_country(editor: Editor, code: PathOf<String>, request: Request) -> Answered {
    let key = country_key(code)?;
    editor.put::<CountryRow>(key, request).await
}

/// Deletes a country
#[utoipa::path(
    delete,
    path = "/countries/{code}",
    params(("code" = String, Path, description = "ISO 3166-1 alpha-2", pattern = "^[A-Z]{2}$", example = "VN")),
    responses((status = 200, description = "Deleted", body = Deleted), Refusals),
    security(("bearer" = []))
)]
async fn delete_country(editor: Editor, code: PathOf<String>, request: Parts) -> Answered {
    let key = country_key(code)?;
    editor.delete::<CountryRow>(key, &request).await
}

fn country_key(code: PathOf<String>) -> Result<Key, MasterDataError> {
    let code = path_of(code)?;
    Ok(key([("code", parse::country("code", &code)?)]))
}

/// Makes or changes a currency
#[utoipa::path(
    put,
    path = "/currencies/{code}",
    params(("code" = String, Path, description = "ISO 4217", pattern = "^[A-Z]{3}$", example = "VND")),
    request_body = CurrencyRow,
    responses(
        (status = 200, description = "Changed", body = Written),
        (status = 201, description = "Made", body = Written),
        Refusals
    ),
    security(("bearer" = []))
)]
async fn put_currency(editor: Editor, code: PathOf<String>, request: Request) -> Answered {
    let key = currency_key(code)?;
    editor.put::<CurrencyRow>(key, request).await
}

/// Deletes a currency
#[utoipa::path(
    delete,
    path = "/currencies/{code}",
    params(("code" = String, Path, description = "ISO 4217", pattern = "^[A-Z]{3}$", example = "VND")),
    responses((status = 200, description = "Deleted", body = Deleted), Refusals),
    security(("bearer" = []))
)]
async fn delete_currency(editor: Editor, code: PathOf<String>, request: Parts) -> Answered {
    let key = currency_key(code)?;
    editor.delete::<CurrencyRow>(key, &request).await
}

fn currency_key(code: PathOf<String>) -> Result<Key, MasterDataError> {
    let code = path_of(code)?;
    Ok(key([("code", parse::currency("code", &code)?)]))
}

/// Makes or changes the rate of a pair from a day on
#[utoipa::path(
    put,
    path = "/rates/{base}/{quote}/{valid_from}",
    params(
        ("base" = String, Path, description = "From this currency", pattern = "^[A-Z]{3}$", example = "USD"),
        ("quote" = String, Path, description = "To this one", pattern = "^[A-Z]{3}$", example = "VND"),
        ("valid_from" = String, Path, description = "Its first day", format = Date, example = "2026-01-01"),
    ),
    request_body = RateRow,
    responses(
        (status = 200, description = "Changed", body = Written),
        (status = 201, description = "Made", body = Written),
        Refusals
    ),
    security(("bearer" = []))
)]
async fn put_rate(
    editor: Editor,
    path: PathOf<(String, String, String)>,
    request: Request,
) -> Answered {
    let key = rate_key(path)?;
    editor.put::<RateRow>(key, request).await
}

/// Deletes the rate of a pair that begins on a day
///
/// The one before it holds on, until the next begins. For none from that day on, write a rate of null.
#[utoipa::path(
    delete,
    path = "/rates/{base}/{quote}/{valid_from}",
    params(
        ("base" = String, Path, description = "From this currency", pattern = "^[A-Z]{3}$", example = "USD"),
        ("quote" = String, Path, description = "To this one", pattern = "^[A-Z]{3}$", example = "VND"),
        ("valid_from" = String, Path, description = "Its first day", format = Date, example = "2026-01-01"),
    ),
    responses((status = 200, description = "Deleted", body = Deleted), Refusals),
    security(("bearer" = []))
)]
async fn delete_rate(
    editor: Editor,
    path: PathOf<(String, String, String)>,
    request: Parts,
) -> Answered {
    let key = rate_key(path)?;
    editor.delete::<RateRow>(key, &request).await
}

fn rate_key(path: PathOf<(String, String, String)>) -> Result<Key, MasterDataError> {
    let (base, quote, valid_from) = path_of(path)?;
    Ok(key([
        ("base", parse::currency("base", &base)?),
        ("quote", parse::currency("quote", &quote)?),
        ("valid_from", &parse::valid_from(&valid_from)?.to_string()),
    ]))
}

/// Makes or changes a rate of tax from a day on
#[utoipa::path(
    put,
    path = "/taxes/{country}/{kind}/{category}/{valid_from}",
    params(
        ("country" = String, Path, description = "ISO 3166-1 alpha-2", pattern = "^[A-Z]{2}$", example = "VN"),
        ("kind" = String, Path, description = "Which tax", max_length = 32, example = "vat"),
        ("category" = String, Path, description = "Which of its rates", max_length = 64, example = "standard"),
        ("valid_from" = String, Path, description = "Its first day", format = Date, example = "2027-07-01"),
    ),
    request_body = TaxRow,
    responses(
        (status = 200, description = "Changed", body = Written),
        (status = 201, description = "Made", body = Written),
        Refusals
    ),
    security(("bearer" = []))
)]
async fn put_tax(
    editor: Editor,
    path: PathOf<(String, String, String, String)>,
    request: Request,
) -> Answered {
    let key = tax_key(path)?;
    editor.put::<TaxRow>(key, request).await
}

/// Deletes a rate of tax that begins on a day
///
/// The one before it holds on, until the next begins. For none from that day on, write a rate of null.
#[utoipa::path(
    delete,
    path = "/taxes/{country}/{kind}/{category}/{valid_from}",
    params(
        ("country" = String, Path, description = "ISO 3166-1 alpha-2", pattern = "^[A-Z]{2}$", example = "VN"),
        ("kind" = String, Path, description = "Which tax", max_length = 32, example = "vat"),
        ("category" = String, Path, description = "Which of its rates", max_length = 64, example = "standard"),
        ("valid_from" = String, Path, description = "Its first day", format = Date, example = "2027-07-01"),
    ),
    responses((status = 200, description = "Deleted", body = Deleted), Refusals),
    security(("bearer" = []))
)]
async fn delete_tax(
    editor: Editor,
    path: PathOf<(String, String, String, String)>,
    request: Parts,
) -> Answered {
    let key = tax_key(path)?;
    editor.delete::<TaxRow>(key, &request).await
}

fn tax_key(path: PathOf<(String, String, String, String)>) -> Result<Key, MasterDataError> {
    let (country, kind, category, valid_from) = path_of(path)?;
    Ok(key([
        ("country", parse::country("country", &country)?),
        ("kind", parse::kind(&kind)?),
        ("category", parse::category(&category)?),
        ("valid_from", &parse::valid_from(&valid_from)?.to_string()),
    ]))
}

/// Makes or changes a text
#[utoipa::path(
    put,
    path = "/translations/{locale}/{namespace}/{key}",
    params(
        ("locale" = String, Path, description = "BCP 47, in any case", max_length = 35, example = "vi"),
        ("namespace" = String, Path, description = "The part of the interface", max_length = 64, example = "common"),
        ("key" = String, Path, description = "Which text", max_length = 128, example = "save"),
    ),
    request_body = TranslationRow,
    responses(
        (status = 200, description = "Changed", body = Written),
        (status = 201, description = "Made", body = Written),
        Refusals
    ),
    security(("bearer" = []))
)]
async fn put_translation(
    editor: Editor,
    path: PathOf<(String, String, String)>,
    request: Request,
) -> Answered {
    let key = translation_key(path)?;
    editor.put::<TranslationRow>(key, request).await
}

/// Deletes a text
#[utoipa::path(
    delete,
    path = "/translations/{locale}/{namespace}/{key}",
    params(
        ("locale" = String, Path, description = "BCP 47, in any case", max_length = 35, example = "vi"),
        ("namespace" = String, Path, description = "The part of the interface", max_length = 64, example = "common"),
        ("key" = String, Path, description = "Which text", max_length = 128, example = "save"),
    ),
    responses((status = 200, description = "Deleted", body = Deleted), Refusals),
    security(("bearer" = []))
)]
async fn delete_translation(
    editor: Editor,
    path: PathOf<(String, String, String)>,
    request: Parts,
) -> Answered {
    let key = translation_key(path)?;
    editor.delete::<TranslationRow>(key, &request).await
}

fn translation_key(path: PathOf<(String, String, String)>) -> Result<Key, MasterDataError> {
    let (locale, namespace, text_key) = path_of(path)?;
    Ok(key([
        ("locale", Locale::parse(&locale)?.as_str()),
        ("namespace", parse::namespace(&namespace)?),
        ("key", parse::key(&text_key)?),
    ]))
}
