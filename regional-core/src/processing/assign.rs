//! Whose turn it is: round-robin among the telesales who may take a lead.

use std::collections::HashMap;

use protocol::Country;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// A telesale who is active and present.
#[derive(Debug, Clone)]
pub(super) struct Telesale {
    pub(super) staff_id: Uuid,
    pub(super) country: Country,
    /// Open tickets at most.
    pub(super) capacity: i64,
    /// Open tickets now.
    pub(super) open: i64,
    /// Whose leads they take; of all sources if empty.
    pub(super) sources: Vec<String>,
    pub(super) last_assigned_at: Option<OffsetDateTime>,
}

/// A ticket that has nobody.
#[derive(Debug, Clone)]
pub(super) struct Unassigned {
    pub(super) ticket_id: Uuid,
    pub(super) country: Country,
    pub(super) sources: Vec<String>,
}

/// Who gets what, and when: each has a moment of their own, so that the order of the turns is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) ticket_id: Uuid,
    pub(super) staff_id: Uuid,
    pub(super) assigned_at: OffsetDateTime,
}

/// Gives each ticket, in this order, to whoever of its country may take it and has waited longest; ties go
/// by id. A ticket that nobody may take is in none of the assignments. `telesales` are changed as they
/// will be.
pub(super) fn assign(
    tickets: &[Unassigned],
    telesales: &mut [Telesale],
    now: OffsetDateTime,
) -> Vec<Assignment> {
    // After every turn there was, by whichever clock.
    let latest = telesales
        .iter()
        .filter_map(|one| one.last_assigned_at)
        .max();
    let mut moment = latest.map_or(now, |latest| now.max(latest + Duration::MICROSECOND));
    let mut by_country: HashMap<Country, Vec<&mut Telesale>> = HashMap::new();
    for telesale in telesales {
        by_country
            .entry(telesale.country)
            .or_default()
            .push(telesale);
    }
    let mut assignments = Vec::new();
    for ticket in tickets {
        let next = by_country
            .get_mut(&ticket.country)
            .into_iter()
            .flatten()
            .filter(|telesale| telesale.may_take(ticket))
            .min_by_key(|telesale| (telesale.last_assigned_at, telesale.staff_id));
        if let Some(telesale) = next {
            telesale.open += 1;
            telesale.last_assigned_at = Some(moment);
            assignments.push(Assignment {
                ticket_id: ticket.ticket_id,
                staff_id: telesale.staff_id,
                assigned_at: moment,
            });
            moment += Duration::MICROSECOND;
        }
    }
    assignments
}

impl Telesale {
    fn may_take(&self, ticket: &Unassigned) -> bool {
        self.open < self.capacity
            && (self.sources.is_empty()
                || self
                    .sources
                    .iter()
                    .any(|source| ticket.sources.contains(source)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-22 10:00 UTC);

    fn country(code: &str) -> Country {
        Country::parse(code).unwrap()
    }

    fn telesale(number: u128) -> Telesale {
        Telesale {
            staff_id: Uuid::from_u128(number),
            country: country("VN"),
            capacity: 1_000,
            open: 0,
            sources: Vec::new(),
            last_assigned_at: None,
        }
    }

    fn tickets(count: u128, source: &str) -> Vec<Unassigned> {
        (0..count)
            .map(|number| Unassigned {
                ticket_id: Uuid::from_u128(1_000 + number),
                country: country("VN"),
                sources: vec![source.to_owned()],
            })
            .collect()
    }

    fn counts(assignments: &[Assignment], telesales: &[Telesale]) -> Vec<usize> {
        telesales
            .iter()
            .map(|one| {
                assignments
                    .iter()
                    .filter(|a| a.staff_id == one.staff_id)
                    .count()
            })
            .collect()
    }

    #[test]
    fn turns_go_round_also_from_batch_to_batch() {
        let mut telesales = [telesale(1), telesale(2), telesale(3)];
        let mut all = Vec::new();
        for _ in 0..5 {
            // The clock stands still, or goes back.
            all.extend(assign(&tickets(2, "a"), &mut telesales, NOW));
        }
        assert_eq!(counts(&all, &telesales), [4, 3, 3]);
        assert!(all.is_sorted_by(|one, next| one.assigned_at < next.assigned_at));
    }

    #[test]
    fn nobody_gets_more_than_they_can_hold() {
        let mut telesales = [telesale(1), telesale(2)];
        telesales[0].capacity = 2;
        telesales[0].open = 1;
        telesales[1].capacity = 3;
        let assignments = assign(&tickets(10, "a"), &mut telesales, NOW);
        assert_eq!(counts(&assignments, &telesales), [1, 3]);
    }

    #[test]
    fn sources_and_countries_are_kept_apart() {
        let mut telesales = [telesale(1), telesale(2), telesale(3)];
        telesales[0].sources = vec!["b".to_owned()];
        telesales[1].country = country("SG");
        let assignments = assign(&tickets(4, "a"), &mut telesales, NOW);
        assert_eq!(counts(&assignments, &telesales), [0, 0, 4]);
        let assignments = assign(&tickets(4, "b"), &mut telesales, NOW);
        assert_eq!(
            counts(&assignments, &telesales),
            [2, 0, 2],
            "in turns, also with those who take all"
        );
    }

    #[test]
    fn without_anybody_nothing_is_assigned() {
        assert_eq!(assign(&tickets(3, "a"), &mut [], NOW), []);
    }
}
