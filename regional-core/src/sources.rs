//! Which of a record's sources count: one rule for what is kept, processed, replayed and listed. Pure.

/// The source of records that name none.
pub(crate) const NO_SOURCE: &str = "(none)";

/// As much of a source's id as is kept.
const MAX_SOURCE_BYTES: usize = 256;

/// How many sources of a record count: more would be work without bound, and rows that nobody looks at.
const MAX_SOURCES: usize = 64;

/// Those of the first [`MAX_SOURCES`], each once, none empty, none longer than its column.
pub(crate) fn that_count(named: &[String]) -> Vec<String> {
    let mut sources: Vec<String> = Vec::new();
    for source in named.iter().take(MAX_SOURCES) {
        let source = source
            .get(..source.floor_char_boundary(MAX_SOURCE_BYTES))
            .unwrap_or_default();
        if !source.is_empty() && !sources.iter().any(|known| known == source) {
            sources.push(source.to_owned());
        }
    }
    sources
}

/// The same as they are registered: of a record without any, [`NO_SOURCE`].
pub(crate) fn registered(named: &[String]) -> Vec<String> {
    let mut sources = that_count(named);
    if sources.is_empty() {
        sources.push(NO_SOURCE.to_owned());
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_named_once_and_fit_their_column() {
        let long = "ậ".repeat(200);
        let named = ["a", "", "a", &long].map(str::to_owned);
        let sources = registered(&named);
        assert_eq!(sources.len(), 2, "{sources:?}");
        assert!(
            sources
                .iter()
                .all(|source| (1..=256).contains(&source.len()))
        );
        assert_eq!(that_count(&sources), sources, "what counts counts again");
    }

    #[test]
    fn a_record_of_empty_sources_has_none() {
        for named in [vec![], vec![String::new()]] {
            assert_eq!(that_count(&named), Vec::<String>::new());
            assert_eq!(registered(&named), [NO_SOURCE]);
        }
    }

    #[test]
    fn of_very_many_sources_the_first_64_count() {
        let named: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
        assert_eq!(that_count(&named), named[..64]);
    }
}
