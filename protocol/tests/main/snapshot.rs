//! The connections' document, sealed.

use proptest::prelude::*;
use protocol::UnixSeconds;
use protocol::connection::document::{Change, Document, entries_from_json, token_sha256};
use protocol::connection::snapshot::{
    InvalidSnapshotKeys, SNAPSHOT_LIMIT_BYTES, SnapshotError, SnapshotKeys, version_of,
};
use serde_json::json;

const NOW: UnixSeconds = UnixSeconds(1_780_000_000);
const NONCE: [u8; 12] = [9; 12];

fn keys(names_and_bytes: &[(&str, u8)]) -> SnapshotKeys {
    let texts: Vec<_> = names_and_bytes
        .iter()
        .map(|(name, byte)| SnapshotKeys::expose_key(name, &[*byte; 32]))
        .collect();
    SnapshotKeys::from_json(&json!(texts).to_string()).unwrap()
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
    let sealed = keys.seal(&document, NONCE).unwrap();
    assert!(keys.open(&sealed).unwrap() == document);
    let shown = String::from_utf8_lossy(&sealed);
    assert!(shown.contains("2026-11"), "the key's name");
    for hidden in ["whsec", "vn-main", "enforce", &token_sha256("token")[..8]] {
        assert!(!shown.contains(hidden), "{hidden}");
    }
    let connections = keys.open_connections(&sealed).unwrap();
    assert!(connections.find_by_token(b"token", NOW).is_some());
}

/// RFC 8439 §2.8, computed by another implementation: Node's `crypto`, `chacha20-poly1305`, key of 32 bytes
/// `01`, nonce of 12 bytes `09`, what stands before it as associated data, plaintext `[]`.
#[test]
fn the_form_is_the_one_that_is_described() {
    let keys = keys(&[("2026-11", 1)]);
    let document = Document {
        version: 7,
        changed_at: NOW.0,
        connections: Vec::new(),
    };
    let sealed = keys.seal(&document, NONCE).unwrap();
    assert_eq!(version_of(&sealed), Some(7));
    assert_eq!(
        crate::hex(&sealed),
        "010000000000000007000000006a18a50007323032362d3131090909090909090909090909d5d4d7179e484f945d263f5dd12607855ef3"
    );
}

#[test]
fn the_first_key_seals_and_each_opens() {
    let old = keys(&[("old", 1)]);
    let both = keys(&[("new", 2), ("old", 1)]);
    let new = keys(&[("new", 2)]);
    let document = document("secret");
    let by_old = old.seal(&document, NONCE).unwrap();
    let by_both = both.seal(&document, NONCE).unwrap();
    assert!(
        both.open(&by_old).is_ok() && both.open(&by_both).is_ok() && new.open(&by_both).is_ok()
    );
    assert_eq!(new.open(&by_old).err(), Some(SnapshotError::UnknownKey));
    let another = keys(&[("old", 3)]);
    assert_eq!(
        another.open(&by_old).err(),
        Some(SnapshotError::NotAuthentic)
    );
}

#[test]
fn a_snapshot_that_is_too_long_is_neither_made_nor_read() {
    let keys = keys(&[("k", 1)]);
    let mut document = document("secret");
    document.connections[0].secrets = vec!["s".repeat(SNAPSHOT_LIMIT_BYTES)];
    assert_eq!(
        keys.seal(&document, NONCE).err(),
        Some(SnapshotError::TooLarge)
    );
    let long = vec![1; SNAPSHOT_LIMIT_BYTES + 1];
    assert_eq!(keys.open(&long).err(), Some(SnapshotError::TooLarge));
}

#[test]
fn keys_of_another_form_are_refused_without_a_quotation() {
    let good = SnapshotKeys::expose_key("k1", &[1; 32]);
    assert!(SnapshotKeys::from_json(&json!([good]).to_string()).is_ok());
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
        let error = SnapshotKeys::from_json(&bad.to_string()).err();
        assert_eq!(error, Some(InvalidSnapshotKeys), "{bad}");
    }
    assert!(!format!("{:?}", keys(&[("k1", 1)])).contains("AQEB"));
}

proptest! {
    #[test]
    fn no_bytes_but_the_sealed_ones_are_opened(at in 0_usize..200, flip in 1_u8..=255) {
        let keys = keys(&[("2026-11", 1)]);
        let mut sealed = keys.seal(&document("secret"), NONCE).unwrap();
        let at = at % sealed.len();
        sealed[at] ^= flip;
        prop_assert!(keys.open(&sealed).is_err());
        prop_assert!(keys.open(&sealed[..at]).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(sealed in proptest::collection::vec(any::<u8>(), 0..80)) {
        let keys = keys(&[("k", 1)]);
        prop_assert!(keys.open(&sealed).is_err());
        let head = [&[1], &[0; 16][..], &[1, b'k'], &sealed].concat();
        prop_assert!(keys.open(&head).is_err());
    }
}
