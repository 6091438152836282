//! SQL of processing. All of it runs in the one transaction of a batch, and by the database's clock.

use std::collections::{HashMap, HashSet};

use protocol::Country;
use sqlx::{PgConnection, Row as _};
use time::OffsetDateTime;
use uuid::Uuid;

use super::assign::{Assignment, Telesale};
use super::plan::{
    AccountWrite, Known, KnownTicket, Lead, NewContact, Outcome, Plan, RecordVersion, TicketWrite,
};
use super::switches::{Gate, Switches};
use crate::phone::NormalizedPhone;

/// How many sources of a connection have a share of their own in one claim.
const MAX_SHARES: i64 = 200;

/// A claimed event.
#[derive(Debug, Clone)]
pub(super) struct Claimed {
    pub(super) event_id: Uuid,
    pub(super) country: Country,
    pub(super) connection: String,
    pub(super) record_id: Option<Uuid>,
    pub(super) modified_on: Option<OffsetDateTime>,
    pub(super) received_at: OffsetDateTime,
    pub(super) name: Option<String>,
    pub(super) phone_number: Option<String>,
    pub(super) email: Option<String>,
    pub(super) named_sources: Vec<String>,
    pub(super) ticket_id: Option<Uuid>,
    pub(super) attempts: i16,
}

const EVENT_COLUMNS: &str = "e.event_id, e.country_code, e.connection_id, e.record_id, e.modified_on, \
     e.received_at, e.name, e.phone_number, e.email, e.ticket_id, e.attempts, \
     array(select left(source, 256) from unnest(e.source_ids[1:64]) as s (source)) as source_ids";

/// The transaction's moment, by the database's clock.
pub(super) async fn now(connection: &mut PgConnection) -> Result<OffsetDateTime, sqlx::Error> {
    sqlx::query_scalar("select clock_timestamp()")
        .fetch_one(connection)
        .await
}

/// The switches that somebody has set.
pub(super) async fn switches(
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

/// What is not done with, of a country and a status.
#[derive(sqlx::FromRow)]
pub(super) struct Backlog {
    pub(super) country_code: String,
    pub(super) status: String,
    pub(super) events: i64,
    /// How long the oldest has been here, in seconds.
    pub(super) oldest: f64,
}

/// The statuses that [`backlog`] tells of.
pub(super) const UNFINISHED: [&str; 3] = ["received", "failed", "dead_letter"];

/// What is not done with, by country and status; of each at most 10,000 are counted. By an index that has no
/// others.
pub(super) async fn backlog(
    pool: &sqlx::PgPool,
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
    .fetch_all(pool)
    .await
}

/// Claims up to about `limit` events of these countries, and none that another has claimed: a share of each
/// source that has any, so that a busy one does not keep the others waiting; the oldest of each country, so
/// that of more sources than have shares none waits for ever; and those that failed and are due.
pub(super) async fn claim(
    connection: &mut PgConnection,
    countries: &[&str],
    limit: i64,
) -> Result<Vec<Claimed>, sqlx::Error> {
    // Each step of the recursions is a look at the index: the next connection, and its next source.
    let by_source = format!(
        "with recursive pair (country_code, connection_id) as ( \
             select c.code, first.connection_id from unnest($1::text[]) as c (code), lateral ( \
                 select connection_id from pancake_webhook_event \
                 where status = 'received' and country_code = c.code order by connection_id limit 1) as first \
             union all \
             select pair.country_code, next.connection_id from pair, lateral ( \
                 select connection_id from pancake_webhook_event \
                 where status = 'received' and country_code = pair.country_code \
                   and connection_id > pair.connection_id \
                 order by connection_id limit 1) as next \
         ), source as ( \
             select pair.*, named.source_id from pair, lateral ( \
                 with recursive one (source_id) as ( \
                     (select {SOURCE} from pancake_webhook_event as e \
                      where status = 'received' and country_code = pair.country_code \
                        and connection_id = pair.connection_id order by 1 limit 1) \
                     union all \
                     select next.source_id from one, lateral ( \
                         select {SOURCE} as source_id from pancake_webhook_event as e \
                         where status = 'received' and country_code = pair.country_code \
                           and connection_id = pair.connection_id and {SOURCE} > one.source_id \
                         order by 1 limit 1) as next \
                 ) \
                 select source_id from one limit {MAX_SHARES}) as named \
         ), share as ( \
             select *, greatest($2 / count(*) over (), 1) as events from source \
         ) \
         select e.* from share, lateral ( \
             select {EVENT_COLUMNS} from pancake_webhook_event as e \
             where e.status = 'received' and e.country_code = share.country_code \
               and e.connection_id = share.connection_id and {SOURCE} = share.source_id \
             order by e.received_at limit share.events for update skip locked) as e"
    );
    let oldest = format!(
        "select e.* from unnest($1::text[]) as c (code), lateral ( \
             select {EVENT_COLUMNS} from pancake_webhook_event as e \
             where e.status = 'received' and e.country_code = c.code \
             order by e.received_at limit greatest($2 / 16, 1) for update skip locked) as e"
    );
    let due = format!(
        "select {EVENT_COLUMNS} from pancake_webhook_event as e \
         where e.status = 'failed' and e.due_at <= statement_timestamp() and e.country_code = any ($1) \
         order by e.due_at limit greatest($2 / 4, 1) for update skip locked"
    );
    let mut events = claimed(&mut *connection, &by_source, countries, limit).await?;
    events.extend(claimed(&mut *connection, &oldest, countries, limit).await?);
    events.extend(claimed(connection, &due, countries, limit).await?);
    // What one's own transaction has locked is claimed again.
    let mut seen = HashSet::new();
    events.retain(|event| seen.insert(event.event_id));
    Ok(events)
}

/// An event's source as `pancake_webhook_event_backlog_idx` has it.
const SOURCE: &str = "left(coalesce(e.source_ids[1], '(none)'), 64)";

async fn claimed(
    connection: &mut PgConnection,
    statement: &str,
    countries: &[&str],
    limit: i64,
) -> Result<Vec<Claimed>, sqlx::Error> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()))
        .bind(countries)
        .bind(limit)
        .fetch_all(connection)
        .await?;
    rows.iter().map(read_claimed).collect()
}

/// Claims those of these events that still wait, of these countries.
pub(super) async fn claim_these(
    connection: &mut PgConnection,
    countries: &[&str],
    events: &[Uuid],
) -> Result<Vec<Claimed>, sqlx::Error> {
    let statement = format!(
        "select {EVENT_COLUMNS} from pancake_webhook_event as e \
         where e.event_id = any ($1) and e.status in ('received', 'failed') and e.country_code = any ($2) \
         for update skip locked"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(events)
        .bind(countries)
        .fetch_all(connection)
        .await?;
    rows.iter().map(read_claimed).collect()
}

fn read_claimed(row: &sqlx::postgres::PgRow) -> Result<Claimed, sqlx::Error> {
    Ok(Claimed {
        event_id: row.try_get("event_id")?,
        country: country(row.try_get("country_code")?)?,
        connection: row.try_get("connection_id")?,
        record_id: row.try_get("record_id")?,
        modified_on: row.try_get("modified_on")?,
        received_at: row.try_get("received_at")?,
        name: row.try_get("name")?,
        phone_number: row.try_get("phone_number")?,
        email: row.try_get("email")?,
        named_sources: row.try_get("source_ids")?,
        ticket_id: row.try_get("ticket_id")?,
        attempts: row.try_get("attempts")?,
    })
}

fn country(code: &str) -> Result<Country, sqlx::Error> {
    Country::parse(code).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Which of these sources, (country, connection, source), are taken. Those that are seen for the first time
/// are registered, switched off.
pub(super) async fn gate(
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
    let known: Vec<(String, String, bool)> = sqlx::query_as(
        "select connection_id, source_id, is_active from pancake_source \
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
             select distinct on (connection_id) connection_id, country_code \
             from unnest($1::text[], $2::text[]) as s (country_code, connection_id) \
             order by connection_id on conflict do nothing",
        )
        .bind(&country_codes)
        .bind(&connections)
        .execute(&mut *connection)
        .await?;
        // A connection that belongs to another country by now has no sources in this one.
        sqlx::query(
            "insert into pancake_source (country_code, connection_id, source_id) \
             select country_code, connection_id, source_id \
             from unnest($1::text[], $2::text[], $3::text[]) as s (country_code, connection_id, source_id) \
             join pancake_connection using (country_code, connection_id) \
             order by connection_id, source_id on conflict do nothing",
        )
        .bind(&country_codes)
        .bind(&connections)
        .bind(&source_ids)
        .execute(&mut *connection)
        .await?;
    }
    Ok(Gate {
        countries,
        active_sources: known
            .into_iter()
            .filter(|(.., is_active)| *is_active)
            .map(|(connection, source, _)| (connection, source))
            .collect(),
    })
}

/// Until the transaction ends, nobody else processes events of these people and records.
pub(super) async fn lock_people_and_records(
    connection: &mut PgConnection,
    leads: &[Lead],
) -> Result<(), sqlx::Error> {
    let mut names: Vec<String> = Vec::new();
    for lead in leads {
        if let Ok(phone) = &lead.phone {
            names.push(format!("phone {} {}", lead.country, phone.as_str()));
        }
        if let Some(record) = lead.record_id {
            names.push(format!(
                "record {} {} {record}",
                lead.country, lead.connection
            ));
        }
    }
    // In one order in every process: nobody waits in a circle. By the key, since two names may share one.
    sqlx::query(
        "select pg_advisory_xact_lock(key) from ( \
             select distinct hashtextextended(name, 0) as key from unnest($1::text[]) as n (name) \
             order by key) as keys",
    )
    .bind(&names)
    .execute(connection)
    .await?;
    Ok(())
}

/// What is there of these people and records.
pub(super) async fn known(
    connection: &mut PgConnection,
    leads: &[Lead],
) -> Result<Known, sqlx::Error> {
    let mut known = Known::default();
    let phones: HashMap<(&str, &str), (Country, &NormalizedPhone)> = leads
        .iter()
        .filter_map(|lead| {
            let phone = lead.phone.as_ref().ok()?;
            Some((
                (lead.country.as_str(), phone.as_str()),
                (lead.country, phone),
            ))
        })
        .collect();
    let (countries, numbers): (Vec<&str>, Vec<&str>) = phones.keys().copied().unzip();
    // Of several customers with one number, it is the oldest.
    let accounts: Vec<(String, String, Uuid)> = sqlx::query_as(
        "select n.country_code, n.number, a.account_id \
         from unnest($1::text[], $2::text[]) as n (country_code, number), lateral ( \
             select account_id from account as a \
             where a.country_code = n.country_code and a.normalized_phone = n.number \
             order by created_at, account_id limit 1) as a",
    )
    .bind(&countries)
    .bind(&numbers)
    .fetch_all(&mut *connection)
    .await?;
    for (code, number, account_id) in &accounts {
        if let Some((country, phone)) = phones.get(&(code.as_str(), number.as_str())) {
            known
                .accounts
                .insert((*country, (*phone).clone()), *account_id);
        }
    }
    let account_ids: Vec<Uuid> = known.accounts.values().copied().collect();
    let contacts: Vec<(Uuid, String, Uuid)> = sqlx::query_as(
        "select account_id, primary_phone, contact_id from contact_book \
         where account_id = any ($1) and primary_phone = any ($2)",
    )
    .bind(&account_ids)
    .bind(&numbers)
    .fetch_all(&mut *connection)
    .await?;
    let by_number: HashMap<&str, &NormalizedPhone> = phones
        .values()
        .map(|(_, phone)| (phone.as_str(), *phone))
        .collect();
    for (account_id, number, contact_id) in contacts {
        if let Some(phone) = by_number.get(number.as_str()) {
            known
                .contacts
                .insert((account_id, (*phone).clone()), contact_id);
        }
    }
    read_tickets(connection, leads, &account_ids, &mut known).await?;
    Ok(known)
}

async fn read_tickets(
    connection: &mut PgConnection,
    leads: &[Lead],
    account_ids: &[Uuid],
    known: &mut Known,
) -> Result<(), sqlx::Error> {
    let record_ids: Vec<Uuid> = leads.iter().filter_map(|lead| lead.record_id).collect();
    // Staff may be closing one: it is closed before it is read, or after this transaction has changed it.
    sqlx::query(
        "select from ticket where ticket_id in ( \
             select ticket_id from ticket where record_id = any ($1) and status <> 'closed' \
             union all \
             select ticket_id from ticket \
             where account_id = any ($2) and record_id is null and connection_id is not null \
               and status <> 'closed') \
         order by ticket_id for no key update",
    )
    .bind(&record_ids)
    .bind(account_ids)
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query(
        "select ticket_id, country_code, connection_id, record_id, account_id, status <> 'closed' as is_open, \
                record_modified_on, record_digest \
         from ticket where record_id = any ($1) and connection_id is not null \
         union all \
         select ticket_id, country_code, connection_id, record_id, account_id, true, \
                record_modified_on, record_digest \
         from ticket where account_id = any ($2) and record_id is null and connection_id is not null \
           and status <> 'closed'",
    )
    .bind(&record_ids)
    .bind(account_ids)
    .fetch_all(connection)
    .await?;
    for row in &rows {
        let digest: &[u8] = row.try_get("record_digest")?;
        let ticket = KnownTicket {
            ticket_id: row.try_get("ticket_id")?,
            is_open: row.try_get("is_open")?,
            version: RecordVersion {
                modified_on: row.try_get("record_modified_on")?,
                digest: digest
                    .try_into()
                    .map_err(|_| sqlx::Error::Decode("record_digest: not 32 bytes".into()))?,
            },
        };
        let connection: String = row.try_get("connection_id")?;
        if let Some(record_id) = row.try_get("record_id")? {
            let key = (
                country(row.try_get("country_code")?)?,
                connection,
                record_id,
            );
            known.records.entry(key).or_default().push(ticket);
        } else if let Some(account_id) = row.try_get("account_id")? {
            known
                .without_record
                .insert((account_id, connection), ticket);
        }
    }
    Ok(())
}

/// Takes the turns of these countries' telesales until the transaction ends, and reads who is there.
pub(super) async fn telesales(
    connection: &mut PgConnection,
    countries: &[&str],
    now: OffsetDateTime,
) -> Result<Vec<Telesale>, sqlx::Error> {
    sqlx::query(
        "select pg_advisory_xact_lock(key) from ( \
             select distinct hashtextextended('assign ' || code, 0) as key from unnest($1::text[]) as c (code) \
             order by key) as keys",
    )
    .bind(countries)
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query(
        "select staff_id, country_code, capacity::bigint as capacity, last_assigned_at, \
             (select count(*) from ticket as t \
              where t.assignee_id = s.staff_id and t.status <> 'closed') as open, \
             array(select source_id from staff_source as o where o.staff_id = s.staff_id) as sources \
         from staff as s \
         where country_code = any ($1) and role = 'telesale' and is_active and not exists ( \
             select from staff_absence as a \
             where a.staff_id = s.staff_id and a.starts_at <= $2 and a.ends_at > $2)",
    )
    .bind(countries)
    .bind(now)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Telesale {
                staff_id: row.try_get("staff_id")?,
                country: country(row.try_get("country_code")?)?,
                capacity: row.try_get("capacity")?,
                open: row.try_get("open")?,
                sources: row.try_get("sources")?,
                last_assigned_at: row.try_get("last_assigned_at")?,
            })
        })
        .collect()
}

/// A column as an array: PostgreSQL then plans one statement for any number of rows.
fn column<'r, R, T>(rows: &[&'r R], value: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(|row| value(row)).collect()
}

/// Writes all of a plan but what became of the events.
pub(super) async fn write(
    connection: &mut PgConnection,
    plan: &Plan,
    assignments: &[Assignment],
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    let (new, known): (Vec<_>, Vec<_>) = plan.accounts.iter().partition(|write| write.is_new);
    insert_accounts(connection, &new, now).await?;
    update_accounts(connection, &known, now).await?;
    insert_contacts(connection, &plan.contacts, now).await?;
    let (new, known): (Vec<_>, Vec<_>) = plan.tickets.iter().partition(|write| write.is_new);
    insert_tickets(connection, &new, assignments, now).await?;
    update_tickets(connection, &known, now).await?;
    insert_assignments(connection, &new, assignments).await?;
    notify(connection, &new, assignments, now).await
}

async fn insert_accounts(
    connection: &mut PgConnection,
    accounts: &[&AccountWrite],
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    if accounts.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into account (account_id, country_code, name, phone_number, email, normalized_phone, \
                              pancake_metadata, created_at, updated_at) \
         select *, $8, $8 \
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[])",
    )
    .bind(column(accounts, |account| account.account_id))
    .bind(column(accounts, |account| account.country.as_str()))
    .bind(column(accounts, |account| account.name.as_deref()))
    .bind(column(accounts, |account| account.phone_number.as_deref()))
    .bind(column(accounts, |account| account.email.as_deref()))
    .bind(column(accounts, |account| account.phone.as_str()))
    .bind(column(accounts, |account| &account.metadata))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// What staff have written stays; only what is missing is filled in.
async fn update_accounts(
    connection: &mut PgConnection,
    accounts: &[&AccountWrite],
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    if accounts.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update account as a set name = coalesce(a.name, n.name), email = coalesce(a.email, n.email), \
                pancake_metadata = n.metadata, updated_at = $5 \
         from unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[]) as n (account_id, name, email, metadata) \
         where a.account_id = n.account_id",
    )
    .bind(column(accounts, |account| account.account_id))
    .bind(column(accounts, |account| account.name.as_deref()))
    .bind(column(accounts, |account| account.email.as_deref()))
    .bind(column(accounts, |account| &account.metadata))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_contacts(
    connection: &mut PgConnection,
    contacts: &[NewContact],
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    if contacts.is_empty() {
        return Ok(());
    }
    let contacts: Vec<_> = contacts.iter().collect();
    sqlx::query(
        "insert into contact_book (contact_id, country_code, account_id, name, email, primary_phone, \
                                   created_at, updated_at) \
         select *, $7, $7 \
         from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[])",
    )
    .bind(column(&contacts, |contact| contact.contact_id))
    .bind(column(&contacts, |contact| contact.country.as_str()))
    .bind(column(&contacts, |contact| contact.account_id))
    .bind(column(&contacts, |contact| contact.name.as_deref()))
    .bind(column(&contacts, |contact| contact.email.as_deref()))
    .bind(column(&contacts, |contact| contact.phone.as_str()))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_tickets(
    connection: &mut PgConnection,
    tickets: &[&TicketWrite],
    assignments: &[Assignment],
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    if tickets.is_empty() {
        return Ok(());
    }
    let assignees: HashMap<Uuid, Uuid> = assignments
        .iter()
        .map(|assignment| (assignment.ticket_id, assignment.staff_id))
        .collect();
    sqlx::query(
        "insert into ticket (ticket_id, country_code, connection_id, record_id, record_modified_on, \
                             record_digest, account_id, contact_id, subject, phone_state, assignee_id, \
                             source_id, created_at, updated_at) \
         select *, 'ticket_source_pancake', $12, $12 \
         from unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::timestamptz[], $6::bytea[], \
                     $7::uuid[], $8::uuid[], $9::text[], $10::text[], $11::uuid[])",
    )
    .bind(column(tickets, |ticket| ticket.ticket_id))
    .bind(column(tickets, |ticket| ticket.country.as_str()))
    .bind(column(tickets, |ticket| &*ticket.connection))
    .bind(column(tickets, |ticket| ticket.record_id))
    .bind(column(tickets, |ticket| ticket.version.modified_on))
    .bind(column(tickets, |ticket| &ticket.version.digest[..]))
    .bind(column(tickets, |ticket| ticket.account_id))
    .bind(column(tickets, |ticket| ticket.contact_id))
    .bind(column(tickets, |ticket| ticket.subject.as_deref()))
    .bind(column(tickets, |ticket| ticket.phone_state))
    .bind(column(tickets, |ticket| assignees.get(&ticket.ticket_id).copied()))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

async fn update_tickets(
    connection: &mut PgConnection,
    tickets: &[&TicketWrite],
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    if tickets.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update ticket as t set record_modified_on = n.modified_on, record_digest = n.digest, \
                account_id = coalesce(n.account_id, t.account_id), \
                contact_id = coalesce(n.contact_id, t.contact_id), \
                subject = coalesce(n.subject, t.subject), phone_state = n.phone_state, updated_at = $8 \
         from unnest($1::uuid[], $2::timestamptz[], $3::bytea[], $4::uuid[], $5::uuid[], $6::text[], $7::text[]) \
              as n (ticket_id, modified_on, digest, account_id, contact_id, subject, phone_state) \
         where t.ticket_id = n.ticket_id",
    )
    .bind(column(tickets, |ticket| ticket.ticket_id))
    .bind(column(tickets, |ticket| ticket.version.modified_on))
    .bind(column(tickets, |ticket| &ticket.version.digest[..]))
    .bind(column(tickets, |ticket| ticket.account_id))
    .bind(column(tickets, |ticket| ticket.contact_id))
    .bind(column(tickets, |ticket| ticket.subject.as_deref()))
    .bind(column(tickets, |ticket| ticket.phone_state))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_assignments(
    connection: &mut PgConnection,
    tickets: &[&TicketWrite],
    assignments: &[Assignment],
) -> Result<(), sqlx::Error> {
    if assignments.is_empty() {
        return Ok(());
    }
    let countries: HashMap<Uuid, Country> = tickets
        .iter()
        .map(|ticket| (ticket.ticket_id, ticket.country))
        .collect();
    let rows: Vec<_> = assignments.iter().collect();
    sqlx::query(
        "with given as ( \
             select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::timestamptz[]) \
                  as g (assignment_id, country_code, ticket_id, staff_id, assigned_at) \
         ), turns as ( \
             update staff as s set last_assigned_at = last.assigned_at \
             from (select staff_id, max(assigned_at) as assigned_at from given group by staff_id) as last \
             where s.staff_id = last.staff_id \
         ) \
         insert into ticket_assignment \
             (assignment_id, country_code, ticket_id, staff_id, method, assigned_at) \
         select assignment_id, country_code, ticket_id, staff_id, 'automatic', assigned_at from given",
    )
    .bind(column(&rows, |_| Uuid::now_v7()))
    .bind(column(&rows, |row| countries.get(&row.ticket_id).map(Country::as_str)))
    .bind(column(&rows, |row| row.ticket_id))
    .bind(column(&rows, |row| row.staff_id))
    .bind(column(&rows, |row| row.assigned_at))
    .execute(connection)
    .await?;
    Ok(())
}

/// Tells whoever got a ticket, and the managers of one that nobody got.
async fn notify(
    connection: &mut PgConnection,
    tickets: &[&TicketWrite],
    assignments: &[Assignment],
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    if tickets.is_empty() {
        return Ok(());
    }
    let assignees: HashMap<Uuid, Uuid> = assignments
        .iter()
        .map(|assignment| (assignment.ticket_id, assignment.staff_id))
        .collect();
    sqlx::query(
        "insert into notification \
             (notification_id, country_code, ticket_id, staff_id, role, template_code, created_at) \
         select notification_id, country_code, ticket_id, staff_id, \
                case when staff_id is null then 'manager' end, \
                case when staff_id is null then 'noti_pancake_unassigned' else 'noti_pancake_new_lead' end, $5 \
         from unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[]) \
              as n (notification_id, country_code, ticket_id, staff_id)",
    )
    .bind(column(tickets, |_| Uuid::now_v7()))
    .bind(column(tickets, |ticket| ticket.country.as_str()))
    .bind(column(tickets, |ticket| ticket.ticket_id))
    .bind(column(tickets, |ticket| assignees.get(&ticket.ticket_id).copied()))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Says of events that their tickets are there.
pub(super) async fn settle_processed(
    connection: &mut PgConnection,
    outcomes: &[Outcome],
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    if outcomes.is_empty() {
        return Ok(());
    }
    let outcomes: Vec<_> = outcomes.iter().collect();
    sqlx::query(
        "update pancake_webhook_event as e set status = 'processed', due_at = null, cause = null, \
                normalized_phone = n.phone, account_id = n.account_id, ticket_id = n.ticket_id, settled_at = $5 \
         from unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[]) \
              as n (event_id, phone, account_id, ticket_id) \
         where e.event_id = n.event_id",
    )
    .bind(column(&outcomes, |outcome| outcome.event_id))
    .bind(column(&outcomes, |outcome| {
        outcome.phone.as_ref().map(NormalizedPhone::as_str)
    }))
    .bind(column(&outcomes, |outcome| outcome.account_id))
    .bind(column(&outcomes, |outcome| outcome.ticket_id))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Says of events, with their numbers, that a switch held them back.
pub(super) async fn settle_skipped(
    connection: &mut PgConnection,
    events: &[(Uuid, Option<NormalizedPhone>)],
    status: &str,
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    if events.is_empty() {
        return Ok(());
    }
    let events: Vec<_> = events.iter().collect();
    sqlx::query(
        "update pancake_webhook_event as e set status = $3, due_at = null, cause = null, \
                normalized_phone = n.phone, settled_at = $4 \
         from unnest($1::uuid[], $2::text[]) as n (event_id, phone) where e.event_id = n.event_id",
    )
    .bind(column(&events, |(event_id, _)| *event_id))
    .bind(column(&events, |(_, phone)| {
        phone.as_ref().map(NormalizedPhone::as_str)
    }))
    .bind(status)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Says of an event that it failed, if nobody else has dealt with it meanwhile: it is due again after `pause`, or a
/// dead letter, of which the admins are told.
pub(super) async fn settle_failed(
    connection: &mut PgConnection,
    event: &Claimed,
    phone: Option<&NormalizedPhone>,
    cause: &str,
    pause: Option<std::time::Duration>,
) -> Result<bool, sqlx::Error> {
    let failed: i64 = sqlx::query_scalar(
        "with failed as ( \
             update pancake_webhook_event set attempts = least(attempts + 1, 32767), cause = $2, \
                 normalized_phone = $5, \
                 status = case when $3::float8 is null then 'dead_letter' else 'failed' end, \
                 due_at = clock_timestamp() + $3::float8 * interval '1 second', settled_at = clock_timestamp() \
             where event_id = $1 and status in ('received', 'failed') and attempts = $6 \
             returning country_code, event_id, status, attempts \
         ), told as ( \
             insert into notification (notification_id, country_code, role, template_code, data) \
             select $4, country_code, 'admin', 'noti_pancake_failed', \
                    jsonb_build_object('event_id', event_id, 'attempts', attempts) \
             from failed where status = 'dead_letter' \
         ) \
         select count(*) from failed",
    )
    .bind(event.event_id)
    .bind(cause)
    .bind(pause.map(|pause| pause.as_secs_f64()))
    .bind(Uuid::now_v7())
    .bind(phone.map(NormalizedPhone::as_str))
    .bind(event.attempts)
    .fetch_one(connection)
    .await?;
    Ok(failed > 0)
}
