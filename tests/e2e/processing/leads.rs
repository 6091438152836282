//! Records of some hundred persons in several states and in random order, and what must come of them.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use uuid::Uuid;

/// `SplitMix64`: the same numbers from the same seed, everywhere.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(u64::try_from(length).unwrap())).unwrap()
    }
}

/// One request's body.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) body: Vec<u8>,
    pub(super) is_record: bool,
}

/// What a ticket must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) modified_on: Option<i64>,
    pub(super) name: String,
    /// In E.164, or what is wrong with it.
    pub(super) phone: Result<String, &'static str>,
}

/// What must stand at the end.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// The newest state of each record with an id.
    pub(super) records: HashMap<Uuid, State>,
    /// The newest state of what has no id, by number.
    pub(super) persons: HashMap<String, State>,
    /// Events without an id and without a usable number: each is a ticket.
    pub(super) nobody: usize,
    /// Bodies that are no record.
    pub(super) rejected: usize,
    /// Every number of which any event tells.
    pub(super) phones: std::collections::HashSet<String>,
    /// Events that the database refuses until it is healed.
    pub(super) poison: usize,
}

impl Expected {
    pub(super) fn tickets(&self) -> usize {
        self.records.len() + self.persons.len() + self.nobody
    }
}

pub(super) struct Leads {
    /// As they are sent: shuffled, some of them several times.
    pub(super) deliveries: Vec<Delivery>,
    pub(super) expected: Expected,
}

const PERSONS: u64 = 300;
/// 2026-11-22T00:00:00Z.
const BASE: i64 = 1_795_305_600;
const POISON: usize = 8;

/// At least `events` records that differ in some byte, and a few bodies that are none.
pub(super) fn make(events: usize, random: &mut Random) -> Leads {
    let mut maker = Maker {
        random,
        bodies: Vec::new(),
        expected: Expected::default(),
    };
    for _ in 0..POISON {
        maker.poison();
    }
    while maker.bodies.len() < events {
        match maker.random.below(100) {
            0..20 => maker.without_id(),
            20..28 => maker.nobody(),
            _ => maker.record(),
        }
    }
    let Maker {
        bodies,
        mut expected,
        ..
    } = maker;
    let mut deliveries: Vec<Delivery> = bodies
        .into_iter()
        .map(|body| Delivery {
            body,
            is_record: true,
        })
        .collect();
    for number in 0..events / 200 {
        let body = match number % 3 {
            0 => format!("{{\"id\":{number}}}"),
            1 => format!("[{number}]"),
            _ => format!("{{\"name\":\"{number}"),
        };
        deliveries.push(Delivery {
            body: body.into(),
            is_record: false,
        });
        expected.rejected += 1;
    }
    // One in twelve comes again: at once, much later, and through the other core.
    for _ in 0..deliveries.len() / 12 {
        let again = deliveries[random.index(deliveries.len())].clone();
        deliveries.push(again);
    }
    for last in (1..deliveries.len()).rev() {
        deliveries.swap(last, random.index(last + 1));
    }
    Leads {
        deliveries,
        expected,
    }
}

struct Maker<'r> {
    random: &'r mut Random,
    bodies: Vec<Vec<u8>>,
    expected: Expected,
}

impl Maker<'_> {
    fn id(&mut self) -> Uuid {
        let bits = (u128::from(self.random.next()) << 64) | u128::from(self.random.next());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    /// A person's number as somebody wrote it, and in E.164.
    fn usable(&mut self) -> (Value, String) {
        let subscriber = format!("91{:07}", 1_000_000 + self.random.below(PERSONS));
        let written = match self.random.below(5) {
            0 => format!("0{subscriber}"),
            1 => format!("+84{subscriber}"),
            2 => format!("0084 {subscriber}"),
            3 => format!("84{subscriber}"),
            _ => format!(
                " 0{} {}.{}",
                &subscriber[..2],
                &subscriber[2..5],
                &subscriber[5..]
            ),
        };
        (Value::String(written), format!("+84{subscriber}"))
    }

    fn phone(&mut self) -> (Value, Result<String, &'static str>) {
        match self.random.below(20) {
            0 => (Value::Null, Err("missing")),
            1 => (json!(912_345_678), Err("missing")),
            2 => (json!("9".repeat(40)), Err("unreadable")),
            3 => (json!("0912345678".repeat(10)), Err("too_long")),
            4 => (json!("+84 000 000 000"), Err("invalid")),
            _ => {
                let (written, number) = self.usable();
                (written, Ok(number))
            }
        }
    }

    /// Sends a state, in bytes that no other has.
    fn push(&mut self, id: Option<Uuid>, phone: &Value, state: &State) {
        let mut record = json!({"name": state.name, "phone_number": phone, "n": self.bodies.len()});
        if let Some(id) = id {
            record["id"] = Value::String(id.to_string());
        }
        if let Some(seconds) = state.modified_on {
            record["modified_on"] = Value::String(moment(seconds));
        }
        match self.random.below(12) {
            0 => record["email"] = json!({"not": "a text"}),
            1 => record["email"] = json!("someone@example.com"),
            2 => record["source"] = json!("no list"),
            3 => record["source"] = json!(["fb", 7, null, "fb"]),
            4 => record["created_on"] = json!("2026-13-45"),
            5 => record["ghi chú"] = json!("\u{0}联系人 👩‍👩‍👧‍👦".repeat(20)),
            6 => record["note"] = json!("x".repeat(9_000)),
            _ => {}
        }
        if let Ok(number) = &state.phone {
            self.expected.phones.insert(number.clone());
        }
        self.bodies.push(record.to_string().into_bytes());
    }

    /// A record in one to eight states, each sent in one or two spellings.
    fn record(&mut self) {
        let id = self.id();
        let states = 1 + self.random.below(8);
        let mut newest = None;
        for number in 0..states {
            let (written, phone) = self.phone();
            let state = State {
                // The last comes at random: what tells the newest is what it says.
                modified_on: Some(BASE + 60 * i64::try_from(number).unwrap()),
                name: format!("{id} {number}"),
                phone,
            };
            for _ in 0..=self.random.below(2) {
                self.push(Some(id), &written, &state);
            }
            newest = Some(state);
        }
        if self.random.chance(5) {
            // A state of no known time never wins over one that has it.
            let (written, phone) = self.phone();
            let undated = State {
                modified_on: None,
                name: format!("{id} undated"),
                phone,
            };
            self.push(Some(id), &written, &undated);
        }
        if let Some(newest) = newest {
            self.expected.records.insert(id, newest);
        }
    }

    /// Known by its number only: the newest of the person counts.
    fn without_id(&mut self) {
        let (written, number) = self.usable();
        let state = State {
            modified_on: Some(BASE + i64::try_from(self.bodies.len()).unwrap()),
            name: format!("without id {}", self.bodies.len()),
            phone: Ok(number.clone()),
        };
        self.push(None, &written, &state);
        self.expected.persons.insert(number, state);
    }

    fn nobody(&mut self) {
        let phone = match self.random.below(3) {
            0 => Value::Null,
            1 => json!("Zalo"),
            _ => json!(["0912345678"]),
        };
        let state = State {
            modified_on: None,
            name: "nobody".to_owned(),
            phone: Err("missing"),
        };
        self.push(None, &phone, &state);
        self.expected.nobody += 1;
    }

    fn poison(&mut self) {
        let id = self.id();
        let (written, number) = self.usable();
        let state = State {
            modified_on: Some(BASE),
            name: "poison".to_owned(),
            phone: Ok(number),
        };
        self.push(Some(id), &written, &state);
        self.expected.records.insert(id, state);
        self.expected.poison += 1;
    }
}

/// A moment of the day of [`BASE`], or of the next, as Pancake writes it.
fn moment(seconds: i64) -> String {
    let seconds = seconds - BASE;
    let mut text = format!("2026-11-{:02}T", 22 + seconds / 86_400);
    let of_day = seconds % 86_400;
    // Writing to a `String` cannot fail.
    let _ = write!(
        text,
        "{:02}:{:02}:{:02}Z",
        of_day / 3_600,
        of_day / 60 % 60,
        of_day % 60
    );
    text
}
