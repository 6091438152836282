//! The protocol held against signatures that openssl made (`vectors/make.sh`) and against
//! properties.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy.toml allows these within test functions; the helpers beside them are tests too"
)]

mod at_rest;
mod connection;
mod hop;
mod inquiry;
mod record;
mod routes;
mod sealed;
mod signature;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use protocol::signature::{SecretSet, SigningSecret};
use sha2::Sha256;

/// Bytes of their base64.
fn bytes_of(base64: &str) -> Vec<u8> {
    BASE64.decode(base64).unwrap()
}

fn hmac_sha256(secret: &[u8], message: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    for part in message {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        for digit in [byte >> 4, byte & 0xf] {
            text.push(char::from_digit(digit.into(), 16).unwrap());
        }
        text
    })
}

/// What Pancake sends as `X-Pancake-Signature`.
fn pancake_signature(secret: &[u8], timestamp: &str, body: &[u8]) -> String {
    hex(&hmac_sha256(secret, &[timestamp.as_bytes(), b".", body]))
}

fn secret_set(secrets: &[&[u8]]) -> SecretSet {
    let mut secrets = secrets
        .iter()
        .map(|secret| SigningSecret::new(secret).unwrap());
    SecretSet::new(secrets.next().unwrap(), secrets.next())
}

/// The bytes with one bit turned over.
fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}
