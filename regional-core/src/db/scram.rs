//! A password as PostgreSQL keeps it (SCRAM-SHA-256, RFC 5802 and RFC 7677).
//!
//! Made here, so that the password itself is in no statement: a server may log those.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// PostgreSQL's own default (`scram_iterations`).
const ITERATIONS: u32 = 4096;

/// A password that cannot be a role's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the password must be printable ASCII")]
pub struct UnusablePassword;

/// The verifier, as `alter role … password '…'` takes it. It holds no character that SQL quotes.
///
/// Only printable ASCII is taken: clients prepare other texts (`SASLprep`), and not all alike.
pub(super) fn verifier(
    password: &SecretString,
    salt: [u8; 16],
) -> Result<String, UnusablePassword> {
    let password = password.expose_secret().as_bytes();
    if !password.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return Err(UnusablePassword);
    }
    let salted = salted_password(password, salt)?;
    let client_key = hmac(&salted, &[b"Client Key"])?;
    let stored_key: [u8; 32] = Sha256::digest(client_key).into();
    let server_key = hmac(&salted, &[b"Server Key"])?;
    Ok(format!(
        "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
        BASE64.encode(salt),
        BASE64.encode(stored_key),
        BASE64.encode(server_key)
    ))
}

/// PBKDF2 (RFC 8018 §5.2) with HMAC-SHA256 and one block of output.
fn salted_password(password: &[u8], salt: [u8; 16]) -> Result<[u8; 32], UnusablePassword> {
    let mut block = hmac(password, &[&salt, &1_u32.to_be_bytes()])?;
    let mut salted = block;
    for _ in 1..ITERATIONS {
        block = hmac(password, &[&block])?;
        for (byte, other) in salted.iter_mut().zip(block) {
            *byte ^= other;
        }
    }
    Ok(salted)
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Result<[u8; 32], UnusablePassword> {
    // HMAC takes keys of any length, so this never fails.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| UnusablePassword)?;
    for part in parts {
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The salt, iterations, and the messages are those of RFC 7677 §3; the proof and the server's
    /// signature that it prints follow from the two keys.
    #[test]
    fn keys_are_those_of_the_rfcs_example() {
        let salt: [u8; 16] = BASE64
            .decode("W22ZaJ0SNY7soEsUEjb6gQ==")
            .unwrap()
            .try_into()
            .unwrap();
        let verifier = verifier(&"pencil".into(), salt).unwrap();
        let (head, keys) = verifier.rsplit_once('$').unwrap();
        assert_eq!(head, "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==");
        let (stored_key, server_key) = keys.split_once(':').unwrap();

        let auth_message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let server_signature = hmac(
            &BASE64.decode(server_key).unwrap(),
            &[auth_message.as_bytes()],
        )
        .unwrap();
        assert_eq!(
            BASE64.encode(server_signature),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        let stored_key = BASE64.decode(stored_key).unwrap();
        let client_signature = hmac(&stored_key, &[auth_message.as_bytes()]).unwrap();
        let proof = BASE64
            .decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
            .unwrap();
        let client_key: Vec<u8> = proof
            .iter()
            .zip(client_signature)
            .map(|(proof, signature)| proof ^ signature)
            .collect();
        assert_eq!(Sha256::digest(client_key).as_slice(), stored_key);
    }

    #[test]
    fn a_password_that_clients_would_prepare_is_refused() {
        for password in ["mật khẩu", "tab\there", "nul\0"] {
            assert_eq!(verifier(&password.into(), [0; 16]), Err(UnusablePassword));
        }
    }
}
