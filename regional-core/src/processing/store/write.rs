//! What a plan comes to, a statement a table.

use std::collections::HashMap;

use protocol::Country;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::column;
use crate::processing::assign::Assignment;
use crate::processing::plan::{AccountWrite, NewContact, Plan, TicketWrite};

/// Writes all of a plan but what became of the events.
pub(in crate::processing) async fn write(
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
                             record_received_at, source_id, created_at, updated_at) \
         select *, 'ticket_source_pancake', $13, $13 \
         from unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::timestamptz[], $6::bytea[], \
                     $7::uuid[], $8::uuid[], $9::text[], $10::text[], $11::uuid[], $12::timestamptz[])",
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
    .bind(column(tickets, |ticket| ticket.version.received_at))
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
                subject = coalesce(n.subject, t.subject), phone_state = n.phone_state, \
                record_received_at = n.received_at, updated_at = $9 \
         from unnest($1::uuid[], $2::timestamptz[], $3::bytea[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], \
                     $8::timestamptz[]) \
              as n (ticket_id, modified_on, digest, account_id, contact_id, subject, phone_state, received_at) \
         where t.ticket_id = n.ticket_id",
    )
    .bind(column(tickets, |ticket| ticket.ticket_id))
    .bind(column(tickets, |ticket| ticket.version.modified_on))
    .bind(column(tickets, |ticket| &ticket.version.digest[..]))
    .bind(column(tickets, |ticket| ticket.account_id))
    .bind(column(tickets, |ticket| ticket.contact_id))
    .bind(column(tickets, |ticket| ticket.subject.as_deref()))
    .bind(column(tickets, |ticket| ticket.phone_state))
    .bind(column(tickets, |ticket| ticket.version.received_at))
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
