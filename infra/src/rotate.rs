//! A region's secret becomes another one without a refused request: what comes next, read from the operator's files.
//!
//! Two kinds, the hop's secret ([`hop`]) and the sealing key ([`sealing`]), go the same way: the core gets the new one
//! beside the old one, then the edge changes over, then the core loses the old one. Which [`Stage`] a rotation is in
//! stands in the files alone, so whoever was interrupted reads them again and goes on. Pure: texts and randomness
//! come in, an [`Edit`] goes out; what is in force is asked by [`probe`].

pub(crate) mod edge_file;
pub(crate) mod env_file;
pub mod hop;
pub mod probe;
mod routes_file;
pub mod sealing;

use std::fmt;

pub use routes_file::routes;

/// How far a rotation is, by the files. Whether what they say is in force is another question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is changed yet.
    Begin,
    /// The core has the old key and the new one, the edge uses the old.
    CoreHasBoth,
    /// The core has both, the edge uses the new one.
    EdgeHasNew,
    /// The old one is gone.
    CoreHasNew,
}

/// One of the two files that a rotation edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// The core's environment, `KEY=value` lines.
    Core,
    /// What the edge is given: its secrets (`edge.json`), or its routes (`wrangler.toml`).
    Edge,
}

/// What a file is to hold next. It may be a secret, so it does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Edit {
    /// Which file.
    pub file: File,
    /// All of it.
    pub text: String,
}

impl fmt::Debug for Edit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Edit({:?}, redacted)", self.file)
    }
}

/// Why a rotation cannot begin or go on. Quotes no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// In which file.
    pub file: File,
    /// What is wrong there, by its key, and what to do.
    pub text: String,
}

impl Mistake {
    fn core(text: impl Into<String>) -> Self {
        Self {
            file: File::Core,
            text: text.into(),
        }
    }

    fn edge(text: impl Into<String>) -> Self {
        Self {
            file: File::Edge,
            text: text.into(),
        }
    }
}

/// What a rotation does, in its order: an edit, and what must be in force then, by turns.
pub const STEPS: usize = 6;

impl Stage {
    /// The number of the step, from 1, that shows this stage to be in force; the edit before it has one less. What
    /// is in force at the beginning is no step.
    #[must_use]
    pub fn step(self) -> usize {
        match self {
            Self::Begin => 0,
            Self::CoreHasBoth => 2,
            Self::EdgeHasNew => 4,
            Self::CoreHasNew => 6,
        }
    }
}

/// A name that is free, by the number at the end of the one that is in use.
#[must_use]
pub fn propose_name<'n>(in_use: &str, taken: impl IntoIterator<Item = &'n str>) -> String {
    let (base, number) = split_number(in_use);
    let numbers = taken.into_iter().filter_map(|name| {
        let (other, number) = split_number(name);
        (other == base).then_some(number)
    });
    let highest = numbers.fold(number, u64::max);
    format!("{base}-{}", highest.saturating_add(1))
}

/// `smp-asia-3` is `smp-asia` and 3; what has no number is its first.
fn split_number(name: &str) -> (&str, u64) {
    name.rsplit_once('-')
        .and_then(|(base, number)| Some((base, number.parse().ok()?)))
        .unwrap_or((name, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_name_has_the_next_number_that_nobody_had() {
        for (in_use, taken, expected) in [
            ("smp-asia-1", &[][..], "smp-asia-2"),
            ("smp-asia-2", &["smp-asia-1", "smp-asia-7"], "smp-asia-8"),
            ("smp-asia-2", &["smp-china-9", "other"], "smp-asia-3"),
            ("first", &[], "first-2"),
        ] {
            let found = propose_name(in_use, taken.iter().copied());
            assert_eq!(found, expected, "{in_use} {taken:?}");
        }
    }

    #[test]
    fn an_edit_does_not_print_what_it_holds() {
        let edit = Edit {
            file: File::Core,
            text: "a secret".to_owned(),
        };
        assert_eq!(format!("{edit:?}"), "Edit(Core, redacted)");
    }
}
