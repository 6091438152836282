//! What is there of the people and records of a batch, and of who may get their tickets. Locked first, so that
//! it stays so until the transaction ends.

use std::collections::{HashMap, HashSet};

use protocol::Country;
use sqlx::{PgConnection, Row as _};
use time::OffsetDateTime;
use uuid::Uuid;

use super::country;
use crate::phone::NormalizedPhone;
use crate::processing::assign::Telesale;
use crate::processing::plan::{Known, KnownTicket, Lead, RecordVersion};

/// Until the transaction ends, nobody else processes events of these people and records.
pub(in crate::processing) async fn lock_people_and_records(
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
pub(in crate::processing) async fn known(
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
    // A number may stand in very many records; only those without an id are known by their person.
    let without_record: HashSet<Uuid> = leads
        .iter()
        .filter(|lead| lead.record_id.is_none())
        .filter_map(|lead| {
            let phone = lead.phone.as_ref().ok()?;
            known.accounts.get(&(lead.country, phone.clone())).copied()
        })
        .collect();
    let without_record: Vec<Uuid> = without_record.into_iter().collect();
    read_tickets(connection, leads, &without_record, &mut known).await?;
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
                record_modified_on, record_digest, record_received_at \
         from ticket where record_id = any ($1) and connection_id is not null \
         union all \
         select ticket_id, country_code, connection_id, record_id, account_id, true, \
                record_modified_on, record_digest, record_received_at \
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
                received_at: row.try_get("record_received_at")?,
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
pub(in crate::processing) async fn telesales(
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
