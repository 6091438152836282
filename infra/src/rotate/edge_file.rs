//! The Worker's secrets as `wrangler secret bulk` takes them: a JSON object of texts, of which `HOP_SECRETS` is JSON
//! again. One region's key is changed, and every other byte stays.

use std::collections::BTreeMap;
use std::ops::Range;

use protocol::RegionId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Mistake;

const HOP_SECRETS: &str = "HOP_SECRETS";

/// A region's key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    pub(crate) keyid: String,
    pub(crate) secret: String,
}

/// The key by which the edge signs what goes to a region.
pub(crate) fn key(text: &str, region: &RegionId) -> Result<Key, Mistake> {
    let (_, document) = hop_secrets(text)?;
    let (_, key) = entry(&document, region)?;
    Ok(key)
}

/// The text with another key of a region.
pub(crate) fn with_key(text: &str, region: &RegionId, key: &Key) -> Result<String, Mistake> {
    let not_written = |_| Mistake::edge(format!("{HOP_SECRETS}: it cannot be written"));
    let (outer, mut document) = hop_secrets(text)?;
    let (inner, _) = entry(&document, region)?;
    document.replace_range(inner, &serde_json::to_string(key).map_err(not_written)?);
    let mut changed = text.to_owned();
    changed.replace_range(
        outer,
        &serde_json::to_string(&document).map_err(not_written)?,
    );
    Ok(changed)
}

/// The text with the key of a region that may not be there yet; with none, without that region's.
pub(crate) fn with_region(
    text: &str,
    region: &RegionId,
    key: Option<&Key>,
) -> Result<String, Mistake> {
    let not_written = |_| Mistake::edge(format!("{HOP_SECRETS}: it cannot be written"));
    let (outer, document) = hop_secrets(text)?;
    let mut regions: serde_json::Map<_, _> = serde_json::from_str(&document).map_err(|error| {
        let place = (error.line(), error.column());
        Mistake::edge(format!(
            "{HOP_SECRETS}: an object of regions is expected (line {}, column {})",
            place.0, place.1
        ))
    })?;
    match key {
        Some(key) => {
            let key = serde_json::to_value(key).map_err(not_written)?;
            regions.insert(region.to_string(), key);
        }
        None if regions.remove(region.as_str()).is_none() => return Ok(text.to_owned()),
        None => {}
    }
    let document = serde_json::to_string(&regions).map_err(not_written)?;
    let mut changed = text.to_owned();
    changed.replace_range(
        outer,
        &serde_json::to_string(&document).map_err(not_written)?,
    );
    Ok(changed)
}

/// Where `HOP_SECRETS` stands, and what it says.
fn hop_secrets(text: &str) -> Result<(Range<usize>, String), Mistake> {
    let secrets = object(text).map_err(|place| {
        Mistake::edge(format!(
            "a JSON object is expected, as wrangler secret bulk takes it ({place})"
        ))
    })?;
    let raw = secrets
        .get(HOP_SECRETS)
        .ok_or_else(|| Mistake::edge(format!("{HOP_SECRETS}: it is missing")))?;
    let document = serde_json::from_str(raw.get())
        .map_err(|_| Mistake::edge(format!("{HOP_SECRETS}: a text that holds JSON is expected")))?;
    Ok((place_of(raw, text), document))
}

fn entry(document: &str, region: &RegionId) -> Result<(Range<usize>, Key), Mistake> {
    let regions = object(document).map_err(|place| {
        Mistake::edge(format!(
            "{HOP_SECRETS}: {{\"region\": {{\"keyid\", \"secret\"}}}} is expected within the text ({place})"
        ))
    })?;
    let raw = regions
        .get(region.as_str())
        .ok_or_else(|| Mistake::edge(format!("{HOP_SECRETS}: it has no {region}")))?;
    let key = serde_json::from_str(raw.get()).map_err(|_| {
        Mistake::edge(format!(
            "{HOP_SECRETS}: {region} has keyid and secret, two texts"
        ))
    })?;
    Ok((place_of(raw, document), key))
}

/// serde's own text may quote a value, and each is a secret: of a mistake only the place is told.
fn object(text: &str) -> Result<BTreeMap<String, &RawValue>, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("line {}, column {}", error.line(), error.column()))
}

/// Where a value that was read from a text stands in it.
fn place_of(raw: &RawValue, text: &str) -> Range<usize> {
    let start = raw.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + raw.get().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asia() -> RegionId {
        RegionId::parse("smp-asia").unwrap()
    }

    fn new_key() -> Key {
        Key {
            keyid: "smp-asia-2".to_owned(),
            secret: "new".to_owned(),
        }
    }

    #[test]
    fn one_regions_key_is_changed_and_nothing_else() {
        let text = "{\n  \"OPS_TOKENS\" : \"[ ]\",\n\t\"HOP_SECRETS\": \"{ \\\"smp-china\\\": {\\\"keyid\\\":\
                    \\\"smp-china-1\\\",\\\"secret\\\":\\\"c\\\"},  \\\"smp-asia\\\": {\\\"keyid\\\":\\\"smp-asia-1\\\", \
                    \\\"secret\\\":\\\"a\\\"} }\" ,\n  \"Đ\": \"\\u0111\"\n}\r\n";
        let found = key(text, &asia()).unwrap();
        assert_eq!((&*found.keyid, &*found.secret), ("smp-asia-1", "a"));
        let changed = with_key(text, &asia(), &new_key()).unwrap();
        let expected = text.replace(
            "{\\\"keyid\\\":\\\"smp-asia-1\\\", \\\"secret\\\":\\\"a\\\"}",
            "{\\\"keyid\\\":\\\"smp-asia-2\\\",\\\"secret\\\":\\\"new\\\"}",
        );
        assert_ne!(changed, text);
        assert_eq!(changed, expected);
    }

    #[test]
    fn a_mistake_is_named_and_no_secret_is_quoted() {
        for (text, expected) in [
            ("[1]", "a JSON object is expected"),
            ("{\"A\": \"topsecret\" x}", "line 1"),
            ("{}", "HOP_SECRETS: it is missing"),
            (
                "{\"HOP_SECRETS\": {\"topsecret\": 1}}",
                "a text that holds JSON",
            ),
            ("{\"HOP_SECRETS\": \"topsecret\"}", "within the text"),
            ("{\"HOP_SECRETS\": \"{}\"}", "it has no smp-asia"),
            (
                "{\"HOP_SECRETS\": \"{\\\"smp-asia\\\": {\\\"keyid\\\": \\\"topsecret\\\"}}\"}",
                "smp-asia has keyid and secret",
            ),
        ] {
            let mistake = with_key(text, &asia(), &new_key()).unwrap_err();
            assert!(mistake.text.contains(expected), "{text}: {mistake:?}");
            assert!(!mistake.text.contains("topsecret"), "{mistake:?}");
        }
    }
}
