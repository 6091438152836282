//! Each refusal, and what is taken.

use proptest::prelude::*;
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::*;

/// 2026-03-01T00:00:00Z.
const NOW: i64 = 1_772_323_200;

/// Made with openssl (`genrsa 2048`, `dgst -sha256 -sign`); the private key is nowhere.
const RSA_MODULUS: &str = "\
    vTF_xuvRAWVMbcXIu1J8J1vOTU8jru9UqdBMhXVFcSaIScNbBLFetTf3RlDWbFYJJ7lCSnUDCkAUbVmVursFpZ-LaN\
    vWp8SyD2zTkDKejv5A-Lynt9fPLyma5jKnE_Amv-0Af6wU5ps8jb-5KX8DD7lvdNalAqdjhdHOvPYuoJmeLqvaGc0J\
    UDL1vE2kYn3blmru-QwioMdbL034BPbt8YRsNgwK_iWPg53XX-rRg4QkO4GBktsxC9wQ0ZNh9ixukLUrRjKuzNiITX\
    WgFzLxXFrfnorFyCnsAHaCqpFy2EqhX_d1GOqDMErLBIivNXrorfODKCiR65WLJfiP_pgwYQ";
const RSA_TOKEN: &str = "\
    eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYS0xIn0.eyJpc3MiOiJodHRwczovL2lkLnRlc3QiLCJhdWQiOlsib3RoZX\
    IiLCJjb3JlIl0sImV4cCI6MTc3MjMyMzgwMCwiaWF0IjoxNzcyMzIzMjAwLCJzdWIiOiJhbm5hIiwicm9sZXMiOlsi\
    cmVhZGVyIl0sImNvdW50cmllcyI6WyJWTiJdfQ.OonJiprAkTvgwHMcqiWkmPvH-FGUsQI7ozfuQOb4_O4cwMxhyXL\
    3bWRRP79gJ4nqaLzV1U9ICauG9YJP_jh6zlw_XTTBNZSZSlc1pUSyafUw984KVqsU5ZK6AJAdDfuJU10L8Gy4K0cZ_\
    igtpBe2jS7zL1iwSRTfWkI1yMcLCz40sCW3pq2ftD0Ga-GdJeykkqvBktNEnW3ocZHg6dBJbQDblcvbTshhYKbBiFh\
    rhci9K6TWITfHljSAcro-NyuGKWi993l08gYC0mMRbQ71A3bG9YbMZjws7k5HJRfM1BhNoS4UXNrmnRGT--dU696-e\
    LkCdUm6HKfNgxlcN5DGPw";

fn signer() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn keys() -> KeySet {
    let document = json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "kid": "ed-1", "x": encode(signer().public_key())},
        {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "rsa-1", "n": RSA_MODULUS, "e": "AQAB"},
    ]});
    KeySet::parse(document.to_string().as_bytes()).unwrap()
}

fn expected() -> Expected {
    Expected {
        issuer: "https://id.test".to_owned(),
        audience: "core".to_owned(),
    }
}

fn judge(token: &str) -> Result<Principal, TokenRefusal> {
    verify(token, &keys(), &expected(), UnixSeconds(NOW.unsigned_abs()))
}

fn claims() -> Value {
    json!({
        "iss": "https://id.test", "aud": "core", "sub": "anna", "exp": NOW + 600, "iat": NOW,
        "roles": ["master_data_editor"], "countries": ["VN", "SG"],
    })
}

fn signed(header: &Value, claims: &Value) -> String {
    let signed = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    );
    let signature = encode(signer().sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn token(change: &Value) -> String {
    let mut claims = claims();
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    signed(
        &json!({"alg": "EdDSA", "kid": "ed-1", "typ": "JWT"}),
        &claims,
    )
}

#[test]
fn a_good_token_says_who_it_is() {
    let anna = judge(&token(&json!({"scope": "read write"}))).unwrap();
    assert_eq!(anna.subject(), "anna");
    anna.require("master_data_editor", "write").unwrap();
    let refusal = anna.require("admin", "write").unwrap_err();
    assert_eq!(refusal, AuthError::RoleMissing("admin"));
    let refusal = anna.require("master_data_editor", "delete").unwrap_err();
    assert_eq!(refusal, AuthError::ScopeMissing("delete"));
    assert_eq!(format!("{:?}", anna.countries()), "{SG, VN}");
    assert!(anna.scopes().contains("read") && anna.scopes().len() == 2);
    assert!(judge(&token(&json!({}))).unwrap().scopes().is_empty());
}

#[test]
fn rs256_verifies_what_openssl_signed() {
    assert_eq!(judge(RSA_TOKEN).unwrap().subject(), "anna");
    let (signed, signature) = RSA_TOKEN.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let others = encode(claims().to_string());
    let forged = format!("{header}.{others}.{signature}");
    assert_eq!(judge(&forged).unwrap_err(), TokenRefusal::Signature);
}

#[test]
fn no_other_algorithm_is_taken() {
    for alg in [
        "none", "None", "HS256", "ES256", "PS256", "RS384", "eddsa", "",
    ] {
        let header = json!({"alg": alg, "kid": "ed-1"});
        let refusal = judge(&signed(&header, &claims())).unwrap_err();
        assert_eq!(refusal, TokenRefusal::Algorithm, "{alg}");
    }
    // Without a signature at all.
    let header = encode(json!({"alg": "none", "kid": "ed-1"}).to_string());
    let unsigned = format!("{header}.{}.", encode(claims().to_string()));
    assert_eq!(judge(&unsigned).unwrap_err(), TokenRefusal::Algorithm);
    // The key of one algorithm named by a header of the other.
    for (alg, kid) in [("RS256", "ed-1"), ("EdDSA", "rsa-1")] {
        let refusal = judge(&signed(&json!({"alg": alg, "kid": kid}), &claims()));
        assert_eq!(refusal.unwrap_err(), TokenRefusal::Algorithm);
    }
    // The public key, which everybody knows, as the secret of an HMAC.
    for (alg, refusal) in [
        ("HS256", TokenRefusal::Algorithm),
        ("EdDSA", TokenRefusal::Signature),
    ] {
        let header = encode(json!({"alg": alg, "kid": "ed-1"}).to_string());
        let signed = format!("{header}.{}", encode(claims().to_string()));
        let public = hmac::Key::new(hmac::HMAC_SHA256, signer().public_key().as_ref());
        let forged = format!(
            "{signed}.{}",
            encode(hmac::sign(&public, signed.as_bytes()))
        );
        assert_eq!(judge(&forged).unwrap_err(), refusal);
    }
}

#[test]
fn the_key_is_named_and_known() {
    for (header, refusal) in [
        (json!({"alg": "EdDSA"}), TokenRefusal::NoKeyId),
        (
            json!({"alg": "EdDSA", "kid": "ed-2"}),
            TokenRefusal::UnknownKey,
        ),
        (
            json!({"alg": "EdDSA", "kid": ["ed-1"]}),
            TokenRefusal::Malformed,
        ),
        (
            json!({"alg": "EdDSA", "kid": "ed-1", "crit": ["b64"], "b64": false}),
            TokenRefusal::Malformed,
        ),
        (json!({"kid": "ed-1"}), TokenRefusal::Malformed),
    ] {
        let refused = judge(&signed(&header, &claims())).unwrap_err();
        assert_eq!(refused, refusal, "{header}");
    }
}

#[test]
fn each_claim_is_judged() {
    for (change, refusal) in [
        (json!({"iss": "https://id.test/"}), TokenRefusal::Issuer),
        (json!({"aud": "other"}), TokenRefusal::Audience),
        (json!({"aud": []}), TokenRefusal::Audience),
        (json!({"exp": NOW - 30}), TokenRefusal::Expired),
        (json!({"exp": i64::MIN}), TokenRefusal::Expired),
        (json!({"exp": NOW + 3601}), TokenRefusal::TooLong),
        (json!({"iat": null}), TokenRefusal::Claims),
        (
            json!({"exp": NOW + 3631, "iat": NOW + 30}),
            TokenRefusal::TooLong,
        ),
        (
            json!({"exp": NOW + 60, "iat": NOW - 3600}),
            TokenRefusal::TooLong,
        ),
        (
            json!({"exp": i64::MAX, "iat": i64::MIN}),
            TokenRefusal::TooLong,
        ),
        (
            json!({"exp": NOW + 3600, "iat": NOW + 31}),
            TokenRefusal::NotYet,
        ),
        (json!({"nbf": NOW + 31}), TokenRefusal::NotYet),
        (json!({"nbf": "tomorrow"}), TokenRefusal::Claims),
        (json!({"exp": null}), TokenRefusal::Claims),
        (
            json!({"exp": (NOW + 600).to_string()}),
            TokenRefusal::Claims,
        ),
        (json!({"iss": null}), TokenRefusal::Claims),
        (json!({"aud": null}), TokenRefusal::Claims),
        (json!({"sub": null}), TokenRefusal::Claims),
        (json!({"sub": ""}), TokenRefusal::Claims),
        (json!({"sub": "a\nb"}), TokenRefusal::Claims),
        (json!({"sub": "a".repeat(129)}), TokenRefusal::Claims),
        (json!({"roles": null}), TokenRefusal::Claims),
        (json!({"roles": "master_data_editor"}), TokenRefusal::Claims),
        (json!({"countries": null}), TokenRefusal::Claims),
        (json!({"countries": ["Vietnam"]}), TokenRefusal::Claims),
    ] {
        assert_eq!(judge(&token(&change)).unwrap_err(), refusal, "{change}");
    }
    for change in [
        json!({"aud": ["other", "core"]}),
        json!({"exp": NOW - 29, "iat": NOW - 629}),
        json!({"exp": NOW + 3600}),
        json!({"exp": NOW + 3630, "iat": NOW + 30}),
        json!({"nbf": NOW + 30}),
        json!({"roles": [], "countries": []}),
    ] {
        judge(&token(&change)).unwrap_or_else(|refusal| panic!("{change}: {refusal}"));
    }
}

#[test]
fn what_is_no_token_is_refused_and_not_quoted() {
    let good = token(&json!({}));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    for bad in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        signed,
        &format!("{good}."),
        &format!("{good}.{signature}"),
        &format!("{good}="),
        &format!("{signed}.{}", "a".repeat(9000)),
    ] {
        let refusal = judge(bad).unwrap_err();
        let is_refused = matches!(refusal, TokenRefusal::Malformed | TokenRefusal::Signature);
        assert!(is_refused, "{bad}: {refusal}");
        assert!(!refusal.to_string().contains(signature));
    }
    // No byte of it may differ, and no second spelling of the signature's last byte is taken.
    let mut bytes = good.clone().into_bytes();
    for place in 0..bytes.len() {
        let was = bytes[place];
        bytes[place] = if was == b'A' { b'B' } else { b'A' };
        judge(std::str::from_utf8(&bytes).unwrap()).unwrap_err();
        bytes[place] = was;
    }
    for last in b'A'..=b'Z' {
        let place = bytes.len() - 1;
        bytes[place] = last;
        let other = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(judge(other).is_ok(), other == good);
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        prop_assert!(judge(&text).is_err());
    }

    #[test]
    fn no_parts_make_it_panic(
        header in proptest::collection::vec(any::<u8>(), 0..64),
        claims in proptest::collection::vec(any::<u8>(), 0..64),
        signature in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let parts = [header, claims, signature].map(encode);
        prop_assert!(judge(&parts.join(".")).is_err());
    }

    /// Whatever is signed by a key that is known is judged, not more.
    #[test]
    fn no_signed_claims_make_it_panic(claims in proptest::collection::vec(any::<u8>(), 0..128)) {
        let header = encode(json!({"alg": "EdDSA", "kid": "ed-1"}).to_string());
        let signed = format!("{header}.{}", encode(claims));
        let token = format!("{signed}.{}", encode(signer().sign(signed.as_bytes())));
        prop_assert!(judge(&token).is_err());
    }
}
