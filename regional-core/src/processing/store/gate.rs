//! The switches, the sources that are taken, and the connections that are disabled.

use std::collections::{HashMap, HashSet};

use protocol::Country;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::country;
use crate::processing::switches::{Gate, Switches};

/// The switches that somebody has set.
pub(in crate::processing) async fn switches(
    connection: &mut PgConnection,
) -> Result<HashMap<Country, Switches>, sqlx::Error> {
    let rows: Vec<(String, bool, bool)> = sqlx::query_as(
        "select country_code, \
         coalesce((s -> 'kill_switch')::text, 'true') <> 'false', \
         coalesce((s -> 'processing_paused')::text, 'false') <> 'false' \
         from (select country_code, app_settings -> 'pancake_integration' as s from app_setting) as settings",
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(country, kill_switch, processing_paused)| {
            let switches = Switches {
                kill_switch,
                processing_paused,
            };
            Some((Country::parse(&country).ok()?, switches))
        })
        .collect())
}

/// Which of these sources, (country, connection, source), are taken, and which of their connections are disabled.
/// Those that are seen for the first time are registered: connections active, sources switched off.
pub(in crate::processing) async fn gate(
    connection: &mut PgConnection,
    countries: HashMap<Country, Switches>,
    sources: &HashSet<(Country, String, String)>,
) -> Result<Gate, sqlx::Error> {
    // In one order in every process, so that two that register the same ones do not deadlock.
    let mut sources: Vec<_> = sources.iter().collect();
    sources.sort_unstable();
    let country_codes: Vec<&str> = sources
        .iter()
        .map(|(country, ..)| country.as_str())
        .collect();
    let connections: Vec<&str> = sources
        .iter()
        .map(|(_, connection, _)| &**connection)
        .collect();
    let source_ids: Vec<&str> = sources.iter().map(|(.., source)| &**source).collect();
    let known: Vec<(String, String, String, bool, Option<OffsetDateTime>)> = sqlx::query_as(
        "select country_code, connection_id, source_id, is_active, \
                case when status = 'disabled' then status_changed_at end \
         from pancake_source join pancake_connection using (country_code, connection_id) \
         join unnest($1::text[], $2::text[], $3::text[]) as s (country_code, connection_id, source_id) \
         using (country_code, connection_id, source_id)",
    )
    .bind(&country_codes)
    .bind(&connections)
    .bind(&source_ids)
    .fetch_all(&mut *connection)
    .await?;
    if known.len() < sources.len() {
        sqlx::query(
            "insert into pancake_connection (connection_id, country_code) \
             select distinct connection_id, country_code \
             from unnest($1::text[], $2::text[]) as s (country_code, connection_id) \
             order by connection_id, country_code on conflict do nothing",
        )
        .bind(&country_codes)
        .bind(&connections)
        .execute(&mut *connection)
        .await?;
        sqlx::query(
            "insert into pancake_source (country_code, connection_id, source_id) \
             select country_code, connection_id, source_id \
             from unnest($1::text[], $2::text[], $3::text[]) as s (country_code, connection_id, source_id) \
             order by connection_id, source_id, country_code on conflict do nothing",
        )
        .bind(&country_codes)
        .bind(&connections)
        .bind(&source_ids)
        .execute(&mut *connection)
        .await?;
    }
    let mut gate = Gate {
        countries,
        ..Gate::default()
    };
    for (code, connection, source, is_active, disabled_since) in known {
        let country = country(&code)?;
        if let Some(since) = disabled_since {
            let connection = connection.clone();
            gate.disabled_since.insert((country, connection), since);
        }
        if is_active {
            gate.active_sources.insert((country, connection, source));
        }
    }
    Ok(gate)
}
