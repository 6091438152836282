//! What events come to: customers, contacts and tickets. Pure: what is known goes in, what is to be written
//! comes out.

use std::collections::HashMap;

use protocol::Country;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::phone::{NormalizedPhone, PhoneFault};

/// As much of a name, a phone number or an address as the CRM's columns take, in bytes.
const MAX_NAME_BYTES: usize = 1024;
const MAX_PHONE_BYTES: usize = 256;
const MAX_EMAIL_BYTES: usize = 320;

/// An event that is to be processed.
#[derive(Debug, Clone)]
pub(super) struct Lead {
    pub(super) event_id: Uuid,
    pub(super) country: Country,
    pub(super) connection: String,
    pub(super) record_id: Option<Uuid>,
    pub(super) modified_on: Option<OffsetDateTime>,
    pub(super) received_at: OffsetDateTime,
    pub(super) name: Option<String>,
    pub(super) phone_number: Option<String>,
    pub(super) email: Option<String>,
    pub(super) sources: Vec<String>,
    pub(super) phone: Result<NormalizedPhone, PhoneFault>,
    /// The ticket that it came to before, if it was processed already.
    pub(super) ticket_id: Option<Uuid>,
}

/// Which state of a record an event tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordVersion {
    pub(super) modified_on: Option<OffsetDateTime>,
    /// SHA-256 of the fields that matter.
    pub(super) digest: [u8; 32],
    /// When the event was received. Not known of what was taken in before this was kept.
    pub(super) received_at: Option<OffsetDateTime>,
}

impl RecordVersion {
    /// Whether this tells something that `known` does not. A later time does, the same or an earlier one does
    /// not, whatever else differs: the layers that bring a record write it differently. An event without a time
    /// cannot be told to be newer than one that has it; among those without, other fields are
    /// news unless they were received before: then they were only tried again.
    fn supersedes(&self, known: &Self) -> bool {
        match (self.modified_on, known.modified_on) {
            (Some(new), Some(known)) => new > known,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => {
                self.digest != known.digest
                    && known
                        .received_at
                        .is_none_or(|known| self.received_at >= Some(known))
            }
        }
    }
}

/// A country's record in a connection.
pub(super) type RecordKey = (Country, String, Uuid);

/// A ticket that is there.
#[derive(Debug, Clone)]
pub(super) struct KnownTicket {
    pub(super) ticket_id: Uuid,
    pub(super) is_open: bool,
    pub(super) version: RecordVersion,
}

/// What the database knows about these events' people and records.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By country and number.
    pub(super) accounts: HashMap<(Country, NormalizedPhone), Uuid>,
    /// By customer and number.
    pub(super) contacts: HashMap<(Uuid, NormalizedPhone), Uuid>,
    /// All tickets of each record.
    pub(super) records: HashMap<RecordKey, Vec<KnownTicket>>,
    /// The open ticket of a customer in a connection that is about no record with an id.
    pub(super) without_record: HashMap<(Uuid, String), KnownTicket>,
}

/// A customer to be made, or to be told what Pancake says.
#[derive(Debug, Clone)]
pub(super) struct AccountWrite {
    pub(super) account_id: Uuid,
    pub(super) is_new: bool,
    pub(super) country: Country,
    pub(super) phone: NormalizedPhone,
    pub(super) phone_number: Option<String>,
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
    pub(super) metadata: serde_json::Value,
}

/// A contact to be made.
#[derive(Debug, Clone)]
pub(super) struct NewContact {
    pub(super) contact_id: Uuid,
    pub(super) country: Country,
    pub(super) account_id: Uuid,
    pub(super) phone: NormalizedPhone,
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
}

/// A ticket to be opened, or to be brought up to date.
#[derive(Debug, Clone)]
pub(super) struct TicketWrite {
    pub(super) ticket_id: Uuid,
    pub(super) is_new: bool,
    pub(super) country: Country,
    pub(super) connection: String,
    pub(super) record_id: Option<Uuid>,
    pub(super) version: RecordVersion,
    /// None leaves an open ticket's as they are.
    pub(super) account_id: Option<Uuid>,
    pub(super) contact_id: Option<Uuid>,
    pub(super) subject: Option<String>,
    pub(super) phone_state: &'static str,
    /// By which it is assigned.
    pub(super) sources: Vec<String>,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) event_id: Uuid,
    pub(super) phone: Option<NormalizedPhone>,
    pub(super) account_id: Option<Uuid>,
    pub(super) ticket_id: Uuid,
}

/// All that is to be written.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) accounts: Vec<AccountWrite>,
    pub(super) contacts: Vec<NewContact>,
    pub(super) tickets: Vec<TicketWrite>,
    pub(super) outcomes: Vec<Outcome>,
}

/// What a usable number is called in `ticket.phone_state`.
const USABLE: &str = "usable";

impl Lead {
    fn version(&self) -> RecordVersion {
        let mut sources: Vec<_> = self.sources.iter().collect();
        sources.sort_unstable();
        let mut hash = Sha256::new();
        let fields = [&self.name, &self.phone_number, &self.email].map(Option::as_deref);
        for field in fields
            .into_iter()
            .chain(sources.into_iter().map(|source| Some(source.as_str())))
        {
            // Each with its length, so that none can pass for a part of another.
            let length = field.map_or(u64::MAX, |field| {
                u64::try_from(field.len()).unwrap_or(u64::MAX - 1)
            });
            hash.update(length.to_be_bytes());
            hash.update(field.unwrap_or_default());
        }
        RecordVersion {
            modified_on: self.modified_on,
            digest: hash.finalize().into(),
            received_at: Some(self.received_at),
        }
    }

    fn record(&self) -> Option<RecordKey> {
        Some((self.country, self.connection.clone(), self.record_id?))
    }
}

fn cut(text: Option<&String>, bytes: usize) -> Option<String> {
    let text = text?.trim();
    let text = text.get(..text.floor_char_boundary(bytes))?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// Takes the events in the order in which they came. `new_id` makes ids.
pub(super) fn plan(mut leads: Vec<Lead>, known: Known, new_id: impl FnMut() -> Uuid) -> Plan {
    leads.sort_by_key(|lead| (lead.received_at, lead.event_id));
    let mut planner = Planner {
        known,
        new_id,
        accounts: HashMap::new(),
        tickets: HashMap::new(),
        plan: Plan::default(),
    };
    for lead in &leads {
        planner.take(lead);
    }
    planner.plan
}

struct Planner<I> {
    known: Known,
    new_id: I,
    /// Where in the plan each stands.
    accounts: HashMap<Uuid, usize>,
    tickets: HashMap<Uuid, usize>,
    plan: Plan,
}

/// Where an event goes.
enum Target {
    /// It says nothing new.
    Unchanged(Uuid),
    Open(Uuid),
    New,
}

impl<I: FnMut() -> Uuid> Planner<I> {
    fn take(&mut self, lead: &Lead) {
        let version = lead.version();
        let phone = lead.phone.as_ref().ok().cloned();
        let outcome = |account_id, ticket_id| Outcome {
            event_id: lead.event_id,
            phone: phone.clone(),
            account_id,
            ticket_id,
        };
        if let Some(ticket_id) = lead.ticket_id {
            let unchanged = outcome(None, ticket_id);
            self.plan.outcomes.push(unchanged);
            return;
        }
        let known_account = phone.as_ref().and_then(|phone| {
            self.known
                .accounts
                .get(&(lead.country, phone.clone()))
                .copied()
        });
        let target = self.target(lead, &version, known_account);
        let ticket_id = match target {
            Target::Unchanged(ticket_id) => {
                let unchanged = outcome(known_account, ticket_id);
                self.plan.outcomes.push(unchanged);
                return;
            }
            Target::Open(ticket_id) => ticket_id,
            Target::New => (self.new_id)(),
        };
        let account_id = phone.as_ref().map(|phone| self.account(lead, phone));
        let contact_id = account_id
            .zip(phone.as_ref())
            .map(|(account_id, phone)| self.contact(lead, account_id, phone));
        let write = TicketWrite {
            ticket_id,
            is_new: matches!(target, Target::New),
            country: lead.country,
            connection: lead.connection.clone(),
            record_id: lead.record_id,
            version,
            account_id,
            contact_id,
            subject: cut(lead.name.as_ref(), MAX_NAME_BYTES),
            phone_state: lead
                .phone
                .as_ref()
                .map_or_else(|fault| fault.as_str(), |_| USABLE),
            sources: lead.sources.clone(),
        };
        self.remember(
            lead,
            account_id,
            KnownTicket {
                ticket_id,
                is_open: true,
                version,
            },
        );
        self.write(write);
        let done = outcome(account_id, ticket_id);
        self.plan.outcomes.push(done);
    }

    fn target(&self, lead: &Lead, version: &RecordVersion, account: Option<Uuid>) -> Target {
        if let Some(record) = lead.record() {
            let tickets = self
                .known
                .records
                .get(&record)
                .map_or(&[][..], Vec::as_slice);
            // By a closed ticket as well: what it has taken in is no news.
            let newest = tickets
                .iter()
                .find(|ticket| !version.supersedes(&ticket.version));
            if let Some(ticket) = newest {
                return Target::Unchanged(ticket.ticket_id);
            }
            let open = tickets.iter().find(|ticket| ticket.is_open);
            return open.map_or(Target::New, |ticket| Target::Open(ticket.ticket_id));
        }
        // A record without an id is known by its person only.
        let open = account.and_then(|account| {
            self.known
                .without_record
                .get(&(account, lead.connection.clone()))
        });
        match open {
            None => Target::New,
            Some(ticket) if version.supersedes(&ticket.version) => Target::Open(ticket.ticket_id),
            Some(ticket) => Target::Unchanged(ticket.ticket_id),
        }
    }

    fn account(&mut self, lead: &Lead, phone: &NormalizedPhone) -> Uuid {
        let known = self
            .known
            .accounts
            .get(&(lead.country, phone.clone()))
            .copied();
        let account_id = known.unwrap_or_else(&mut self.new_id);
        let modified_on = lead.modified_on.map(OffsetDateTime::unix_timestamp);
        let write = AccountWrite {
            account_id,
            is_new: known.is_none(),
            country: lead.country,
            phone: phone.clone(),
            phone_number: cut(lead.phone_number.as_ref(), MAX_PHONE_BYTES),
            name: cut(lead.name.as_ref(), MAX_NAME_BYTES),
            email: cut(lead.email.as_ref(), MAX_EMAIL_BYTES),
            metadata: serde_json::json!({
                "connection_id": lead.connection,
                "record_id": lead.record_id,
                "modified_on": modified_on,
                "event_id": lead.event_id,
            }),
        };
        let planned = self.accounts.get(&account_id).copied();
        if let Some(before) = planned.and_then(|place| self.plan.accounts.get_mut(place)) {
            *before = AccountWrite {
                is_new: before.is_new,
                name: before.name.take().or(write.name),
                email: before.email.take().or(write.email),
                ..write
            };
        } else {
            self.accounts.insert(account_id, self.plan.accounts.len());
            self.plan.accounts.push(write);
            self.known
                .accounts
                .insert((lead.country, phone.clone()), account_id);
        }
        account_id
    }

    fn contact(&mut self, lead: &Lead, account_id: Uuid, phone: &NormalizedPhone) -> Uuid {
        if let Some(contact) = self.known.contacts.get(&(account_id, phone.clone())) {
            return *contact;
        }
        let contact_id = (self.new_id)();
        self.known
            .contacts
            .insert((account_id, phone.clone()), contact_id);
        self.plan.contacts.push(NewContact {
            contact_id,
            country: lead.country,
            account_id,
            phone: phone.clone(),
            name: cut(lead.name.as_ref(), MAX_NAME_BYTES),
            email: cut(lead.email.as_ref(), MAX_EMAIL_BYTES),
        });
        contact_id
    }

    /// For the events behind it.
    fn remember(&mut self, lead: &Lead, account_id: Option<Uuid>, ticket: KnownTicket) {
        if let Some(record) = lead.record() {
            let tickets = self.known.records.entry(record).or_default();
            tickets.retain(|known| known.ticket_id != ticket.ticket_id);
            tickets.push(ticket);
        } else if let Some(account_id) = account_id {
            self.known
                .without_record
                .insert((account_id, lead.connection.clone()), ticket);
        }
    }

    fn write(&mut self, write: TicketWrite) {
        let planned = self.tickets.get(&write.ticket_id).copied();
        if let Some(before) = planned.and_then(|place| self.plan.tickets.get_mut(place)) {
            *before = TicketWrite {
                is_new: before.is_new,
                account_id: write.account_id.or(before.account_id),
                contact_id: write.contact_id.or(before.contact_id),
                subject: write.subject.or_else(|| before.subject.take()),
                ..write
            };
        } else {
            self.tickets
                .insert(write.ticket_id, self.plan.tickets.len());
            self.plan.tickets.push(write);
        }
    }
}
