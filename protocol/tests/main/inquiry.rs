//! The hop of an inquiry: the hub asks a region's replicator.

use protocol::hop::{
    HopError, HopKey, HopKeys, REGION, ReceivedHeaders, SIGNATURE, SIGNATURE_INPUT, Target,
    sign_inquiry, verify_inquiry, verify_proxied,
};
use protocol::{RegionId, UnixSeconds};

use crate::{bytes_of, hmac_sha256};

const NOW: u64 = 1_767_225_600;
const SECRET: &[u8] = b"china-replicator-test-secret-0123456789";
const TARGET: Target<'static> = Target {
    method: "GET",
    path: "/v1/replication/position",
    query: None,
};

fn key() -> HopKey {
    HopKey::new("smp-china-1", SECRET).unwrap()
}

fn keys() -> HopKeys {
    HopKeys::new(vec![key()]).unwrap()
}

fn signed() -> Vec<(&'static str, String)> {
    let china = RegionId::parse("smp-china").unwrap();
    sign_inquiry(&key(), &china, TARGET, UnixSeconds(NOW))
}

fn received<'a>(headers: &'a [(&'static str, String)]) -> ReceivedHeaders<'a> {
    let find = |name: &str| -> Option<&'a str> {
        let (_, value) = headers.iter().find(|(known, _)| *known == name)?;
        Some(value)
    };
    ReceivedHeaders {
        region: find(REGION),
        signature_input: find(SIGNATURE_INPUT),
        signature: find(SIGNATURE),
        ..ReceivedHeaders::default()
    }
}

fn verify(headers: &[(&'static str, String)], now: u64) -> Result<RegionId, HopError> {
    verify_inquiry(&keys(), TARGET, received(headers), UnixSeconds(now))
}

#[test]
fn an_inquiry_is_signed_over_method_path_and_region() {
    let headers = signed();
    let params = format!(
        "(\"@method\" \"@path\" \"x-smp-region\");created={NOW};keyid=\"smp-china-1\";alg=\"hmac-sha256\""
    );
    let base = format!(
        "\"@method\": GET\n\"@path\": /v1/replication/position\n\"x-smp-region\": smp-china\n\
         \"@signature-params\": {params}"
    );
    let find = |name: &str| {
        let (_, value) = headers.iter().find(|(known, _)| *known == name).unwrap();
        value.as_str()
    };
    assert_eq!(find(SIGNATURE_INPUT), format!("smp={params}"));
    let signature = find(SIGNATURE)
        .strip_prefix("smp=:")
        .and_then(|rest| rest.strip_suffix(':'))
        .unwrap();
    assert_eq!(bytes_of(signature), hmac_sha256(SECRET, &[base.as_bytes()]));
    assert_eq!(verify(&headers, NOW).unwrap().as_str(), "smp-china");
}

#[test]
fn an_inquiry_is_believed_for_60_seconds_and_no_longer() {
    assert!(verify(&signed(), NOW + 60).is_ok());
    assert_eq!(verify(&signed(), NOW + 61), Err(HopError::Stale));
}

#[test]
fn an_inquiry_to_another_region_or_path_is_refused() {
    let mut headers = signed();
    for (name, value) in &mut headers {
        if *name == REGION {
            *value = "smp-asia".to_owned();
        }
    }
    assert_eq!(verify(&headers, NOW), Err(HopError::WrongSignature));
    let elsewhere = Target {
        path: "/v1/replication/restate",
        ..TARGET
    };
    assert_eq!(
        verify_inquiry(&keys(), elsewhere, received(&signed()), UnixSeconds(NOW)),
        Err(HopError::WrongSignature)
    );
}

#[test]
fn a_header_that_is_missing_is_named() {
    for missing in [REGION, SIGNATURE_INPUT, SIGNATURE] {
        let headers: Vec<_> = signed()
            .into_iter()
            .filter(|(name, _)| *name != missing)
            .collect();
        assert_eq!(verify(&headers, NOW), Err(HopError::Missing(missing)));
    }
}

#[test]
fn an_inquiry_never_passes_for_a_proxied_request() {
    let headers = signed();
    let received = ReceivedHeaders {
        country: Some("CN"),
        route_version: Some("1"),
        ..received(&headers)
    };
    assert_eq!(
        verify_proxied(&keys(), TARGET, received, UnixSeconds(NOW)),
        Err(HopError::Malformed(SIGNATURE_INPUT))
    );
}
