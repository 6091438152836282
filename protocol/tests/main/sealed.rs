//! Records that wait at the edge: the seal, the hop inside of it, and the hop around it.

use proptest::prelude::*;
use protocol::connection::ConnectionId;
use protocol::hop::{
    self, CONTENT_DIGEST, Destination, HopError, HopKey, HopKeys, REGION, ReceivedHeaders,
    RecordSigner, SEALED_RECORDS_PATH, SIGNATURE, SIGNATURE_INPUT, Target, sign_sealed,
    verify_sealed,
};
use protocol::sealed::{
    InvalidSealingKey, OpenError, OpeningKey, SEALED_LIMIT_BYTES, SealError, SealedHop, SealingKey,
    open, seal,
};
use protocol::signature::{Policy, SignedHeaders, admit};
use protocol::{BODY_LIMIT_BYTES, RegionId, UnixSeconds};

use crate::flipped;

const NOW: UnixSeconds = UnixSeconds(1_780_000_000);
const BODY: &[u8] =
    r#"{"id":"7e0a6f0e-1111-4222-8333-944455556666","name":"Nguyễn Văn A"}"#.as_bytes();
const TARGET: Target<'static> = Target {
    method: "POST",
    path: SEALED_RECORDS_PATH,
    query: None,
};

fn opening_key(keyid: &str, seed: u8) -> OpeningKey {
    OpeningKey::derive(keyid, &[seed; 32]).unwrap()
}

fn hop_key(keyid: &str, secret: u8) -> HopKey {
    HopKey::new(keyid, &[secret; 32]).unwrap()
}

/// The hop of `body`, signed as the edge signs.
fn signed_hop(key: &HopKey, body: &[u8]) -> SealedHop {
    let connection = ConnectionId::parse("vn-main").unwrap();
    let region = RegionId::parse("smp-asia").unwrap();
    let destination = Destination {
        country: "VN".parse().unwrap(),
        region: &region,
        route_version: 7,
    };
    let signer = RecordSigner::new(key, destination, &connection);
    let admitted = admit(&Policy::Off, SignedHeaders::default(), body, NOW).unwrap();
    let signature = signer.sign(&admitted, NOW);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (until_created, after_created) = signer.signature_input_around_created();
    SealedHop {
        country: "VN".to_owned(),
        region: "smp-asia".to_owned(),
        connection: "vn-main".to_owned(),
        verdict: "unsigned".to_owned(),
        route_version: "7".to_owned(),
        content_digest: format!("sha-256=:{}:", text(&signature.body_sha256)),
        signature_input: format!("{until_created}{}{after_created}", NOW.0),
        signature: format!("smp=:{}:", text(&signature.signature)),
        created_ms: 250,
    }
}

fn sealed(body: &[u8]) -> Vec<u8> {
    let hop = signed_hop(&hop_key("asia-1", 1), body);
    seal(
        &opening_key("asia-1", 9).sealing_key(),
        &hop,
        body,
        &[3; 32],
    )
    .unwrap()
}

#[test]
fn what_was_sealed_comes_out_as_it_was_and_its_hop_is_believed_however_long_it_waited() {
    let opened = open(&[opening_key("asia-1", 9)], &sealed(BODY)).unwrap();
    assert_eq!(opened.body, BODY);
    let record = opened.verify(&[hop_key("asia-1", 1)]).unwrap();
    assert_eq!(record.country.as_str(), "VN");
    assert_eq!(record.connection.as_str(), "vn-main");
    assert_eq!(record.route_version, 7);
    assert_eq!(record.signature_input, opened.hop.signature_input);
}

#[test]
fn nothing_of_it_can_be_read_from_outside() {
    let sealed = sealed(BODY);
    for secret in ["Nguy", "vn-main", "7e0a6f0e", "smp-asia", "unsigned"] {
        let is_there = sealed
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!is_there, "{secret}");
    }
}

#[test]
fn each_sealing_needs_randomness_of_its_own() {
    let hop = signed_hop(&hop_key("asia-1", 1), BODY);
    let key = opening_key("asia-1", 9).sealing_key();
    let one = seal(&key, &hop, BODY, &[3; 32]).unwrap();
    let other = seal(&key, &hop, BODY, &[4; 32]).unwrap();
    assert_eq!(one.len(), other.len());
    // Version, name and length are the same; of the rest as much as chance allows.
    let same = one.iter().zip(&other).filter(|(a, b)| a == b).count();
    assert!(
        same < one.len() / 8,
        "{same} of {} bytes are equal",
        one.len()
    );
}

#[test]
fn a_hop_that_was_sealed_by_somebody_else_is_not_believed() {
    let somebody = signed_hop(&hop_key("asia-1", 2), BODY);
    let key = opening_key("asia-1", 9);
    let forged = seal(&key.sealing_key(), &somebody, BODY, &[3; 32]).unwrap();
    let opened = open(&[key], &forged).unwrap();
    let refused = |keys: &[HopKey]| opened.verify(keys).unwrap_err();
    assert_eq!(refused(&[hop_key("asia-1", 1)]), HopError::WrongSignature);
    assert_eq!(refused(&[hop_key("asia-2", 2)]), HopError::UnknownKey);
    assert_eq!(refused(&[]), HopError::UnknownKey);
    // The name was used again: the right one of both is found.
    assert!(
        opened
            .verify(&[hop_key("asia-1", 1), hop_key("asia-1", 2)])
            .is_ok()
    );
}

#[test]
fn a_body_that_is_not_the_signed_one_is_not_believed() {
    let hop = signed_hop(&hop_key("asia-1", 1), BODY);
    let key = opening_key("asia-1", 9);
    let other = seal(&key.sealing_key(), &hop, b"{}", &[3; 32]).unwrap();
    let opened = open(&[key], &other).unwrap();
    assert_eq!(
        opened.verify(&[hop_key("asia-1", 1)]),
        Err(HopError::WrongDigest)
    );
}

#[test]
fn only_the_named_key_opens_it() {
    let sealed = sealed(BODY);
    let refused = |keys: &[OpeningKey]| open(keys, &sealed).unwrap_err();
    assert_eq!(refused(&[]), OpenError::UnknownKey);
    assert_eq!(refused(&[opening_key("asia-2", 9)]), OpenError::UnknownKey);
    assert_eq!(refused(&[opening_key("asia-1", 8)]), OpenError::Broken);
    // A rotation that used the name again.
    let both = [opening_key("asia-1", 8), opening_key("asia-1", 9)];
    assert_eq!(open(&both, &sealed).unwrap().body, BODY);
}

#[test]
fn bodies_up_to_the_limit_are_sealed_and_none_beyond() {
    let key = opening_key("asia-1", 9);
    let longest = vec![0xff; BODY_LIMIT_BYTES];
    let whole = sealed(&longest);
    assert!(whole.len() <= SEALED_LIMIT_BYTES);
    assert_eq!(
        open(std::slice::from_ref(&key), &whole).unwrap().body,
        longest
    );
    let empty = sealed(b"");
    assert_eq!(open(std::slice::from_ref(&key), &empty).unwrap().body, b"");

    let hop = signed_hop(&hop_key("asia-1", 1), b"");
    let over = vec![0; BODY_LIMIT_BYTES + 1];
    let refused = seal(&key.sealing_key(), &hop, &over, &[3; 32]);
    assert_eq!(refused, Err(SealError::TooLarge));
    let too_long = vec![0; SEALED_LIMIT_BYTES + 1];
    assert_eq!(open(&[key], &too_long), Err(OpenError::Malformed));
}

#[test]
fn a_key_of_small_order_seals_nothing() {
    // All zeros: the shared secret would be known to everybody (RFC 7748, 6.1).
    let zeros = SealingKey::parse("k:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    let hop = signed_hop(&hop_key("asia-1", 1), BODY);
    assert_eq!(seal(&zeros, &hop, BODY, &[3; 32]), Err(SealError::Key));
}

#[test]
fn keys_are_a_name_and_32_bytes_in_base64() {
    let key = opening_key("asia-1", 9);
    let public = key.sealing_key().to_string();
    assert_eq!(SealingKey::parse(&public).unwrap(), key.sealing_key());
    let again = OpeningKey::parse(&key.expose()).unwrap();
    assert_eq!(again.sealing_key(), key.sealing_key());
    for text in ["", "asia-1", "asia-1:", "asia-1:AAAA", "asia-1:not base64"] {
        assert_eq!(
            SealingKey::parse(text),
            Err(InvalidSealingKey::Form),
            "{text}"
        );
    }
    let named = public.replace("asia-1", "Asia 1");
    assert_eq!(SealingKey::parse(&named), Err(InvalidSealingKey::Keyid));
}

#[test]
fn debug_output_shows_no_private_key() {
    let key = opening_key("asia-1", 9);
    assert_eq!(format!("{key:?}"), "OpeningKey(asia-1, redacted)");
    let (_, secret) = key
        .expose()
        .split_once(':')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert!(!format!("{:?}", key.sealing_key()).contains(&secret));
}

fn received<'a>(headers: &'a [(&'static str, String)]) -> ReceivedHeaders<'a> {
    let find = |name: &str| -> Option<&'a str> {
        let (_, value) = headers.iter().find(|(known, _)| *known == name)?;
        Some(value)
    };
    ReceivedHeaders {
        region: find(REGION),
        content_digest: find(CONTENT_DIGEST),
        signature_input: find(SIGNATURE_INPUT),
        signature: find(SIGNATURE),
        ..ReceivedHeaders::default()
    }
}

#[test]
fn the_way_to_the_core_is_signed_over_region_and_content() {
    let key = hop_key("asia-1", 1);
    let keys = HopKeys::new(vec![key.clone()]).unwrap();
    let region = RegionId::parse("smp-asia").unwrap();
    let sealed = sealed(BODY);
    let headers = sign_sealed(&key, &region, &sealed, NOW);
    let verify = |headers: &[(&'static str, String)], content: &[u8], now: u64| {
        verify_sealed(&keys, TARGET, received(headers), content, UnixSeconds(now))
    };
    assert_eq!(verify(&headers, &sealed, NOW.0 + 60), Ok(region));
    assert_eq!(verify(&headers, &sealed, NOW.0 + 61), Err(HopError::Stale));
    assert_eq!(
        verify(&headers, &flipped(&sealed, 77), NOW.0),
        Err(HopError::WrongDigest)
    );
    let mut elsewhere = headers.clone();
    elsewhere[0].1 = "smp-china".to_owned();
    assert_eq!(
        verify(&elsewhere, &sealed, NOW.0),
        Err(HopError::WrongSignature)
    );
    // It does not pass for a record, nor for anything on another path.
    let other_path = Target {
        path: "/v1/pancake/vn-main/records",
        ..TARGET
    };
    assert_eq!(
        verify_sealed(&keys, other_path, received(&headers), &sealed, NOW),
        Err(HopError::WrongSignature)
    );
    assert!(hop::verify_record(&keys, TARGET, received(&headers), &sealed, NOW).is_err());
}

proptest! {
    #[test]
    fn any_body_comes_out_as_it_went_in(body in prop::collection::vec(any::<u8>(), 0..4096)) {
        let opened = open(&[opening_key("asia-1", 9)], &sealed(&body)).unwrap();
        prop_assert_eq!(&opened.body, &body);
        prop_assert!(opened.verify(&[hop_key("asia-1", 1)]).is_ok());
    }

    #[test]
    fn whatever_is_changed_is_noticed(bit in 0..8 * 200_usize) {
        let sealed = sealed(BODY);
        let changed = flipped(&sealed, bit % (sealed.len() * 8));
        prop_assert!(open(&[opening_key("asia-1", 9)], &changed).is_err());
    }

    #[test]
    fn whatever_is_cut_off_is_noticed(cut in 1..2000_usize) {
        let sealed = sealed(BODY);
        let rest = &sealed[..sealed.len().saturating_sub(cut)];
        prop_assert!(open(&[opening_key("asia-1", 9)], rest).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(open(&[opening_key("asia-1", 9)], &bytes).is_err());
        let mut named = b"\x01\x06asia-1".to_vec();
        named.extend(&bytes);
        prop_assert!(open(&[opening_key("asia-1", 9)], &named).is_err());
    }
}
