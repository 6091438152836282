//! In which order tables are loaded: what is referred to first.

use super::archive::TableName;

/// The tables, each behind those that it refers to; those of a circle, which nothing can bring into order, last.
#[must_use]
pub fn parents_first(
    tables: Vec<TableName>,
    references: &[(TableName, TableName)],
) -> Vec<TableName> {
    let mut ordered: Vec<TableName> = Vec::with_capacity(tables.len());
    let mut waiting = tables;
    loop {
        let is_ready = |table: &TableName| {
            let mut parents = references.iter().filter(|(child, _)| child == table);
            parents.all(|(_, parent)| parent == table || !waiting.contains(parent))
        };
        let (ready, rest): (Vec<_>, Vec<_>) =
            waiting.iter().cloned().partition(|table| is_ready(table));
        ordered.extend(ready.iter().cloned());
        waiting = rest;
        if ready.is_empty() {
            ordered.extend(waiting);
            return ordered;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Vec<TableName> {
        let table = |name: &&str| TableName::new("public", name);
        names.iter().map(table).collect()
    }

    fn ordered(tables: &[&str], references: &[(&str, &str)]) -> Vec<String> {
        let table = |name: &str| TableName::new("public", name);
        let references: Vec<_> = references
            .iter()
            .map(|(child, parent)| (table(child), table(parent)))
            .collect();
        let ordered = parents_first(named(tables), &references);
        ordered.into_iter().map(|table| table.name).collect()
    }

    #[test]
    fn what_is_referred_to_comes_first() {
        let references = [("a", "b"), ("b", "c"), ("a", "c"), ("d", "d")];
        assert_eq!(
            ordered(&["a", "b", "c", "d"], &references),
            ["c", "d", "b", "a"]
        );
    }

    #[test]
    fn a_circle_ends_and_loses_no_table() {
        assert_eq!(
            ordered(&["a", "b", "c"], &[("a", "b"), ("b", "a"), ("a", "gone")]),
            ["c", "a", "b"]
        );
    }
}
