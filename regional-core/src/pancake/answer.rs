//! What an answer says, as far as the specification goes. What it adds is left alone, and what it gets wrong is said.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::PancakeError;

/// More entries than any page has; theirs have 30.
const ENTRIES_MAX: usize = 10_000;
/// A cursor is a name for a place in a list. Theirs have some hundred bytes.
const CURSOR_MAX_BYTES: usize = 4096;
/// A name of a source or a tag, in our tables.
const NAME_MAX_BYTES: usize = 1024;
/// The same of its id.
const ID_MAX_BYTES: usize = 256;

/// A page of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its entries, byte for byte: what one of them is, is for whoever takes it.
    pub entries: Vec<Bytes>,
    /// By what the next page is asked for; none at the end.
    pub cursor: Option<String>,
}

/// Where records come from, as the workspace has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As records name it.
    pub id: String,
    /// As people do.
    pub name: String,
    /// Whether it was removed.
    pub is_removed: bool,
}

/// A tag of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// As records name it.
    pub id: String,
    /// As people do.
    pub text: String,
}

#[derive(Deserialize)]
struct Records<'b> {
    #[serde(default)]
    success: Option<bool>,
    #[serde(borrow)]
    entries: Option<Entries<'b>>,
    #[serde(default)]
    cursor: Value,
}

/// As many as are looked at: none of those that are too many is kept.
struct Entries<'b> {
    first: Vec<&'b RawValue>,
    are_too_many: bool,
}

impl<'de: 'b, 'b> Deserialize<'de> for Entries<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Entries<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let (mut first, mut are_too_many) = (Vec::new(), false);
                while first.len() < ENTRIES_MAX {
                    let Some(entry) = list.next_element()? else {
                        return Ok(Entries {
                            first,
                            are_too_many,
                        });
                    };
                    first.push(entry);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    are_too_many = true;
                }
                Ok(Entries {
                    first,
                    are_too_many,
                })
            }
        }

        deserializer.deserialize_seq(List)
    }
}

#[derive(Deserialize)]
struct Wrapped<'b> {
    #[serde(default)]
    success: Option<bool>,
    #[serde(borrow)]
    data: Option<&'b RawValue>,
}

/// Reads a page.
pub fn page(body: &[u8]) -> Result<Page, PancakeError> {
    let text = text(body);
    let records: Records<'_> = read(&text)?;
    refuse_failure(records.success)?;
    let entries = records
        .entries
        .ok_or(PancakeError::Unreadable("it has no entries"))?;
    if entries.are_too_many {
        return Err(PancakeError::Unreadable("it has more than 10,000 entries"));
    }
    let cursor = match records.cursor {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) if text.len() <= CURSOR_MAX_BYTES => Some(text),
        Value::String(_) => return Err(PancakeError::Unreadable("its cursor is too long")),
        _ => return Err(PancakeError::Unreadable("its cursor is no text")),
    };
    let copy = |entry: &RawValue| Bytes::copy_from_slice(entry.get().as_bytes());
    Ok(Page {
        entries: entries.first.into_iter().map(copy).collect(),
        cursor,
    })
}

/// Reads a single record, byte for byte.
pub fn record(body: &[u8]) -> Result<Bytes, PancakeError> {
    let text = text(body);
    let data = unwrap(&text)?;
    Ok(Bytes::copy_from_slice(data.get().as_bytes()))
}

/// Reads the sources. One that has no usable id or name is left out, so that it does not cost the others.
pub fn sources(body: &[u8]) -> Result<Vec<Source>, PancakeError> {
    let sources = list(body)?.into_iter().filter_map(|source| {
        Some(Source {
            id: id(source.get("id")?)?,
            name: name(source.get("name")?)?,
            is_removed: source.get("is_removed") == Some(&Value::Bool(true)),
        })
    });
    Ok(sources.collect())
}

/// Reads the tags, likewise.
pub fn tags(body: &[u8]) -> Result<Vec<Tag>, PancakeError> {
    let tags = list(body)?.into_iter().filter_map(|tag| {
        Some(Tag {
            id: id(tag.get("id")?)?,
            text: name(tag.get("text")?)?,
        })
    });
    Ok(tags.collect())
}

/// A byte that is no UTF-8 becomes U+FFFD: it is to cost one letter, not the page.
fn text(body: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(body)
}

fn read<'b, T: Deserialize<'b>>(text: &'b str) -> Result<T, PancakeError> {
    serde_json::from_str(text)
        .map_err(|_| PancakeError::Unreadable("it is not the JSON that is specified"))
}

fn unwrap(text: &str) -> Result<&RawValue, PancakeError> {
    let wrapped: Wrapped<'_> = read(text)?;
    refuse_failure(wrapped.success)?;
    wrapped
        .data
        .ok_or(PancakeError::Unreadable("it has no data"))
}

fn list(body: &[u8]) -> Result<Vec<Value>, PancakeError> {
    serde_json::from_str(unwrap(&text(body))?.get())
        .map_err(|_| PancakeError::Unreadable("its data is no list"))
}

fn refuse_failure(success: Option<bool>) -> Result<(), PancakeError> {
    if success == Some(false) {
        Err(PancakeError::Refused(200))
    } else {
        Ok(())
    }
}

/// The specification calls ids of sources integers and texts.
fn id(value: &Value) -> Option<String> {
    let id = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (1..=ID_MAX_BYTES).contains(&id.len()).then_some(id)
}

fn name(value: &Value) -> Option<String> {
    // No database text holds U+0000.
    let mut name = value.as_str()?.replace('\0', "\u{fffd}");
    let mut end = name.len().min(NAME_MAX_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unreadable(body: &str) -> &'static str {
        match page(body.as_bytes()) {
            Err(PancakeError::Unreadable(why)) => why,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn entries_are_kept_byte_for_byte() {
        let read =
            page(br#"{"cursor":"n","entries":[{ "id" : "1" , "x":1.0e2}, 7 ,null]}"#).unwrap();
        assert_eq!(read.entries, [r#"{ "id" : "1" , "x":1.0e2}"#, "7", "null"]);
        assert_eq!(read.cursor.as_deref(), Some("n"));
    }

    #[test]
    fn no_cursor_is_the_end() {
        for body in [
            r#"{"entries":[]}"#,
            r#"{"entries":[],"cursor":null}"#,
            r#"{"entries":[],"cursor":""}"#,
        ] {
            assert_eq!(page(body.as_bytes()).unwrap().cursor, None, "{body}");
        }
    }

    #[test]
    fn what_is_not_a_page_is_none() {
        let long = format!(r#"{{"entries":[],"cursor":"{}"}}"#, "x".repeat(5000));
        for (body, why) in [
            ("", "it is not the JSON that is specified"),
            ("<html>", "it is not the JSON that is specified"),
            ("[]", "it is not the JSON that is specified"),
            (r#"{"entries":{}}"#, "it is not the JSON that is specified"),
            ("{}", "it has no entries"),
            (r#"{"entries":null}"#, "it has no entries"),
            (r#"{"entries":[],"cursor":7}"#, "its cursor is no text"),
            (&long, "its cursor is too long"),
        ] {
            assert_eq!(unreadable(body), why, "{body}");
        }
        let refused = page(br#"{"success":false,"message":"no"}"#);
        assert_eq!(refused, Err(PancakeError::Refused(200)));
    }

    #[test]
    fn a_byte_that_is_not_utf_8_costs_a_letter() {
        let read = page(b"{\"entries\":[{\"name\":\"A\xff\"},{\"name\":\"B\"}]}").unwrap();
        assert_eq!(
            read.entries,
            ["{\"name\":\"A\u{fffd}\"}", r#"{"name":"B"}"#]
        );
    }

    #[test]
    fn ten_thousand_entries_are_a_page_and_one_more_is_none() {
        let body = |entries: usize| format!(r#"{{"entries":[{}]}}"#, vec!["7"; entries].join(","));
        assert_eq!(page(body(10_000).as_bytes()).unwrap().entries.len(), 10_000);
        assert_eq!(unreadable(&body(10_001)), "it has more than 10,000 entries");
    }

    #[test]
    fn sources_and_tags_without_id_or_name_do_not_cost_the_others() {
        let body = r#"{"success":true,"data":[{"id":-11,"name":"Facebook"},{"id":"50","name":"Zalo","is_removed":true},
            {"name":"x"},{"id":1,"name":""},{"id":{},"name":"x"},7]}"#;
        let source = |id: &str, name: &str, is_removed| Source {
            id: id.to_owned(),
            name: name.to_owned(),
            is_removed,
        };
        assert_eq!(
            sources(body.as_bytes()).unwrap(),
            [source("-11", "Facebook", false), source("50", "Zalo", true)]
        );
        let tags = tags(br#"{"data":[{"id":"1_11","text":"VIP"},{"id":"2"}]}"#).unwrap();
        assert_eq!((tags.len(), tags[0].text.as_str()), (1, "VIP"));
        assert!(super::tags(br#"{"data":{}}"#).is_err());
    }

    #[test]
    fn a_long_name_is_cut_between_two_characters() {
        let body = format!(r#"{{"data":[{{"id":"1","name":"{}"}}]}}"#, "ữ".repeat(500));
        assert_eq!(sources(body.as_bytes()).unwrap()[0].name, "ữ".repeat(341));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much_for_it(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = page(&body);
            let _ = record(&body);
            let _ = sources(&body);
            let _ = tags(&body);
        }

        #[test]
        fn no_json_is_too_much_for_it(
            key in "(entries|cursor|data|success|id)",
            value in r#"(\[[0-9,"a-z{}:]*\]|"[^"\\]*"|null|true|-?[0-9]{1,30})"#,
        ) {
            let body = format!(r#"{{"{key}":{value}}}"#);
            let _ = page(body.as_bytes());
            let _ = sources(body.as_bytes());
        }
    }
}
