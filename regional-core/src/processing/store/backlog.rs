//! What is not done with, for whoever watches.

/// What is not done with, of a country and a status.
#[derive(sqlx::FromRow)]
pub(in crate::processing) struct Backlog {
    pub(in crate::processing) country_code: String,
    pub(in crate::processing) status: String,
    pub(in crate::processing) events: i64,
    /// How long the oldest has been here, in seconds.
    pub(in crate::processing) oldest: f64,
}

/// The statuses that [`backlog`] tells of.
pub(in crate::processing) const UNFINISHED: [&str; 3] = ["received", "failed", "dead_letter"];

/// What is not done with, by country and status; of each at most 10,000 are counted. By an index that has no
/// others.
pub(in crate::processing) async fn backlog(
    connection: &mut sqlx::PgConnection,
    countries: &[&str],
) -> Result<Vec<Backlog>, sqlx::Error> {
    sqlx::query_as(
        "select c.code as country_code, s.status, count(*) as events, \
                extract(epoch from clock_timestamp() - min(u.received_at))::float8 as oldest \
         from unnest($1::text[]) as c (code), unnest($2::text[]) as s (status), lateral ( \
             select received_at from pancake_webhook_event as e \
             where e.country_code = c.code and e.status = s.status and e.status <> 'processed' \
             order by received_at limit 10000) as u \
         group by c.code, s.status",
    )
    .bind(countries)
    .bind(&UNFINISHED[..])
    .fetch_all(connection)
    .await
}
