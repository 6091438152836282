//! Who works in a country of the local platform: without telesales and switched off, as a new country begins,
//! no lead would become a ticket.

use anyhow::{Context as _, Result};
use uuid::Uuid;

use crate::pancake::DemoConnection;
use crate::region::Region;

/// The countries that are open on the local platform, and their telesales. The others begin as any does.
pub const OPEN: [(&str, [&str; 3]); 2] = [
    ("VN", ["Trần Thu Hà", "Lê Minh Đức", "Phạm Ngọc Lan"]),
    ("CN", ["李娜", "张伟", "陈静"]),
];

/// Hires `telesales` for a connection's country (`telesale-1` and so on are their subjects), takes the leads of
/// its sources, and lifts the kill switch.
pub async fn open(region: &Region, connection: &DemoConnection, telesales: &[&str]) -> Result<()> {
    let database = region.database().await?;
    let country = connection.country;
    for (number, name) in (1..).zip(telesales) {
        sqlx::query(
            "insert into staff (staff_id, country_code, subject, display_name, role) \
             values ($1, $2, $3, $4, 'telesale') on conflict do nothing",
        )
        .bind(Uuid::now_v7())
        .bind(country)
        .bind(format!("telesale-{number}"))
        .bind(name)
        .execute(&database)
        .await?;
    }
    sqlx::query(
        "insert into pancake_connection (connection_id, country_code) values ($1, $2) on conflict do nothing",
    )
    .bind(connection.id())
    .bind(country)
    .execute(&database)
    .await?;
    sqlx::query(
        "insert into pancake_source (country_code, connection_id, source_id, is_active) \
         select $2, $1, source, true from unnest(array['(none)', '-11']) as s (source) on conflict do nothing",
    )
    .bind(connection.id())
    .bind(country)
    .execute(&database)
    .await?;
    sqlx::query(
        "insert into app_setting (country_code, app_settings) \
         values ($1, '{\"pancake_integration\": {\"kill_switch\": false, \"processing_paused\": false}}') \
         on conflict do nothing",
    )
    .bind(country)
    .execute(&database)
    .await
    .with_context(|| format!("cannot open {country} in {}", region.id))?;
    database.close().await;
    Ok(())
}
