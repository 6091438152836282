//! Pancake's signature.

use proptest::collection::vec;
use proptest::prelude::*;
use protocol::UnixSeconds;
use protocol::signature::{
    Body, HashedBody, Mode, Policy, RejectReason, SecretSet, SignedHeaders, SigningSecret,
    TOLERANCE_SECS, Verdict, admit, verify,
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{bytes_of, flipped, pancake_signature, secret_set};

const NOW: UnixSeconds = UnixSeconds(1_767_225_600);
const SECRET: &[u8] = b"pancake-test-secret-current";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    secrets: Vec<String>,
    mode: Mode,
    timestamp: Option<String>,
    signature: Option<String>,
    body_base64: String,
    now: u64,
    expected: String,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../vectors/signature.json")).unwrap()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The hashes of a long body, as the platform makes them.
fn hash(secrets: Option<&SecretSet>, timestamp: Option<&[u8]>, body: &[u8]) -> HashedBody {
    let mut inner = [[0; 32]; 2];
    let blocks = secrets.into_iter().flat_map(SecretSet::inner_blocks);
    for (place, block) in inner.iter_mut().zip(blocks) {
        *place = sha256(&[&block, timestamp.unwrap_or_default(), b".", body].concat());
    }
    HashedBody {
        sha256: sha256(body),
        inner,
    }
}

fn headers<'h>(timestamp: &'h str, signature: &'h str) -> SignedHeaders<'h> {
    SignedHeaders {
        timestamp: Some(timestamp.as_bytes()),
        signature: Some(signature.as_bytes()),
    }
}

fn policy(mode: Mode, secrets: SecretSet) -> Policy {
    match mode {
        Mode::Off => Policy::Off,
        Mode::Observe => Policy::Observe(secrets),
        Mode::Enforce => Policy::Enforce(secrets),
    }
}

#[test]
fn every_vector_of_openssl_is_judged_as_it_says() {
    let vectors = vectors();
    assert!(vectors.len() >= 45, "only {} vectors", vectors.len());
    let mut wrong = Vec::new();
    for vector in &vectors {
        let secrets: Vec<&[u8]> = vector.secrets.iter().map(String::as_bytes).collect();
        let body = bytes_of(&vector.body_base64);
        let headers = SignedHeaders {
            timestamp: vector.timestamp.as_deref().map(str::as_bytes),
            signature: vector.signature.as_deref().map(str::as_bytes),
        };
        let now = UnixSeconds(vector.now);
        let policy = policy(vector.mode, secret_set(&secrets));
        let hashed = hash(policy.secrets(), headers.timestamp, &body);
        for body_as in [Body::Bytes(&body), Body::Hashed(&hashed)] {
            let judged = match admit(&policy, headers, body_as, now) {
                Ok(admitted) => {
                    assert_eq!(admitted.body_sha256(), sha256(&body), "{}", vector.name);
                    admitted.verdict().as_str().to_owned()
                }
                Err(reason) => reason.to_string(),
            };
            if judged != vector.expected {
                wrong.push(format!(
                    "{}: {judged}, not {}",
                    vector.name, vector.expected
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_outcome_has_a_vector() {
    let vectors = vectors();
    for expected in [
        "verified",
        "unsigned",
        "stale",
        "invalid",
        "timestamp_out_of_window",
        "hmac_invalid",
    ] {
        assert!(vectors.iter().any(|vector| vector.expected == expected));
    }
}

#[test]
fn observe_refuses_nothing_and_names_what_enforce_would_refuse() {
    for vector in vectors()
        .iter()
        .filter(|vector| vector.mode == Mode::Enforce)
    {
        let secrets: Vec<&[u8]> = vector.secrets.iter().map(String::as_bytes).collect();
        let body = bytes_of(&vector.body_base64);
        let headers = SignedHeaders {
            timestamp: vector.timestamp.as_deref().map(str::as_bytes),
            signature: vector.signature.as_deref().map(str::as_bytes),
        };
        let now = UnixSeconds(vector.now);
        let observed = admit(&Policy::Observe(secret_set(&secrets)), headers, &body, now);
        let expected = match vector.expected.as_str() {
            "timestamp_out_of_window" => Verdict::Stale,
            "hmac_invalid" => Verdict::Invalid,
            _ => Verdict::Verified,
        };
        assert_eq!(observed.unwrap().verdict(), expected, "{}", vector.name);
        let off = admit(&Policy::Off, headers, &body, now);
        assert_eq!(off.unwrap().verdict(), Verdict::Unsigned, "{}", vector.name);
    }
}

#[test]
fn a_body_of_one_mebibyte_is_verified() {
    let body: Vec<u8> = (0..=u8::MAX)
        .cycle()
        .take(protocol::BODY_LIMIT_BYTES)
        .collect();
    let signature = pancake_signature(SECRET, "1767225600", &body);
    let secrets = secret_set(&[SECRET]);
    let headers = headers("1767225600", &signature);
    assert!(verify(&secrets, headers, &body, NOW).is_ok());
    let tampered = flipped(&body, body.len() * 8 - 1);
    assert_eq!(
        verify(&secrets, headers, &tampered, NOW).unwrap_err(),
        RejectReason::HmacInvalid
    );
}

#[test]
fn any_bit_flipped_in_the_timestamp_is_refused() {
    for timestamp in ["1767225600", "0000000001767225600"] {
        let signature = pancake_signature(SECRET, timestamp, b"{}");
        for bit in 0..timestamp.len() * 8 {
            let timestamp = flipped(timestamp.as_bytes(), bit);
            let headers = SignedHeaders {
                timestamp: Some(&timestamp),
                signature: Some(signature.as_bytes()),
            };
            let secrets = secret_set(&[SECRET]);
            assert!(verify(&secrets, headers, b"{}", NOW).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn any_bit_flipped_in_the_signature_is_refused_but_for_a_letters_case() {
    let signature = pancake_signature(SECRET, "1767225600", b"{}");
    let mut other_case = 0;
    for bit in 0..signature.len() * 8 {
        let flipped = flipped(signature.as_bytes(), bit);
        let is_same_hex = flipped.eq_ignore_ascii_case(signature.as_bytes());
        other_case += usize::from(is_same_hex);
        let headers = SignedHeaders {
            timestamp: Some(b"1767225600"),
            signature: Some(&flipped),
        };
        let verified = verify(&secret_set(&[SECRET]), headers, b"{}", NOW);
        assert_eq!(verified.is_ok(), is_same_hex, "bit {bit}");
    }
    let letters = signature.bytes().filter(u8::is_ascii_alphabetic).count();
    assert_eq!(other_case, letters);
}

#[test]
fn moments_at_either_end_of_the_clock_are_compared_without_overflow() {
    let secrets = secret_set(&[SECRET]);
    let fresh = |timestamp: &str, now| {
        let signature = pancake_signature(SECRET, timestamp, b"");
        verify(
            &secrets,
            headers(timestamp, &signature),
            b"",
            UnixSeconds(now),
        )
        .is_ok()
    };
    assert!(fresh("0", 300));
    assert!(!fresh("0", 301));
    assert!(fresh("300", 0));
    assert!(!fresh("301", 0));
    assert!(!fresh("0", u64::MAX));
    assert!(!fresh("9999999999999999999", 0));
    assert!(!fresh("9999999999999999999", u64::MAX));
    assert!(fresh("9999999999999999999", 9_999_999_999_999_999_999));
}

#[test]
fn an_empty_secret_is_no_secret() {
    assert!(SigningSecret::new(b"").is_none());
}

#[test]
fn debug_output_of_secrets_shows_nothing_of_them() {
    let secret = SigningSecret::new(b"swordfish").unwrap();
    assert_eq!(format!("{secret:?}"), "SigningSecret(redacted)");
    assert_eq!(format!("{secret:#?}"), "SigningSecret(redacted)");
    let set = secret_set(&[b"swordfish", b"marlin"]);
    for shown in [
        format!("{set:?}"),
        format!("{:?}", Policy::Observe(set.clone())),
        format!("{:?}", Policy::Enforce(set)),
    ] {
        // HMAC's keyed state would show as numbers.
        let has_digit = shown.bytes().any(|byte| byte.is_ascii_digit());
        assert!(!has_digit && !shown.contains("swordfish") && !shown.contains("marlin"));
    }
}

#[test]
fn each_verdict_is_read_back_from_its_name_alone() {
    for verdict in Verdict::ALL {
        assert_eq!(verdict.as_str().parse(), Ok(verdict));
        assert!(verdict.as_str().to_uppercase().parse::<Verdict>().is_err());
        assert!(format!("{} ", verdict.as_str()).parse::<Verdict>().is_err());
        let json = format!("\"{}\"", verdict.as_str());
        assert_eq!(serde_json::to_string(&verdict).unwrap(), json);
    }
    assert!("".parse::<Verdict>().is_err());
}

proptest! {
    #[test]
    fn what_was_signed_is_verified_for_any_secret_body_and_time(
        secret in vec(any::<u8>(), 1..200),
        previous in vec(any::<u8>(), 1..200),
        body in vec(any::<u8>(), 0..2000),
        now in 0..10_000_000_000_u64,
        leading_zeros in 0..9_usize,
    ) {
        let timestamp = format!("{}{now}", "0".repeat(leading_zeros));
        let signature = pancake_signature(&secret, &timestamp, &body);
        let secrets: [&[&[u8]]; 3] = [&[&secret], &[&secret, &previous], &[&previous, &secret]];
        for secrets in secrets {
            let set = secret_set(secrets);
            let hashed = hash(Some(&set), Some(timestamp.as_bytes()), &body);
            let signed = headers(&timestamp, &signature);
            prop_assert!(verify(&set, signed, Body::Hashed(&hashed), UnixSeconds(now)).is_ok());
            let other = hash(Some(&set), Some(timestamp.as_bytes()), &[&body[..], b"."].concat());
            prop_assert!(verify(&set, signed, Body::Hashed(&other), UnixSeconds(now)).is_err());
            let policy = Policy::Enforce(secret_set(secrets));
            let headers = headers(&timestamp, &signature);
            let admitted = admit(&policy, headers, &body, UnixSeconds(now)).unwrap();
            prop_assert_eq!(admitted.verdict(), Verdict::Verified);
            prop_assert_eq!(admitted.body_sha256(), sha256(&body));
        }
    }

    #[test]
    fn another_secret_is_refused(
        secret in vec(any::<u8>(), 1..64),
        other in vec(any::<u8>(), 1..64),
        body in vec(any::<u8>(), 0..100),
    ) {
        // HMAC fills a short key up with zeros (RFC 2104 §2): these would be the same key.
        let filled = |key: &[u8]| [key, &[0; 64][key.len()..]].concat();
        prop_assume!(filled(&secret) != filled(&other));
        let signature = pancake_signature(&secret, "1767225600", &body);
        let verified = verify(&secret_set(&[&other]), headers("1767225600", &signature), &body, NOW);
        prop_assert_eq!(verified.unwrap_err(), RejectReason::HmacInvalid);
    }

    #[test]
    fn any_bit_flipped_in_the_body_is_refused(
        body in vec(any::<u8>(), 1..500),
        bit in any::<prop::sample::Index>(),
    ) {
        let signature = pancake_signature(SECRET, "1767225600", &body);
        let body = flipped(&body, bit.index(body.len() * 8));
        let verified = verify(&secret_set(&[SECRET]), headers("1767225600", &signature), &body, NOW);
        prop_assert_eq!(verified.unwrap_err(), RejectReason::HmacInvalid);
    }

    #[test]
    fn the_window_is_300_seconds_either_way_at_any_time(
        now in 301..9_999_999_999_999_999_000_u64,
        distance in prop_oneof![Just(299_u64), Just(300), Just(301), 0..1000_u64],
        ahead: bool,
    ) {
        let timestamp = if ahead { Some(now + distance) } else { now.checked_sub(distance) };
        prop_assume!(timestamp.is_some());
        let timestamp = timestamp.unwrap().to_string();
        let signature = pancake_signature(SECRET, &timestamp, b"{}");
        let secrets = secret_set(&[SECRET]);
        let verified = verify(&secrets, headers(&timestamp, &signature), b"{}", UnixSeconds(now));
        if distance <= TOLERANCE_SECS {
            prop_assert!(verified.is_ok());
        } else {
            prop_assert_eq!(verified.unwrap_err(), RejectReason::TimestampOutOfWindow);
        }
    }

    #[test]
    fn arbitrary_headers_never_panic_and_are_never_verified(
        timestamp in prop::option::of(prop_oneof![
            vec(any::<u8>(), 0..30),
            Just(b"1767225600".to_vec()),
            "[0-9]{0,25}".prop_map(String::into_bytes),
        ]),
        signature in prop::option::of(prop_oneof![
            vec(any::<u8>(), 0..70),
            "[0-9a-fA-F]{62,66}".prop_map(String::into_bytes),
        ]),
        body in vec(any::<u8>(), 0..50),
        now: u64,
    ) {
        let headers = SignedHeaders {
            timestamp: timestamp.as_deref(),
            signature: signature.as_deref(),
        };
        let secrets = secret_set(&[SECRET, b"other"]);
        for now in [UnixSeconds(now), NOW] {
            let reason = verify(&secrets, headers, &body, now).unwrap_err();
            prop_assert_eq!(
                admit(&Policy::Enforce(secrets.clone()), headers, &body, now).unwrap_err(),
                reason
            );
            let observed = admit(&Policy::Observe(secrets.clone()), headers, &body, now).unwrap();
            prop_assert_ne!(observed.verdict(), Verdict::Verified);
            let off = admit(&Policy::Off, headers, &body, now).unwrap();
            prop_assert_eq!(off.verdict(), Verdict::Unsigned);
        }
    }

    #[test]
    fn a_timestamp_is_read_exactly_if_it_is_1_to_19_ascii_digits(
        timestamp in prop_oneof!["[0-9]{0,22}", "[0-9 .+-]{1,12}", "\\PC{0,12}"],
    ) {
        let is_number = (1..=19).contains(&timestamp.len())
            && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        // At the very second that an independent reading gives, if it gives one.
        let now = UnixSeconds(timestamp.parse().unwrap_or(0));
        let signature = pancake_signature(SECRET, &timestamp, b"{}");
        let verified = verify(&secret_set(&[SECRET]), headers(&timestamp, &signature), b"{}", now);
        prop_assert_eq!(verified.is_ok(), is_number);
    }
}
