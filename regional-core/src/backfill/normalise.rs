//! Numbers of many accounts, on all cores and without a database: when rows are locked, there is nothing left to
//! compute.

use std::thread::available_parallelism;

use protocol::Country;
use serde::Serialize;
use tokio::task::{JoinError, spawn_blocking};
use uuid::Uuid;

use crate::phone::{NormalizedPhone, PhoneFault, normalize_apart};

/// An account, as far as its number goes.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) account_id: Uuid,
    pub(super) country: String,
    pub(super) code: Option<String>,
    pub(super) number: Option<String>,
    /// It has a normalised number already.
    pub(super) is_done: bool,
}

/// What is to be done with it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) entered: Entered,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// Left alone.
    Already,
    /// Gets this one.
    Usable(NormalizedPhone),
    /// Stays without.
    None(PhoneFault),
}

impl Row {
    pub(super) fn phone(&self) -> Option<&NormalizedPhone> {
        match &self.outcome {
            Outcome::Usable(phone) => Some(phone),
            Outcome::Already | Outcome::None(_) => None,
        }
    }
}

/// Whether a number may be called (`phone_enabled`) is no question here: by it the customer is recognised, and with
/// them that they must not be called.
pub(super) fn one(entered: Entered) -> Row {
    let outcome = if entered.is_done {
        Outcome::Already
    } else {
        Country::parse(&entered.country)
            .map_err(|_| PhoneFault::Unreadable)
            .and_then(|country| {
                normalize_apart(entered.code.as_deref(), entered.number.as_deref(), country)
            })
            .map_or_else(Outcome::None, Outcome::Usable)
    };
    Row { entered, outcome }
}

/// All of them, in their order. Needs a runtime.
pub(super) async fn all(mut entered: Vec<Entered>) -> Result<Vec<Row>, JoinError> {
    // Less is done sooner than it is handed over.
    const LEAST: usize = 64;
    let cores = available_parallelism().map_or(1, usize::from);
    let share = entered.len().div_ceil(cores).max(LEAST);
    let mut parts = Vec::new();
    while !entered.is_empty() {
        let rest = entered.split_off(share.min(entered.len()));
        let part = std::mem::replace(&mut entered, rest);
        parts.push(spawn_blocking(|| {
            part.into_iter().map(one).collect::<Vec<_>>()
        }));
    }
    let mut rows = Vec::new();
    for part in parts {
        rows.append(&mut part.await?);
    }
    Ok(rows)
}

/// How many accounts have which number, by what became of it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct States {
    /// It is a number.
    pub usable: u64,
    /// None is written.
    pub missing: u64,
    /// The text is too long to be one.
    pub too_long: u64,
    /// It has not the shape of a number.
    pub unreadable: u64,
    /// Nobody can have this one.
    pub invalid: u64,
    /// It was normalised before.
    pub already: u64,
}

impl States {
    pub(super) fn count(&mut self, outcome: &Outcome) {
        let count = match outcome {
            Outcome::Already => &mut self.already,
            Outcome::Usable(_) => &mut self.usable,
            Outcome::None(PhoneFault::Missing) => &mut self.missing,
            Outcome::None(PhoneFault::TooLong) => &mut self.too_long,
            Outcome::None(PhoneFault::Unreadable) => &mut self.unreadable,
            Outcome::None(PhoneFault::Invalid) => &mut self.invalid,
        };
        *count += 1;
    }

    /// All of them.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.usable + self.missing + self.too_long + self.unreadable + self.invalid + self.already
    }
}
