//! `GET /v1/master-data/…`: for callers inside the region.
//!
//! The edge does not proxy these paths (it proxies `/api/` only), and whoever reaches this port may read
//! them, as `/healthz`: what is here is the same for everybody and holds nothing of a person.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::Router;
use bytes::Bytes;
use rust_decimal::Decimal;
use serde::Serialize;
use time::Date;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ask::{Answered, Ask, PathOf, etag_of, path_of};
use super::money::convert;
use super::openapi::{Description, Others, describe_headers, describe_security};
use super::parse::{self, Locale, Parameters, invalid};
use super::snapshot::{self, Country, Currency, Snapshot, text};
use super::{editing, row};
use crate::app::SharedApp;
use crate::error::{MasterDataError, Missing};

/// Where all of it is.
const PREFIX: &str = "/v1/master-data";

/// The routes, and their description.
fn described() -> OpenApiRouter<SharedApp> {
    let routes = OpenApiRouter::new()
        .routes(routes!(list_countries))
        .routes(routes!(show_country))
        .routes(routes!(list_currencies))
        .routes(routes!(show_currency))
        .routes(routes!(show_rate))
        .routes(routes!(show_conversion))
        .routes(routes!(list_taxes))
        .routes(routes!(show_tax))
        .routes(routes!(show_translations))
        .routes(routes!(show_description))
        .merge(row::routes())
        .merge(editing::routes());
    OpenApiRouter::with_openapi(Description::openapi()).nest(PREFIX, routes)
}

/// The routes.
pub fn router() -> Router<SharedApp> {
    described().split_for_parts().0
}

/// The `OpenAPI` document of the routes, which is made from the same list as they.
#[must_use]
pub fn description() -> utoipa::openapi::OpenApi {
    let mut description = described().split_for_parts().1;
    describe_headers(&mut description);
    describe_security(&mut description);
    description
}

/// All countries, by code.
#[derive(Serialize, ToSchema)]
struct CountryList<'s> {
    countries: Vec<&'s Country>,
}

/// All countries
#[utoipa::path(
    get,
    path = "/countries",
    responses((status = 200, description = "All countries, by code", body = CountryList<'static>), Others)
)]
async fn list_countries(ask: Ask) -> Answered {
    ask.parameters(&[])?;
    let snapshot = ask.snapshot().await?;
    let countries = snapshot.countries.rows.values().collect();
    ask.answer(&snapshot, &CountryList { countries })
}

/// One country
#[utoipa::path(
    get,
    path = "/countries/{code}",
    params(("code" = String, Path, description = "ISO 3166-1 alpha-2", pattern = "^[A-Z]{2}$", example = "VN")),
    responses((status = 200, description = "The country", body = Country), Others)
)]
async fn show_country(code: PathOf<String>, ask: Ask) -> Answered {
    let code = path_of(code)?;
    let code = parse::country("code", &code)?;
    ask.parameters(&[])?;
    let snapshot = ask.snapshot().await?;
    let country = known_country(&snapshot, "code", code)?;
    ask.answer_row(&snapshot, country.row_version, country)
}

fn known_country<'s>(
    snapshot: &'s Snapshot,
    field: &'static str,
    code: &str,
) -> Result<&'s Country, MasterDataError> {
    snapshot.countries.rows.get(code).ok_or_else(|| {
        let code = code.to_owned();
        MasterDataError::NotThere(Missing::Country { field, code })
    })
}

/// All currencies, by code.
#[derive(Serialize, ToSchema)]
struct CurrencyList<'s> {
    currencies: Vec<&'s Currency>,
}

/// All currencies
#[utoipa::path(
    get,
    path = "/currencies",
    responses((status = 200, description = "All currencies, by code", body = CurrencyList<'static>), Others)
)]
async fn list_currencies(ask: Ask) -> Answered {
    ask.parameters(&[])?;
    let snapshot = ask.snapshot().await?;
    let currencies = snapshot.currencies.rows.values().collect();
    ask.answer(&snapshot, &CurrencyList { currencies })
}

/// One currency
#[utoipa::path(
    get,
    path = "/currencies/{code}",
    params(("code" = String, Path, description = "ISO 4217", pattern = "^[A-Z]{3}$", example = "VND")),
    responses((status = 200, description = "The currency", body = Currency), Others)
)]
async fn show_currency(code: PathOf<String>, ask: Ask) -> Answered {
    let code = path_of(code)?;
    let code = parse::currency("code", &code)?;
    ask.parameters(&[])?;
    let snapshot = ask.snapshot().await?;
    let currency = known_currency(&snapshot, "code", code)?;
    ask.answer_row(&snapshot, currency.row_version, currency)
}

fn known_currency<'s>(
    snapshot: &'s Snapshot,
    field: &'static str,
    code: &str,
) -> Result<&'s Currency, MasterDataError> {
    snapshot.currencies.rows.get(code).ok_or_else(|| {
        let code = code.to_owned();
        MasterDataError::NotThere(Missing::Currency { field, code })
    })
}

/// What a currency is worth in another on a day.
#[derive(Serialize, ToSchema)]
struct RateAnswer<'s> {
    /// The currency that is converted from.
    #[schema(example = "USD")]
    base: &'s str,
    /// The currency that is converted to.
    #[schema(example = "VND")]
    quote: &'s str,
    /// The day that was asked for.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, format = Date, example = "2026-06-01")]
    on: Date,
    /// So many of quote for one of base, exactly.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, example = "26270")]
    rate: Decimal,
    /// Its first day.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, format = Date, example = "2026-01-01")]
    valid_from: Date,
    /// Who said so.
    #[schema(example = "seed")]
    source: &'s str,
    /// Rises with each change of the row.
    row_version: i64,
}

/// The rate of a pair on a day
///
/// Both directions of a pair are rates of their own; none is computed from the other, or from two others.
#[utoipa::path(
    get,
    path = "/rates",
    params(
        ("base" = String, Query, description = "From this currency", pattern = "^[A-Z]{3}$", example = "USD"),
        ("quote" = String, Query, description = "To this one", pattern = "^[A-Z]{3}$", example = "VND"),
        ("on" = Option<String>, Query, description = "The day; today in UTC if it is left out", format = Date, example = "2026-06-01"),
    ),
    responses((status = 200, description = "The rate", body = RateAnswer<'static>), Others)
)]
async fn show_rate(ask: Ask) -> Answered {
    let parameters = ask.parameters(&["base", "quote", "on"])?;
    let (base, quote) = pair(&parameters, "base", "quote")?;
    let on = parameters.on(ask.today())?;
    let snapshot = ask.snapshot().await?;
    let (rate, period) = known_rate(&snapshot, base, quote, on)?;
    let answer = RateAnswer {
        base,
        quote,
        on,
        rate,
        valid_from: period.valid_from,
        source: &period.source,
        row_version: period.row_version,
    };
    ask.answer(&snapshot, &answer)
}

fn pair<'p>(
    parameters: &'p Parameters,
    from: &'static str,
    to: &'static str,
) -> Result<(&'p str, &'p str), MasterDataError> {
    let pair = (parameters.currency(from)?, parameters.currency(to)?);
    if pair.0 == pair.1 {
        return Err(invalid(to, "another currency is expected"));
    }
    Ok(pair)
}

fn known_rate<'s>(
    snapshot: &'s Snapshot,
    base: &str,
    quote: &str,
    on: Date,
) -> Result<(Decimal, &'s snapshot::Rate), MasterDataError> {
    snapshot.rates.rows.on(base, quote, on).ok_or_else(|| {
        MasterDataError::NotThere(Missing::Rate {
            base: base.to_owned(),
            quote: quote.to_owned(),
            on,
        })
    })
}

/// What an amount is worth in another currency on a day.
#[derive(Serialize, ToSchema)]
struct ConversionAnswer<'s> {
    /// The amount that was asked for.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, example = "12.34")]
    amount: Decimal,
    /// Its currency.
    #[schema(example = "USD")]
    from: &'s str,
    /// The other one.
    #[schema(example = "VND")]
    to: &'s str,
    /// The day that was asked for.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, format = Date, example = "2026-06-01")]
    on: Date,
    /// So many for one, exactly.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, example = "26270")]
    rate: Decimal,
    /// The rate's first day.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, format = Date, example = "2026-01-01")]
    valid_from: Date,
    /// Who said so.
    #[schema(example = "seed")]
    source: &'s str,
    /// The product, to its last digit.
    #[schema(example = "324171.80")]
    unrounded: String,
    /// The product in whole minor units of the other currency, half to even.
    #[schema(example = "324172")]
    rounded: String,
}

/// Converts an amount
///
/// By the rate of this very pair on that day: never by the inverse of the other direction, never over a
/// third currency. The result is exact, and rounded half to even to the minor units of the currency that
/// is converted to.
#[utoipa::path(
    get,
    path = "/convert",
    params(
        ("amount" = String, Query, description = "At most 18 digits before the point and 4 after it", pattern = r"^-?[0-9]{1,18}(\.[0-9]{1,4})?$", example = "12.34"),
        ("from" = String, Query, description = "From this currency", pattern = "^[A-Z]{3}$", example = "USD"),
        ("to" = String, Query, description = "To this one", pattern = "^[A-Z]{3}$", example = "VND"),
        ("on" = Option<String>, Query, description = "The day; today in UTC if it is left out", format = Date, example = "2026-06-01"),
    ),
    responses((status = 200, description = "The amount in the other currency", body = ConversionAnswer<'static>), Others)
)]
async fn show_conversion(ask: Ask) -> Answered {
    let parameters = ask.parameters(&["amount", "from", "to", "on"])?;
    let amount = parameters.amount()?;
    let (from, to) = pair(&parameters, "from", "to")?;
    let on = parameters.on(ask.today())?;
    let snapshot = ask.snapshot().await?;
    let (rate, period) = known_rate(&snapshot, from, to, on)?;
    // In a region a rate may be there before its currency is.
    let minor_units = known_currency(&snapshot, "to", to)?.minor_units;
    let conversion = convert(amount, rate, minor_units);
    let answer = ConversionAnswer {
        amount,
        from,
        to,
        on,
        rate,
        valid_from: period.valid_from,
        source: &period.source,
        unrounded: conversion.unrounded,
        rounded: conversion.rounded,
    };
    ask.answer(&snapshot, &answer)
}

/// A rate of tax.
#[derive(Serialize, ToSchema)]
struct Tax<'s> {
    /// Which tax: vat, cit (on companies' income), ...
    #[schema(example = "vat")]
    kind: &'s str,
    /// Which of its rates.
    #[schema(example = "standard")]
    category: &'s str,
    /// Part of the taxed amount: 0.08 is 8 %.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, example = "0.10")]
    rate: Decimal,
    /// Its first day.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, format = Date, example = "2025-07-01")]
    valid_from: Date,
    /// The law, and what else to know, in English.
    note: Option<&'s str>,
    /// Rises with each change of the row.
    row_version: i64,
}

impl<'s> Tax<'s> {
    fn new(kind: &'s str, category: &'s str, rate: Decimal, period: &'s snapshot::Tax) -> Self {
        Self {
            kind,
            category,
            rate,
            valid_from: period.valid_from,
            note: period.note.as_deref(),
            row_version: period.row_version,
        }
    }
}

/// The rates of tax that are in force in a country on a day.
#[derive(Serialize, ToSchema)]
struct TaxList<'s> {
    /// The country.
    #[schema(example = "VN")]
    country: &'s str,
    /// The day that was asked for.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, format = Date, example = "2026-06-01")]
    on: Date,
    /// By kind, then category. What is not in force on that day is not among them.
    taxes: Vec<Tax<'s>>,
}

/// All rates of tax of a country on a day
///
/// A category that is not in force on that day is left out; what would fall under it falls under
/// `standard`.
#[utoipa::path(
    get,
    path = "/taxes",
    params(
        ("country" = String, Query, description = "ISO 3166-1 alpha-2", pattern = "^[A-Z]{2}$", example = "VN"),
        ("on" = Option<String>, Query, description = "The day; today in UTC if it is left out", format = Date, example = "2026-06-01"),
    ),
    responses((status = 200, description = "The rates in force", body = TaxList<'static>), Others)
)]
async fn list_taxes(ask: Ask) -> Answered {
    let parameters = ask.parameters(&["country", "on"])?;
    let country = parameters.country()?;
    let on = parameters.on(ask.today())?;
    let snapshot = ask.snapshot().await?;
    known_country(&snapshot, "country", country)?;
    let in_force = snapshot.taxes.rows.all_on(country, on);
    let answer = TaxList {
        country,
        on,
        taxes: in_force
            .map(|(kind, category, rate, period)| Tax::new(kind, category, rate, period))
            .collect(),
    };
    ask.answer(&snapshot, &answer)
}

/// One rate of tax on a day.
#[derive(Serialize, ToSchema)]
struct TaxAnswer<'s> {
    /// The country.
    #[schema(example = "VN")]
    country: &'s str,
    /// The day that was asked for.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, format = Date, example = "2026-06-01")]
    on: Date,
    #[serde(flatten)]
    tax: Tax<'s>,
}

/// One rate of tax on a day
///
/// 404 where the category is not in force on that day.
#[utoipa::path(
    get,
    path = "/taxes/{kind}",
    params(
        ("kind" = String, Path, description = "Which tax", max_length = 32, pattern = "^[a-z][a-z0-9]*(_[a-z0-9]+)*$", example = "vat"),
        ("country" = String, Query, description = "ISO 3166-1 alpha-2", pattern = "^[A-Z]{2}$", example = "VN"),
        ("category" = String, Query, description = "Which of its rates", max_length = 64, pattern = "^[a-z][a-z0-9]*(_[a-z0-9]+)*$", example = "standard"),
        ("on" = Option<String>, Query, description = "The day; today in UTC if it is left out", format = Date, example = "2026-06-01"),
    ),
    responses((status = 200, description = "The rate", body = TaxAnswer<'static>), Others)
)]
async fn show_tax(kind: PathOf<String>, ask: Ask) -> Answered {
    let kind = path_of(kind)?;
    let kind = parse::kind(&kind)?;
    let parameters = ask.parameters(&["country", "category", "on"])?;
    let country = parameters.country()?;
    let category = parameters.category()?;
    let on = parameters.on(ask.today())?;
    let snapshot = ask.snapshot().await?;
    let found = snapshot.taxes.rows.on(country, kind, category, on);
    let (rate, period) = found.ok_or_else(|| {
        MasterDataError::NotThere(Missing::Tax {
            country: country.to_owned(),
            kind: kind.to_owned(),
            category: category.to_owned(),
            on,
        })
    })?;
    let tax = Tax::new(kind, category, rate, period);
    ask.answer(&snapshot, &TaxAnswer { country, on, tax })
}

/// The texts of a namespace for a locale.
#[derive(Serialize, ToSchema)]
struct TranslationAnswer<'s> {
    /// The locale that was asked for, in its usual spelling.
    #[schema(example = "vi-VN")]
    locale: &'s str,
    /// The part of the interface.
    #[schema(example = "common")]
    namespace: &'s str,
    /// Each key's text. {name} stands for a value.
    #[schema(example = json!({"save": "Lưu"}))]
    texts: BTreeMap<&'s str, &'s str>,
    /// With `sources=true`: the locale that each key's text is of.
    #[schema(example = json!({"save": "vi"}))]
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<BTreeMap<&'s str, &'s str>>,
}

/// The texts of a namespace
///
/// Each key for itself in the locale, else in ever shorter ones (RFC 4647 section 3.4), else in English:
/// vi-VN, vi, en.
#[utoipa::path(
    get,
    path = "/translations/{locale}/{namespace}",
    params(
        ("locale" = String, Path, description = "BCP 47, in any case", max_length = 35, example = "vi-VN"),
        ("namespace" = String, Path, description = "The part of the interface", max_length = 64, pattern = "^[a-z][a-z0-9]*(_[a-z0-9]+)*$", example = "common"),
        ("sources" = Option<bool>, Query, description = "Whether to say the locale of each text"),
    ),
    responses((status = 200, description = "The texts, by key", body = TranslationAnswer<'static>), Others)
)]
async fn show_translations(path: PathOf<(String, String)>, ask: Ask) -> Answered {
    let (locale, namespace) = path_of(path)?;
    let locale = Locale::parse(&locale)?;
    let namespace = parse::namespace(&namespace)?;
    let with_sources = ask.parameters(&["sources"])?.sources()?;
    let snapshot = ask.snapshot().await?;
    let chain = locale.chain();
    let resolved = snapshot.texts.rows.resolve(&chain, namespace);
    if resolved.is_empty() {
        return Err(MasterDataError::NotThere(Missing::Namespace {
            namespace: namespace.to_owned(),
            locale: locale.as_str().to_owned(),
        }));
    }
    let sources = || resolved.iter().map(|(key, (_, from))| (*key, *from));
    let answer = TranslationAnswer {
        locale: locale.as_str(),
        namespace,
        sources: with_sources.then(|| sources().collect()),
        texts: resolved
            .iter()
            .map(|(key, (text, _))| (*key, *text))
            .collect(),
    };
    ask.answer(&snapshot, &answer)
}

/// This document
///
/// It is there without master data too, and waits for none.
#[utoipa::path(
    get,
    path = "/openapi.json",
    responses(
        (status = 200, description = "This document", body = Object),
        (status = 304, description = "It is what `If-None-Match` names.")
    )
)]
async fn show_description(ask: Ask) -> Answered {
    static DOCUMENT: LazyLock<Option<(String, Bytes)>> = LazyLock::new(|| {
        let document = Bytes::from(serde_json::to_vec(&description()).ok()?);
        Some((etag_of(&document), document))
    });
    let (etag, document) = DOCUMENT.as_ref().ok_or(MasterDataError::Internal)?;
    ask.cached(etag, document.clone())
}
