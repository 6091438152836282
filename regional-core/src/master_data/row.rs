//! `GET` of one row of the tables whose other endpoints answer by the day or by the namespace: for those who
//! write, who need its version.

use rust_decimal::Decimal;
use serde::Serialize;
use time::Date;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ask::{Answered, Ask, PathOf, path_of};
use super::openapi::Others;
use super::parse::{self, Locale};
use super::snapshot::{optional_text, text};
use crate::app::SharedApp;
use crate::error::{MasterDataError, Missing};

/// The routes, and their description.
pub(super) fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(show_rate_row))
        .routes(routes!(show_tax_row))
        .routes(routes!(show_translation_row))
}

fn no_row(table: &'static str) -> MasterDataError {
    MasterDataError::NotThere(Missing::Row { table })
}

/// A rate, as it was written.
#[derive(Serialize, ToSchema)]
struct RateEntry<'s> {
    /// The currency that is converted from.
    #[schema(example = "USD")]
    base: &'s str,
    /// The currency that is converted to.
    #[schema(example = "VND")]
    quote: &'s str,
    /// Its first day.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, format = Date, example = "2026-01-01")]
    valid_from: Date,
    /// So many of quote for one of base, exactly. Null: none from this day on.
    #[serde(serialize_with = "optional_text")]
    #[schema(value_type = Option<String>, example = "26270")]
    rate: Option<Decimal>,
    /// Who said so.
    #[schema(example = "seed")]
    source: &'s str,
    /// Rises with each change of the row.
    row_version: i64,
}

/// The rate of a pair that begins on a day
///
/// Its `ETag` is the version that `If-Match` takes.
#[utoipa::path(
    get,
    path = "/rates/{base}/{quote}/{valid_from}",
    params(
        ("base" = String, Path, description = "From this currency", pattern = "^[A-Z]{3}$", example = "USD"),
        ("quote" = String, Path, description = "To this one", pattern = "^[A-Z]{3}$", example = "VND"),
        ("valid_from" = String, Path, description = "Its first day", format = Date, example = "2026-01-01"),
    ),
    responses((status = 200, description = "The row", body = RateEntry<'static>), Others)
)]
async fn show_rate_row(path: PathOf<(String, String, String)>, ask: Ask) -> Answered {
    let (base, quote, valid_from) = path_of(path)?;
    let base = parse::currency("base", &base)?;
    let quote = parse::currency("quote", &quote)?;
    let valid_from = parse::valid_from(&valid_from)?;
    ask.parameters(&[])?;
    let snapshot = ask.snapshot().await?;
    let found = snapshot.rates.rows.row(base, quote, valid_from);
    let found = found.ok_or_else(|| no_row("currency_rates"))?;
    let row = RateEntry {
        base,
        quote,
        valid_from,
        rate: found.rate,
        source: &found.source,
        row_version: found.row_version,
    };
    ask.answer_row(&snapshot, row.row_version, &row)
}

/// A rate of tax, as it was written.
#[derive(Serialize, ToSchema)]
struct TaxEntry<'s> {
    /// The country.
    #[schema(example = "VN")]
    country: &'s str,
    /// Which tax.
    #[schema(example = "vat")]
    kind: &'s str,
    /// Which of its rates.
    #[schema(example = "standard")]
    category: &'s str,
    /// Its first day.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, format = Date, example = "2025-07-01")]
    valid_from: Date,
    /// Part of the taxed amount. Null: not in force from this day on.
    #[serde(serialize_with = "optional_text")]
    #[schema(value_type = Option<String>, example = "0.10")]
    rate: Option<Decimal>,
    /// The law, and what else to know, in English.
    note: Option<&'s str>,
    /// Rises with each change of the row.
    row_version: i64,
}

/// The rate of tax that begins on a day
///
/// Its `ETag` is the version that `If-Match` takes.
#[utoipa::path(
    get,
    path = "/taxes/{country}/{kind}/{category}/{valid_from}",
    params(
        ("country" = String, Path, description = "ISO 3166-1 alpha-2", pattern = "^[A-Z]{2}$", example = "VN"),
        ("kind" = String, Path, description = "Which tax", max_length = 32, example = "vat"),
        ("category" = String, Path, description = "Which of its rates", max_length = 64, example = "standard"),
        ("valid_from" = String, Path, description = "Its first day", format = Date, example = "2025-07-01"),
    ),
    responses((status = 200, description = "The row", body = TaxEntry<'static>), Others)
)]
async fn show_tax_row(path: PathOf<(String, String, String, String)>, ask: Ask) -> Answered {
    let (country, kind, category, valid_from) = path_of(path)?;
    let country = parse::country("country", &country)?;
    let kind = parse::kind(&kind)?;
    let category = parse::category(&category)?;
    let valid_from = parse::valid_from(&valid_from)?;
    ask.parameters(&[])?;
    let snapshot = ask.snapshot().await?;
    let taxes = &snapshot.taxes.rows;
    let found = taxes.row(country, kind, category, valid_from);
    let found = found.ok_or_else(|| no_row("tax_configs"))?;
    let row = TaxEntry {
        country,
        kind,
        category,
        valid_from,
        rate: found.rate,
        note: found.note.as_deref(),
        row_version: found.row_version,
    };
    ask.answer_row(&snapshot, row.row_version, &row)
}

/// A text, as it was written.
#[derive(Serialize, ToSchema)]
struct TranslationEntry<'s> {
    /// Its locale: no other one is looked at.
    #[schema(example = "vi")]
    locale: &'s str,
    /// The part of the interface.
    #[schema(example = "common")]
    namespace: &'s str,
    /// Which text.
    #[schema(example = "save")]
    key: &'s str,
    /// As shown. {name} stands for a value.
    #[schema(example = "Lưu")]
    text: &'s str,
    /// Rises with each change of the row.
    row_version: i64,
}

/// One text
///
/// Of this very locale, without its fallbacks. Its `ETag` is the version that `If-Match` takes.
#[utoipa::path(
    get,
    path = "/translations/{locale}/{namespace}/{key}",
    params(
        ("locale" = String, Path, description = "BCP 47, in any case", max_length = 35, example = "vi"),
        ("namespace" = String, Path, description = "The part of the interface", max_length = 64, example = "common"),
        ("key" = String, Path, description = "Which text", max_length = 128, example = "save"),
    ),
    responses((status = 200, description = "The row", body = TranslationEntry<'static>), Others)
)]
async fn show_translation_row(path: PathOf<(String, String, String)>, ask: Ask) -> Answered {
    let (locale, namespace, key) = path_of(path)?;
    let locale = Locale::parse(&locale)?;
    let locale = locale.as_str();
    let namespace = parse::namespace(&namespace)?;
    let key = parse::key(&key)?;
    ask.parameters(&[])?;
    let snapshot = ask.snapshot().await?;
    let found = snapshot.texts.rows.row(locale, namespace, key);
    let (text, row_version) = found.ok_or_else(|| no_row("i18n_translations"))?;
    let row = TranslationEntry {
        locale,
        namespace,
        key,
        text,
        row_version,
    };
    ask.answer_row(&snapshot, row_version, &row)
}
