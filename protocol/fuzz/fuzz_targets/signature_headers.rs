//! Pancake's two headers and its body: never a panic, nothing verified without the secret, and the
//! three modes agree. Lines: timestamp, signature, body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::UnixSeconds;
use protocol::signature::{
    Policy, RejectReason, SecretSet, SignedHeaders, SigningSecret, Verdict, admit, verify,
};

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let headers = SignedHeaders {
        timestamp: parts.next().filter(|value| !value.starts_with(b"-")),
        signature: parts.next().filter(|value| !value.starts_with(b"-")),
    };
    let body = parts.next().unwrap_or_default();
    let secret = |text: &[u8]| SigningSecret::new(text).unwrap();
    let secrets = SecretSet::new(secret(b"unknown to the fuzzer"), Some(secret(b"this too")));

    // The second that the timestamp names, if it is one, so that the signature is judged too.
    let named = headers
        .timestamp
        .filter(|text| (1..=19).contains(&text.len()) && text.iter().all(u8::is_ascii_digit))
        .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    let now = UnixSeconds(named.unwrap_or(1_767_225_600));
    let reason = verify(&secrets, headers, body, now).unwrap_err();
    let expected = if named.is_some() {
        RejectReason::HmacInvalid
    } else {
        RejectReason::TimestampOutOfWindow
    };
    assert_eq!(reason, expected);

    let enforced = admit(&Policy::Enforce(secrets.clone()), headers, body, now);
    assert_eq!(enforced.unwrap_err(), reason);
    let observed = admit(&Policy::Observe(secrets), headers, body, now).unwrap();
    let verdict = if named.is_some() {
        Verdict::Invalid
    } else {
        Verdict::Stale
    };
    assert_eq!((observed.verdict(), observed.body()), (verdict, body));
    let off = admit(&Policy::Off, headers, body, now).unwrap();
    assert_eq!((off.verdict(), off.body()), (Verdict::Unsigned, body));
});
