//! Secrets at rest, and the connections' document as one of them.

use proptest::prelude::*;
use protocol::UnixSeconds;
use protocol::at_rest::{AtRestError, AtRestKeys, InvalidAtRestKeys};
use protocol::connection::document::{Change, Document, entries_from_json};
use protocol::connection::snapshot::{
    SNAPSHOT_LIMIT_BYTES, open, open_connections, seal, version_of,
};
use protocol::token_sha256;
use serde_json::json;

const NOW: UnixSeconds = UnixSeconds(1_780_000_000);
const NONCE: [u8; 12] = [9; 12];

fn keys(names_and_bytes: &[(&str, u8)]) -> AtRestKeys {
    let texts: Vec<_> = names_and_bytes
        .iter()
        .map(|(name, byte)| AtRestKeys::expose_key(name, &[*byte; 32]))
        .collect();
    AtRestKeys::from_json(&json!(texts).to_string()).unwrap()
}

fn document(secret: &str) -> Document {
    let entry = json!([{
        "id": "vn-main", "token_sha256": token_sha256("token"), "country": "VN", "mode": "enforce",
        "secrets": [secret],
    }]);
    let entries = entries_from_json(&entry.to_string()).unwrap();
    Document::default()
        .apply(Change::Add(entries), NOW)
        .unwrap()
}

#[test]
fn a_document_comes_back_as_it_was_and_nothing_of_it_can_be_read_on_the_way() {
    let keys = keys(&[("2026-11", 1)]);
    let document = document("whsec-QL-current");
    let sealed = seal(&keys, &document, NONCE).unwrap();
    assert!(open(&keys, &sealed).unwrap() == document);
    let shown = String::from_utf8_lossy(&sealed);
    assert!(shown.contains("2026-11"), "the key's name");
    for hidden in ["whsec", "vn-main", "enforce", &token_sha256("token")[..8]] {
        assert!(!shown.contains(hidden), "{hidden}");
    }
    let connections = open_connections(&keys, &sealed).unwrap();
    assert!(connections.find_by_token(b"token", NOW).is_some());
}

/// RFC 8439 §2.8, computed by another implementation: Node's `crypto`, `chacha20-poly1305`, key of 32 bytes
/// `01`, nonce of 12 bytes `09`, plaintext `[]`.
#[test]
fn the_form_is_the_one_that_is_described() {
    let keys = keys(&[("2026-11", 1)]);
    let document = Document {
        version: 7,
        changed_at: NOW.0,
        connections: Vec::new(),
    };
    let sealed = seal(&keys, &document, NONCE).unwrap();
    assert_eq!(version_of(&sealed), Some(7));
    assert_eq!(
        crate::hex(&sealed),
        "0000000000000007000000006a18a5000107323032362d3131090909090909090909090909d5d49f52075d2f7bf21e60e08c9829f31fe6"
    );
}

#[test]
fn what_was_sealed_for_one_place_does_not_open_in_another() {
    let keys = keys(&[("2026-11", 1)]);
    let sealed = keys.seal(b"VN/vn-main", b"key", NONCE).unwrap();
    assert_eq!(keys.open(b"VN/vn-main", &sealed).unwrap(), b"key");
    let elsewhere = keys.open(b"CN/vn-main", &sealed);
    assert_eq!(elsewhere, Err(AtRestError::NotAuthentic));
}

#[test]
fn it_can_be_told_what_has_to_be_sealed_anew() {
    let (old, both) = (keys(&[("old", 1)]), keys(&[("new", 2), ("old", 1)]));
    let sealed = old.seal(b"", b"key", NONCE).unwrap();
    assert!(old.is_current(&sealed) && !both.is_current(&sealed));
    assert!(both.is_current(&both.seal(b"", b"key", NONCE).unwrap()));
    assert!(!both.is_current(b"") && !both.is_current(&[1, 3, b'n', b'e']));
}

#[test]
fn the_first_key_seals_and_each_opens() {
    let old = keys(&[("old", 1)]);
    let both = keys(&[("new", 2), ("old", 1)]);
    let new = keys(&[("new", 2)]);
    let document = document("secret");
    let by_old = seal(&old, &document, NONCE).unwrap();
    let by_both = seal(&both, &document, NONCE).unwrap();
    assert!(
        open(&both, &by_old).is_ok()
            && open(&both, &by_both).is_ok()
            && open(&new, &by_both).is_ok()
    );
    assert_eq!(open(&new, &by_old).err(), Some(AtRestError::UnknownKey));
    let another = keys(&[("old", 3)]);
    assert_eq!(
        open(&another, &by_old).err(),
        Some(AtRestError::NotAuthentic)
    );
}

#[test]
fn a_snapshot_that_is_too_long_is_neither_made_nor_read() {
    let keys = keys(&[("k", 1)]);
    let mut document = document("secret");
    document.connections[0].secrets = vec!["s".repeat(SNAPSHOT_LIMIT_BYTES)];
    assert_eq!(
        seal(&keys, &document, NONCE).err(),
        Some(AtRestError::TooLarge)
    );
    let long = vec![1; SNAPSHOT_LIMIT_BYTES + 1];
    assert_eq!(open(&keys, &long).err(), Some(AtRestError::TooLarge));
}

#[test]
fn keys_of_another_form_are_refused_without_a_quotation() {
    let good = AtRestKeys::expose_key("k1", &[1; 32]);
    assert!(AtRestKeys::from_json(&json!([good]).to_string()).is_ok());
    for bad in [
        json!([]),
        json!({}),
        json!([good, good]),
        json!([good.replace("k1", "K1")]),
        json!([good.replace("k1", "")]),
        json!([good.replace(':', "")]),
        json!([good.replace('=', "")]),
        json!([format!("{good}A")]),
        json!(good),
    ] {
        let error = AtRestKeys::from_json(&bad.to_string()).err();
        assert_eq!(error, Some(InvalidAtRestKeys), "{bad}");
    }
    assert!(!format!("{:?}", keys(&[("k1", 1)])).contains("AQEB"));
}

proptest! {
    #[test]
    fn no_bytes_but_the_sealed_ones_are_opened(at in 0_usize..200, flip in 1_u8..=255) {
        let keys = keys(&[("2026-11", 1)]);
        let mut sealed = seal(&keys, &document("secret"), NONCE).unwrap();
        let at = at % sealed.len();
        sealed[at] ^= flip;
        prop_assert!(open(&keys, &sealed).is_err());
        prop_assert!(open(&keys, &sealed[..at]).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(sealed in proptest::collection::vec(any::<u8>(), 0..80)) {
        let keys = keys(&[("k", 1)]);
        prop_assert!(open(&keys, &sealed).is_err());
        let head = [&[0; 16][..], &[1, 1, b'k'], &sealed].concat();
        prop_assert!(open(&keys, &head).is_err());
    }
}
