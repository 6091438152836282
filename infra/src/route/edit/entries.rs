//! Entries of a TOML table come and go, in whichever of its forms the table is written.

use toml_edit::{InlineTable, Item, Key, Table, Value};

/// Takes an entry away, with the comment that stands on its line or right above it.
pub(super) fn remove(table: &mut Item, key: &str) -> Option<()> {
    table.as_table_like_mut()?.remove(key)?;
    space(table);
    Some(())
}

/// Adds an entry behind the last one of its kind; behind all if there is none.
pub(super) fn insert_behind(
    table: &mut Item,
    key: &str,
    value: Value,
    is_of_kind: impl Fn(&Item) -> bool,
) -> Option<()> {
    let entries = table.as_table_like_mut()?;
    let mut order: Vec<String> = entries.iter().map(|(key, _)| key.to_owned()).collect();
    let kinds: Vec<_> = entries.iter().map(|(_, item)| is_of_kind(item)).collect();
    let last = kinds.iter().rposition(|is_it| *is_it);
    order.insert(last.map_or(order.len(), |index| index + 1), key.to_owned());
    entries.insert(key, Item::Value(value));
    let rank = |key: &Key| order.iter().position(|known| known == key.get());
    match table {
        Item::Table(table) => table.sort_values_by(|one, _, other, _| rank(one).cmp(&rank(other))),
        Item::Value(Value::InlineTable(table)) => {
            table.sort_values_by(|one, _, other, _| rank(one).cmp(&rank(other)));
        }
        _ => return None,
    }
    space(table);
    Some(())
}

/// Adds a table behind the others, written as the last of them is.
pub(super) fn insert_table(table: &mut Item, key: &str, new: InlineTable) -> Option<()> {
    let is_inside_a_line = table.is_value();
    let entries = table.as_table_like_mut()?;
    let last = entries.iter().last().map(|(_, item)| item);
    let item = match last {
        _ if is_inside_a_line => Item::Value(new.into()),
        Some(Item::Value(_)) => Item::Value(new.into()),
        last => {
            let is_dotted = last.and_then(Item::as_table).is_some_and(Table::is_dotted);
            let mut new = new.into_table();
            new.set_dotted(is_dotted);
            Item::Table(new)
        }
    };
    entries.insert(key, item);
    space(table);
    Some(())
}

/// On one line each entry stands apart by a comma and a space; tables need nothing.
fn space(table: &mut Item) {
    if let Item::Value(Value::InlineTable(table)) = table {
        table.fmt();
    }
}
