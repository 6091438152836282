//! The signed hop.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::connection::ConnectionId;
use protocol::hop::{
    CONNECTION, CONTENT_DIGEST, COUNTRY, Destination, HopError, HopKey, HopKeys, InvalidHopKey,
    REGION, ROUTE_VERSION, ReceivedHeaders, RecordSignature, RecordSigner, SECRET_MIN_BYTES,
    SIGNATURE, SIGNATURE_INPUT, Target, VERDICT, is_hop_header, record_path, sign_proxied,
    verify_proxied, verify_record,
};
use protocol::signature::{Policy, SignedHeaders, Verdict, admit};
use protocol::{Country, RegionId, UnixSeconds};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{bytes_of, flipped, hmac_sha256, pancake_signature, secret_set};

const NOW: u64 = 1_767_225_600;
const SECRET: &[u8] = b"asia-hop-test-secret-0123456789abcdef";
const OTHER_SECRET: &[u8] = b"china-hop-test-secret-0123456789abcdef";
const BODY: &[u8] = r#"{"name":"Nguyễn Thị Ánh Tuyết"}"#.as_bytes();
const HEADERS: [&str; 8] = [
    COUNTRY,
    REGION,
    CONNECTION,
    VERDICT,
    ROUTE_VERSION,
    CONTENT_DIGEST,
    SIGNATURE_INPUT,
    SIGNATURE,
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    records: Vec<RecordVector>,
    proxied: Vec<ProxiedVector>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordVector {
    name: String,
    keyid: String,
    secret: String,
    path: String,
    country: Country,
    region: RegionId,
    connection: String,
    verdict: Verdict,
    route_version: u32,
    created: u64,
    body_base64: String,
    content_digest: String,
    signature_input: String,
    signature: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxiedVector {
    name: String,
    keyid: String,
    secret: String,
    country: Country,
    region: RegionId,
    route_version: u32,
    created: u64,
    method: String,
    path: String,
    query: Option<String>,
    signature_input: String,
    signature: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/hop.json")).unwrap()
}

fn key(keyid: &str, secret: &[u8]) -> HopKey {
    HopKey::new(keyid, secret).unwrap()
}

fn keys(keys: &[(&str, &[u8])]) -> HopKeys {
    HopKeys::new(keys.iter().map(|(id, secret)| key(id, secret)).collect()).unwrap()
}

fn asia() -> RegionId {
    RegionId::parse("smp-asia").unwrap()
}

fn vn_main() -> ConnectionId {
    ConnectionId::parse("vn-main").unwrap()
}

fn destination(region: &RegionId) -> Destination<'_> {
    Destination {
        country: Country::parse("VN").unwrap(),
        region,
        route_version: 3,
    }
}

/// The headers of a hop by name, as they travel.
#[derive(Clone)]
struct Wire(Vec<(&'static str, Vec<u8>)>);

impl Wire {
    fn get(&self, name: &str) -> &[u8] {
        &self.0.iter().find(|(known, _)| *known == name).unwrap().1
    }

    fn text(&self, name: &str) -> &str {
        str::from_utf8(self.get(name)).unwrap()
    }

    /// With one value replaced, or removed if there is none.
    fn with(&self, name: &'static str, value: Option<&[u8]>) -> Self {
        let mut headers = self.0.clone();
        headers.retain(|(known, _)| *known != name);
        headers.extend(value.map(|value| (name, value.to_vec())));
        Self(headers)
    }

    /// As a core receives them: what is not ASCII is as good as absent.
    fn received(&self) -> ReceivedHeaders<'_> {
        let get = |name: &str| {
            let (_, value) = self.0.iter().find(|(known, _)| *known == name)?;
            str::from_utf8(value).ok().filter(|value| value.is_ascii())
        };
        ReceivedHeaders {
            country: get(COUNTRY),
            region: get(REGION),
            connection: get(CONNECTION),
            verdict: get(VERDICT),
            route_version: get(ROUTE_VERSION),
            content_digest: get(CONTENT_DIGEST),
            signature_input: get(SIGNATURE_INPUT),
            signature: get(SIGNATURE),
        }
    }
}

/// Signs a body that got this verdict.
fn sign_record(
    key: &HopKey,
    destination: Destination<'_>,
    connection: &ConnectionId,
    (verdict, body): (Verdict, &[u8]),
    created: u64,
) -> Wire {
    let secrets = secret_set(&[b"pancake"]);
    let now = UnixSeconds(created);
    let signature = pancake_signature(b"pancake", &created.to_string(), body);
    let timestamp = created.to_string();
    let (policy, timestamp, signature) = match verdict {
        Verdict::Verified => (
            Policy::Enforce(secrets),
            Some(timestamp.as_bytes()),
            Some(signature.as_bytes()),
        ),
        Verdict::Unsigned => (Policy::Off, None, None),
        Verdict::Stale => (Policy::Observe(secrets), None, None),
        Verdict::Invalid => (Policy::Observe(secrets), Some(timestamp.as_bytes()), None),
    };
    let headers = SignedHeaders {
        timestamp,
        signature,
    };
    let admitted = admit(&policy, headers, body, now).unwrap();
    assert_eq!(admitted.verdict(), verdict);
    let signer = RecordSigner::new(key, destination, connection);
    let RecordSignature {
        body_sha256,
        signature,
    } = signer.sign(&admitted, now);
    let (before, after) = signer.signature_input_around_created();
    let text = |base64: [u8; 44]| String::from_utf8(base64.to_vec()).unwrap();
    let mut headers: Vec<_> = signer
        .constant_headers(verdict)
        .map(|(name, value)| (name, value.as_bytes().to_vec()))
        .collect();
    headers.extend([
        (
            CONTENT_DIGEST,
            format!("sha-256=:{}:", text(body_sha256)).into_bytes(),
        ),
        (
            SIGNATURE_INPUT,
            format!("{before}{created}{after}").into_bytes(),
        ),
        (SIGNATURE, format!("smp=:{}:", text(signature)).into_bytes()),
    ]);
    Wire(headers)
}

fn proxied(key: &HopKey, destination: Destination<'_>, target: Target<'_>, created: u64) -> Wire {
    Wire(
        sign_proxied(key, destination, target, UnixSeconds(created))
            .into_iter()
            .map(|(name, value)| (name, value.into_bytes()))
            .collect(),
    )
}

const RECORD_TARGET: Target<'static> = Target {
    method: "POST",
    path: "/v1/pancake/vn-main/records",
    query: None,
};
const PROXIED_TARGET: Target<'static> = Target {
    method: "GET",
    path: "/api/tickets",
    query: Some("status=open&page=2"),
};

fn asia_key() -> HopKey {
    key("asia-1", SECRET)
}

fn asia_keys() -> HopKeys {
    keys(&[("asia-1", SECRET)])
}

fn record() -> Wire {
    sign_record(
        &asia_key(),
        destination(&asia()),
        &vn_main(),
        (Verdict::Verified, BODY),
        NOW,
    )
}

fn proxied_request() -> Wire {
    proxied(&asia_key(), destination(&asia()), PROXIED_TARGET, NOW)
}

/// What a core makes of a record in place of an error.
fn refusal_of_record(wire: &Wire) -> Option<HopError> {
    verify_record(
        &asia_keys(),
        RECORD_TARGET,
        wire.received(),
        BODY,
        UnixSeconds(NOW),
    )
    .err()
}

fn refusal_of_proxied(wire: &Wire) -> Option<HopError> {
    verify_proxied(
        &asia_keys(),
        PROXIED_TARGET,
        wire.received(),
        UnixSeconds(NOW),
    )
    .err()
}

/// Signs a base of our own making, as one who holds the key.
fn sealed(wire: &Wire, base: &str) -> Wire {
    let signature = BASE64.encode(hmac_sha256(SECRET, &[base.as_bytes()]));
    wire.with(SIGNATURE, Some(format!("smp=:{signature}:").as_bytes()))
}

fn record_base(wire: &Wire, params: &str) -> String {
    let mut base = String::from("\"@method\": POST\n\"@path\": /v1/pancake/vn-main/records\n");
    for name in [
        CONTENT_DIGEST,
        COUNTRY,
        REGION,
        CONNECTION,
        VERDICT,
        ROUTE_VERSION,
    ] {
        writeln!(base, "\"{name}\": {}", wire.text(name)).unwrap();
    }
    base + &format!("\"@signature-params\": {params}")
}

#[test]
fn a_record_is_signed_as_openssl_signs_it() {
    let vectors = vectors().records;
    assert!(!vectors.is_empty());
    for vector in vectors {
        let name = &vector.name;
        let connection = ConnectionId::parse(&vector.connection).unwrap();
        let key = key(&vector.keyid, vector.secret.as_bytes());
        let destination = Destination {
            country: vector.country,
            region: &vector.region,
            route_version: vector.route_version,
        };
        let body = bytes_of(&vector.body_base64);
        let wire = sign_record(
            &key,
            destination,
            &connection,
            (vector.verdict, &body),
            vector.created,
        );
        assert_eq!(record_path(&connection), vector.path, "{name}");
        assert_eq!(wire.text(CONTENT_DIGEST), vector.content_digest, "{name}");
        assert_eq!(wire.text(SIGNATURE_INPUT), vector.signature_input, "{name}");
        assert_eq!(wire.text(SIGNATURE), vector.signature, "{name}");

        let keys = HopKeys::new(vec![key]).unwrap();
        let target = Target {
            method: "POST",
            path: &vector.path,
            query: None,
        };
        let now = UnixSeconds(vector.created);
        let verified = verify_record(&keys, target, wire.received(), &body, now).unwrap();
        assert_eq!(verified.country, vector.country);
        assert_eq!(verified.region, vector.region);
        assert_eq!(verified.connection, connection);
        assert_eq!(verified.verdict, vector.verdict);
        assert_eq!(verified.route_version, vector.route_version);
        let body_sha256: [u8; 32] = Sha256::digest(&body).into();
        assert_eq!(verified.body_sha256, body_sha256);
        assert_eq!(verified.signature_input, vector.signature_input);
        assert_eq!(verified.signature, vector.signature);
    }
}

#[test]
fn a_proxied_request_is_signed_as_openssl_signs_it() {
    let vectors = vectors().proxied;
    assert!(vectors.iter().any(|vector| vector.query.is_some()));
    assert!(vectors.iter().any(|vector| vector.query.is_none()));
    for vector in vectors {
        let name = &vector.name;
        let key = key(&vector.keyid, vector.secret.as_bytes());
        let destination = Destination {
            country: vector.country,
            region: &vector.region,
            route_version: vector.route_version,
        };
        let target = Target {
            method: &vector.method,
            path: &vector.path,
            query: vector.query.as_deref(),
        };
        let wire = proxied(&key, destination, target, vector.created);
        assert_eq!(wire.text(SIGNATURE_INPUT), vector.signature_input, "{name}");
        assert_eq!(wire.text(SIGNATURE), vector.signature, "{name}");
        let keys = HopKeys::new(vec![key]).unwrap();
        let now = UnixSeconds(vector.created);
        let verified = verify_proxied(&keys, target, wire.received(), now).unwrap();
        assert_eq!(verified.country, vector.country);
        assert_eq!(verified.region, vector.region);
        assert_eq!(verified.route_version, vector.route_version);
    }
}

#[test]
fn an_empty_query_is_signed_like_none() {
    let key = asia_key();
    let region = asia();
    let with = |query| {
        let target = Target {
            query,
            ..PROXIED_TARGET
        };
        proxied(&key, destination(&region), target, NOW).0
    };
    assert_eq!(with(None), with(Some("")));
    assert_ne!(with(None), with(Some("?")));
}

#[test]
fn created_may_be_60_seconds_away_and_no_more() {
    let wire = record();
    let request = proxied_request();
    for (now, inside) in [
        (NOW - 61, false),
        (NOW - 60, true),
        (NOW, true),
        (NOW + 60, true),
        (NOW + 61, false),
        (0, false),
        (u64::MAX, false),
    ] {
        let expected = (!inside).then_some(HopError::Stale);
        let now = UnixSeconds(now);
        let keys = asia_keys();
        let record = verify_record(&keys, RECORD_TARGET, wire.received(), BODY, now).err();
        assert_eq!(record, expected, "{now:?}");
        let request = verify_proxied(&keys, PROXIED_TARGET, request.received(), now).err();
        assert_eq!(request, expected, "{now:?}");
    }
}

#[test]
fn each_missing_header_is_named() {
    let wire = record();
    assert_eq!(refusal_of_record(&wire), None);
    for name in HEADERS {
        let refusal = refusal_of_record(&wire.with(name, None));
        assert_eq!(refusal, Some(HopError::Missing(name)));
        assert_eq!(refusal.unwrap().to_string(), "header_missing");
    }
    let request = proxied_request();
    assert_eq!(refusal_of_proxied(&request), None);
    for name in [COUNTRY, REGION, ROUTE_VERSION, SIGNATURE_INPUT, SIGNATURE] {
        let refusal = refusal_of_proxied(&request.with(name, None));
        assert_eq!(refusal, Some(HopError::Missing(name)));
    }
}

#[test]
fn a_key_that_the_core_does_not_hold_is_unknown() {
    let keys = keys(&[("asia-2", SECRET)]);
    let now = UnixSeconds(NOW);
    let wire = record();
    assert_eq!(
        verify_record(&keys, RECORD_TARGET, wire.received(), BODY, now),
        Err(HopError::UnknownKey)
    );
    let wire = proxied_request();
    assert_eq!(
        verify_proxied(&keys, PROXIED_TARGET, wire.received(), now),
        Err(HopError::UnknownKey)
    );
}

#[test]
fn a_secret_under_the_name_of_another_is_wrong() {
    let keys = keys(&[("asia-1", OTHER_SECRET), ("asia-2", SECRET)]);
    let now = UnixSeconds(NOW);
    let wire = record();
    assert_eq!(
        verify_record(&keys, RECORD_TARGET, wire.received(), BODY, now),
        Err(HopError::WrongSignature)
    );
    let wire = proxied_request();
    assert_eq!(
        verify_proxied(&keys, PROXIED_TARGET, wire.received(), now),
        Err(HopError::WrongSignature)
    );
}

#[test]
fn either_of_two_live_keys_is_believed() {
    let both = keys(&[("asia-2", OTHER_SECRET), ("asia-1", SECRET)]);
    let region = asia();
    for key in [asia_key(), key("asia-2", OTHER_SECRET)] {
        let now = UnixSeconds(NOW);
        let wire = sign_record(
            &key,
            destination(&region),
            &vn_main(),
            (Verdict::Verified, BODY),
            NOW,
        );
        assert!(verify_record(&both, RECORD_TARGET, wire.received(), BODY, now).is_ok());
        let wire = proxied(&key, destination(&region), PROXIED_TARGET, NOW);
        assert!(verify_proxied(&both, PROXIED_TARGET, wire.received(), now).is_ok());
    }
}

#[test]
fn one_or_two_keys_of_different_names_are_a_set() {
    assert!(HopKeys::new(vec![]).is_err());
    assert!(HopKeys::new(vec![asia_key(), asia_key()]).is_err());
    let third = ["a", "b", "c"].map(|id| key(id, SECRET)).to_vec();
    assert!(HopKeys::new(third).is_err());
}

#[test]
fn a_key_needs_a_clean_name_and_a_secret_of_32_bytes() {
    for keyid in ["", "Asia", "a b", "a\"b", "a;b", "ä", &"k".repeat(65)] {
        let refused = HopKey::new(keyid, SECRET).unwrap_err();
        assert_eq!(refused, InvalidHopKey::Keyid, "{keyid:?}");
    }
    let secret = [b'7'; SECRET_MIN_BYTES];
    assert_eq!(HopKey::new("k", &secret).unwrap().keyid(), "k");
    let refused = HopKey::new("k", &secret[1..]).unwrap_err();
    assert!(!refused.to_string().contains("777"));
    assert!(!format!("{refused:?}").contains("777"));
}

#[test]
fn debug_output_of_keys_and_signers_shows_no_secret() {
    let key = asia_key();
    assert_eq!(format!("{key:?}"), "HopKey(asia-1, redacted)");
    let shown = format!("{:#?}", asia_keys());
    assert!(shown.contains("HopKey(asia-1, redacted)"), "{shown}");
    let signer = RecordSigner::new(&key, destination(&asia()), &vn_main());
    let shown = format!("{signer:?}");
    assert!(shown.contains("smp-asia") && !shown.contains("hop-test-secret"));
    assert!(!shown.contains("until_digest"), "{shown}");
}

#[test]
fn a_proxied_request_never_passes_for_a_record_nor_a_record_for_a_proxied_request() {
    let region = asia();
    let keys = asia_keys();
    let now = UnixSeconds(NOW);
    // The same method and path, and all headers of the other form put beside.
    let record = record();
    let request = proxied(&asia_key(), destination(&region), RECORD_TARGET, NOW);
    let mut dressed = request.clone();
    for name in [CONNECTION, VERDICT, CONTENT_DIGEST] {
        dressed = dressed.with(name, Some(record.get(name)));
    }
    let refused = HopError::Malformed(SIGNATURE_INPUT);
    assert_eq!(
        verify_record(&keys, RECORD_TARGET, dressed.received(), BODY, now),
        Err(refused)
    );
    assert_eq!(
        verify_proxied(&keys, RECORD_TARGET, record.received(), now),
        Err(refused)
    );
    // Nor with the other form's input.
    let input = Some(record.get(SIGNATURE_INPUT));
    assert_eq!(
        verify_record(
            &keys,
            RECORD_TARGET,
            dressed.with(SIGNATURE_INPUT, input).received(),
            BODY,
            now
        ),
        Err(HopError::WrongSignature)
    );
    let input = Some(request.get(SIGNATURE_INPUT));
    assert_eq!(
        verify_proxied(
            &keys,
            RECORD_TARGET,
            record.with(SIGNATURE_INPUT, input).received(),
            now
        ),
        Err(HopError::WrongSignature)
    );
}

#[test]
fn another_spelling_of_signature_input_is_refused_even_if_rightly_signed() {
    let wire = record();
    let input = wire.text(SIGNATURE_INPUT);
    let params = input.strip_prefix("smp=").unwrap();
    // The edge's own spelling, signed by hand: what is refused below is the spelling alone.
    let own = sealed(&wire, &record_base(&wire, params));
    assert_eq!(refusal_of_record(&own), None);

    let (components, _) = params.split_once(';').unwrap();
    let created = format!(";created={NOW}");
    let keyid = ";keyid=\"asia-1\"";
    let alg = ";alg=\"hmac-sha256\"";
    let spellings = [
        // Order of parameters.
        format!("smp={components}{keyid}{created}{alg}"),
        format!("smp={components}{created}{alg}{keyid}"),
        format!("smp={components}{alg}{created}{keyid}"),
        // A parameter more or less.
        format!("{input};tag=\"x\""),
        format!("{input};expires=9999999999"),
        format!("smp={components}{created};nonce=\"x\"{keyid}{alg}"),
        format!("smp={components};expires=9999999999{created}{keyid}{alg}"),
        format!("smp={components}{created}{created}{keyid}{alg}"),
        format!("smp={components}{created}{keyid}{keyid}{alg}"),
        format!("smp={components}{created}{keyid}"),
        format!("smp={components}{keyid}{alg}"),
        format!("smp={components}{created}{alg}"),
        // Other values.
        input.replace("hmac-sha256", "HMAC-SHA256"),
        input.replace("hmac-sha256", "ed25519"),
        input.replace("\"asia-1\"", "asia-1"),
        input.replace(&NOW.to_string(), ""),
        input.replace(&NOW.to_string(), &format!("+{NOW}")),
        input.replace(&NOW.to_string(), &format!("-{NOW}")),
        input.replace(&NOW.to_string(), &format!("{NOW}.0")),
        input.replace(&NOW.to_string(), &format!("\"{NOW}\"")),
        input.replace(&NOW.to_string(), "18446744073709551616"),
        input.replace(&NOW.to_string(), "١٧٦٧٢٢٥٦٠٠"),
        // Space.
        format!(" {input}"),
        format!("{input} "),
        input.replace(";keyid", "; keyid"),
        input.replace("\" \"", "\"  \""),
        input.replace("(\"", "( \""),
        // Another label, or two.
        input.replacen("smp=", "sig1=", 1),
        input.replacen("smp=", "SMP=", 1),
        params.to_owned(),
        format!("{input}, {input}"),
        format!("{input}, other=(\"@method\");created={NOW}"),
        format!("other=(\"@method\");created={NOW}, {input}"),
        // Order of components, and other components.
        input.replace("\"@method\" \"@path\"", "\"@path\" \"@method\""),
        input.replace(
            "\"x-smp-country\" \"x-smp-region\"",
            "\"x-smp-region\" \"x-smp-country\"",
        ),
        input.replace(" \"x-smp-verdict\"", ""),
        input.replace("\"@method\" ", ""),
        input.replace("\"@path\"", "\"@path\" \"@query\""),
        input.replace("\"@path\"", "\"@target-uri\""),
        input.replace("\"content-digest\"", "\"content-digest\";req"),
        input.replace("\"x-smp-country\"", "\"X-SMP-Country\""),
        String::new(),
        "smp".to_owned(),
        "smp=".to_owned(),
        "smp=()".to_owned(),
    ];
    for spelling in spellings {
        assert_ne!(spelling, input);
        let wire = wire.with(SIGNATURE_INPUT, Some(spelling.as_bytes()));
        let params = spelling.strip_prefix("smp=").unwrap_or(&spelling);
        let sealed = sealed(&wire, &record_base(&wire, params));
        let refusal = refusal_of_record(&sealed).unwrap();
        // A keyid that goes on behind its quote names no key.
        let expected = match refusal {
            HopError::UnknownKey => spelling.matches("keyid").count() == 2,
            HopError::Missing(SIGNATURE_INPUT) => !spelling.is_ascii(),
            other => other == HopError::Malformed(SIGNATURE_INPUT),
        };
        assert!(expected, "{spelling}: {refusal:?}");
    }
}

#[test]
fn another_spelling_of_the_digest_is_refused_even_if_rightly_signed() {
    let wire = record();
    let digest = wire.text(CONTENT_DIGEST);
    let params = wire.text(SIGNATURE_INPUT).strip_prefix("smp=").unwrap();
    let base64 = &digest["sha-256=:".len()..digest.len() - 1];
    let other = BASE64.encode(Sha256::digest(b"another body"));
    for spelling in [
        digest.replace("sha-256", "SHA-256"),
        digest.replace("sha-256", "sha-512"),
        format!("sha-256={base64}"),
        format!("sha-256=:{base64}"),
        format!("sha-256=:{}:", base64.trim_end_matches('=')),
        format!("{digest}, {digest}"),
        format!(" {digest}"),
        format!("sha-256=:{other}:"),
        "sha-256=::".to_owned(),
        String::new(),
    ] {
        assert_ne!(spelling, digest);
        let wire = wire.with(CONTENT_DIGEST, Some(spelling.as_bytes()));
        let sealed = sealed(&wire, &record_base(&wire, params));
        let refusal = refusal_of_record(&sealed);
        assert_eq!(refusal, Some(HopError::WrongDigest), "{spelling}");
    }
}

#[test]
fn a_signature_of_another_form_is_malformed() {
    let wire = record();
    let signature = wire.text(SIGNATURE);
    let base64 = &signature["smp=:".len()..signature.len() - 1];
    for spelling in [
        base64.to_owned(),
        format!("smp={base64}"),
        format!("smp=:{base64}"),
        format!("sig1=:{base64}:"),
        format!("smp=:{}:", base64.trim_end_matches('=')),
        format!("smp=:{base64}=:"),
        format!("smp=: {base64}:"),
        format!("{signature}, {signature}"),
        format!("{signature} "),
        "smp=::".to_owned(),
        format!("smp=:{}:", BASE64.encode([0; 31])),
        format!("smp=:{}:", BASE64.encode([0; 33])),
    ] {
        let refusal = refusal_of_record(&wire.with(SIGNATURE, Some(spelling.as_bytes())));
        assert_eq!(refusal, Some(HopError::Malformed(SIGNATURE)), "{spelling}");
    }
}

#[test]
fn a_value_that_is_signed_but_makes_no_sense_is_malformed() {
    let wire = record();
    let params = wire.text(SIGNATURE_INPUT).strip_prefix("smp=").unwrap();
    for (name, value) in [
        (COUNTRY, "VNM"),
        (COUNTRY, ""),
        (REGION, "Asia"),
        (CONNECTION, "VN main"),
        (VERDICT, "Verified"),
        (VERDICT, "trusted"),
        (ROUTE_VERSION, "4294967296"),
        (ROUTE_VERSION, "-1"),
        (ROUTE_VERSION, "one"),
        (ROUTE_VERSION, "+1"),
        (ROUTE_VERSION, "007"),
    ] {
        let wire = wire.with(name, Some(value.as_bytes()));
        let sealed = sealed(&wire, &record_base(&wire, params));
        let refusal = refusal_of_record(&sealed);
        assert_eq!(refusal, Some(HopError::Malformed(name)), "{value}");
    }
}

#[test]
fn another_method_path_or_query_is_refused() {
    let wire = record();
    let keys = asia_keys();
    let now = UnixSeconds(NOW);
    for (method, path) in [
        ("PUT", RECORD_TARGET.path),
        ("post", RECORD_TARGET.path),
        ("POST", "/v1/pancake/vn-main/records/"),
        ("POST", "/v1/pancake/vn-other/records"),
        ("POST", "/v1/pancake/vn%2Dmain/records"),
        ("POST", "//v1/pancake/vn-main/records"),
        ("POST", ""),
    ] {
        let target = Target {
            method,
            path,
            query: None,
        };
        assert_eq!(
            verify_record(&keys, target, wire.received(), BODY, now),
            Err(HopError::WrongSignature),
            "{method} {path}"
        );
    }
    let wire = proxied_request();
    let query = PROXIED_TARGET.query;
    for (method, path, query) in [
        ("DELETE", PROXIED_TARGET.path, query),
        ("GET", "/api/tickets/7", query),
        ("GET", "/api/tickets", None),
        ("GET", "/api/tickets", Some("")),
        ("GET", "/api/tickets", Some("status=open&page=3")),
        ("GET", "/api/tickets", Some("page=2&status=open")),
        ("GET", "/api/tickets", Some("?status=open&page=2")),
        ("GET", "/api/tickets?status=open&page=2", None),
        ("GET", "/api/tickets\n\"@query\": ?status=open&page=2", None),
    ] {
        let target = Target {
            method,
            path,
            query,
        };
        assert_eq!(
            verify_proxied(&keys, target, wire.received(), now),
            Err(HopError::WrongSignature),
            "{method} {path} {query:?}"
        );
    }
}

#[test]
fn any_bit_flipped_in_any_header_of_a_record_is_refused() {
    let wire = record();
    for name in HEADERS {
        let value = wire.get(name);
        for bit in 0..value.len() * 8 {
            let wire = wire.with(name, Some(&flipped(value, bit)));
            assert!(refusal_of_record(&wire).is_some(), "bit {bit} of {name}");
        }
    }
}

#[test]
fn any_bit_flipped_in_any_header_or_in_the_target_of_a_proxied_request_is_refused() {
    let wire = proxied_request();
    for (name, value) in &wire.0 {
        for bit in 0..value.len() * 8 {
            let wire = wire.with(name, Some(&flipped(value, bit)));
            assert!(refusal_of_proxied(&wire).is_some(), "bit {bit} of {name}");
        }
    }
    let Target {
        method,
        path,
        query,
    } = PROXIED_TARGET;
    let parts = [method, path, query.unwrap()];
    for (index, part) in parts.into_iter().enumerate() {
        for bit in 0..part.len() * 8 {
            let Ok(part) = String::from_utf8(flipped(part.as_bytes(), bit)) else {
                continue;
            };
            let mut parts = parts;
            parts[index] = &part;
            let target = Target {
                method: parts[0],
                path: parts[1],
                query: Some(parts[2]),
            };
            let now = UnixSeconds(NOW);
            let refusal = verify_proxied(&asia_keys(), target, wire.received(), now);
            assert_eq!(refusal, Err(HopError::WrongSignature), "{part}");
        }
    }
}

#[test]
fn the_headers_of_the_hop_are_known_in_any_case() {
    for name in [
        "x-smp-country",
        "X-SMP-Country",
        "X-Smp-Anything",
        "x-smp-",
        "x-smp-越南",
        "signature",
        "Signature",
        "SIGNATURE-INPUT",
        "signature-input",
    ] {
        assert!(is_hop_header(name), "{name}");
    }
    for name in [
        "",
        "x",
        "x-smp",
        "x_smp_country",
        "xx-smp-country",
        " x-smp-country",
        "signature-",
        "signatures",
        "x-signature",
        "ｘ-smp-country",
        "x-ſmp-country",
        "ｓignature",
        "x-smé-",
        "é",
        "content-digest",
        "x-pancake-signature",
    ] {
        assert!(!is_hop_header(name), "{name}");
    }
}

fn country() -> impl Strategy<Value = Country> {
    "[A-Z]{2}".prop_map(|code| Country::parse(&code).unwrap())
}

fn region() -> impl Strategy<Value = RegionId> {
    "[a-z][a-z0-9]{1,8}(-[a-z0-9]{1,6}){0,2}".prop_map(|id| RegionId::parse(&id).unwrap())
}

proptest! {
    #[test]
    fn what_one_end_signs_the_other_believes(
        keyid in "[a-z0-9-]{1,64}",
        secret in vec(any::<u8>(), SECRET_MIN_BYTES..200),
        country in country(),
        region in region(),
        connection in "[a-z0-9-]{1,64}",
        verdict in prop::sample::select(Verdict::ALL.to_vec()),
        route_version: u32,
        created in 0..9_999_999_999_999_999_999_u64,
        body in vec(any::<u8>(), 0..500),
    ) {
        let key = key(&keyid, &secret);
        let connection = ConnectionId::parse(&connection).unwrap();
        let destination = Destination { country, region: &region, route_version };
        let wire = sign_record(&key, destination, &connection, (verdict, &body), created);
        let keys = HopKeys::new(vec![key]).unwrap();
        let path = record_path(&connection);
        let target = Target { method: "POST", path: &path, query: None };
        let now = UnixSeconds(created);
        let verified = verify_record(&keys, target, wire.received(), &body, now).unwrap();
        prop_assert_eq!(verified.country, country);
        prop_assert_eq!(&verified.region, &region);
        prop_assert_eq!(&verified.connection, &connection);
        prop_assert_eq!(verified.verdict, verdict);
        prop_assert_eq!(verified.route_version, route_version);
    }

    #[test]
    fn any_bit_flipped_in_the_body_is_a_wrong_digest(
        body in vec(any::<u8>(), 1..500),
        bit in any::<prop::sample::Index>(),
    ) {
        let wire = sign_record(
            &asia_key(), destination(&asia()), &vn_main(), (Verdict::Unsigned, &body), NOW,
        );
        let body = flipped(&body, bit.index(body.len() * 8));
        let now = UnixSeconds(NOW);
        let verified = verify_record(&asia_keys(), RECORD_TARGET, wire.received(), &body, now);
        prop_assert_eq!(verified, Err(HopError::WrongDigest));
    }

    #[test]
    fn what_one_end_signs_of_a_proxied_request_the_other_believes(
        secret in vec(any::<u8>(), SECRET_MIN_BYTES..200),
        country in country(),
        region in region(),
        route_version: u32,
        created: u64,
        method in "[A-Z]{1,10}",
        path in "/[!-~]{0,60}",
        query in prop::option::of("[!-~]{0,60}"),
    ) {
        let key = key("k", &secret);
        let target = Target { method: &method, path: &path, query: query.as_deref() };
        let destination = Destination { country, region: &region, route_version };
        let wire = proxied(&key, destination, target, created);
        let keys = HopKeys::new(vec![key]).unwrap();
        let now = UnixSeconds(created);
        let verified = verify_proxied(&keys, target, wire.received(), now).unwrap();
        prop_assert_eq!(verified.country, country);
        prop_assert_eq!(&verified.region, &region);
        prop_assert_eq!(verified.route_version, route_version);
    }

    #[test]
    fn the_slack_is_60_seconds_either_way_at_any_time(
        created in 61..(u64::MAX - 1000),
        distance in prop_oneof![Just(59_u64), Just(60), Just(61), 0..200_u64],
        ahead: bool,
    ) {
        let now = if ahead { Some(created + distance) } else { created.checked_sub(distance) };
        prop_assume!(now.is_some());
        let now = UnixSeconds(now.unwrap());
        let wire = proxied(&asia_key(), destination(&asia()), PROXIED_TARGET, created);
        let verified = verify_proxied(&asia_keys(), PROXIED_TARGET, wire.received(), now);
        prop_assert_eq!(verified.err(), (distance > 60).then_some(HopError::Stale));
    }

    #[test]
    fn arbitrary_headers_never_panic_and_are_never_believed(
        values in prop::array::uniform8(prop::option::of("\\PC{0,40}")),
        signature in vec(any::<u8>(), 32),
        prefix in 0..200_usize,
    ) {
        let mut wire = record();
        for (name, value) in HEADERS.into_iter().zip(&values) {
            wire = wire.with(name, value.as_deref().map(str::as_bytes));
        }
        prop_assert!(refusal_of_record(&wire).is_some());
        prop_assert!(refusal_of_proxied(&wire).is_some());
        // From a right input on, and with a signature of the right form.
        let right = record();
        let mut input = right.text(SIGNATURE_INPUT).to_owned();
        input.truncate(prefix);
        input += values[0].as_deref().unwrap_or_default();
        let signature = format!("smp=:{}:", BASE64.encode(signature));
        let wire = right
            .with(SIGNATURE_INPUT, Some(input.as_bytes()))
            .with(SIGNATURE, Some(signature.as_bytes()));
        prop_assert!(refusal_of_record(&wire).is_some());
        prop_assert!(refusal_of_proxied(&wire).is_some());
    }

    #[test]
    fn the_recogniser_of_hop_headers_ignores_ascii_case_only_and_never_panics(
        name in prop_oneof!["\\PC{0,12}", "[xX]-[sS][mM][pP]-\\PC{0,4}", "(?i)signature(-input)?"],
    ) {
        let lower = name.to_ascii_lowercase();
        let expected = lower.starts_with("x-smp-")
            || lower == "signature"
            || lower == "signature-input";
        prop_assert_eq!(is_hop_header(&name), expected);
        prop_assert_eq!(is_hop_header(&name.to_ascii_uppercase()), expected);
    }
}
