//! What a core gets as a sealed record: never a panic, and nothing opened that was not sealed.
//! The input is read as it is, and once more behind a head that names a key which is there.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::sealed::{OpeningKey, SealedHop, open, seal};

fuzz_target!(|input: &[u8]| {
    let key = OpeningKey::derive("asia-1", b"32 bytes that a fuzzer can read.").unwrap();
    let keys = [key.clone()];
    assert!(open(&keys, input).is_err());
    let mut named = b"\x01\x06asia-1".to_vec();
    named.extend_from_slice(input);
    assert!(open(&keys, &named).is_err());

    let text = String::from_utf8_lossy(input).chars().take(100).collect::<String>();
    let hop = SealedHop {
        country: text.clone(),
        region: text.clone(),
        connection: text.clone(),
        verdict: text.clone(),
        route_version: text.clone(),
        content_digest: text.clone(),
        signature_input: text.clone(),
        signature: text,
        created_ms: 999,
    };
    // Control characters may make the hop too long for its line; then nothing is sealed.
    if let Ok(sealed) = seal(&key.sealing_key(), &hop, input, &[7; 32]) {
        let opened = open(&keys, &sealed).unwrap();
        assert_eq!((&opened.hop, opened.body.as_slice()), (&hop, input));
        assert!(opened.verify(&[]).is_err());
    }
});
