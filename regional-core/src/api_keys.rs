//! The keys of Pancake's REST interface: they lie in the database sealed ([`protocol::at_rest`]), each for its
//! connection.

use protocol::at_rest::{AtRestError, AtRestKeys, NONCE_BYTES};
use ring::rand::{SecureRandom as _, SystemRandom};
use sqlx::PgConnection;

/// Why a key was not sealed or not opened. Quotes nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// The system gives no randomness.
    #[error("the system has no randomness")]
    NoRandomness,
    /// It does not open with the keys that are here, or is too long.
    #[error("the API key of {connection}: {error}")]
    AtRest {
        /// Country and id of its connection.
        connection: String,
        /// What is wrong.
        error: AtRestError,
    },
    /// The database did not answer as expected.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// How many keys were sealed anew, and how many were so already.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Resealed {
    /// With another key than the first until now.
    pub anew: usize,
    /// With the first key already.
    pub current: usize,
}

/// Seals the API key of a connection.
pub fn seal(
    keys: &AtRestKeys,
    (country, connection_id): (&str, &str),
    api_key: &str,
) -> Result<Vec<u8>, ApiKeyError> {
    let mut nonce = [0; NONCE_BYTES];
    SystemRandom::new()
        .fill(&mut nonce)
        .map_err(|_| ApiKeyError::NoRandomness)?;
    let context = context(country, connection_id);
    keys.seal(context.as_bytes(), api_key.as_bytes(), nonce)
        .map_err(|error| at_rest((country, connection_id), error))
}

/// Opens the API key of a connection.
pub fn open(
    keys: &AtRestKeys,
    (country, connection_id): (&str, &str),
    sealed: &[u8],
) -> Result<String, ApiKeyError> {
    let context = context(country, connection_id);
    keys.open(context.as_bytes(), sealed)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| AtRestError::NoDocument))
        .map_err(|error| at_rest((country, connection_id), error))
}

/// Seals each API key anew that was sealed with another key than the first, so that the other keys can go.
pub async fn reseal(
    keys: &AtRestKeys,
    connection: &mut PgConnection,
) -> Result<Resealed, ApiKeyError> {
    let rows: Vec<(String, String, Vec<u8>)> = sqlx::query_as(
        "select country_code, connection_id, api_key_encrypted from pancake_connection \
         where api_key_encrypted is not null order by country_code, connection_id",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut resealed = Resealed::default();
    for (country, connection_id, sealed) in rows {
        let of = (country.as_str(), connection_id.as_str());
        let api_key = open(keys, of, &sealed)?;
        if keys.is_current(&sealed) {
            resealed.current += 1;
            continue;
        }
        // Somebody may have given it another one meanwhile, which is sealed as it should be.
        sqlx::query(
            "update pancake_connection set api_key_encrypted = $4 \
             where country_code = $1 and connection_id = $2 and api_key_encrypted = $3",
        )
        .bind(&country)
        .bind(&connection_id)
        .bind(&sealed)
        .bind(seal(keys, of, &api_key)?)
        .execute(&mut *connection)
        .await?;
        resealed.anew += 1;
    }
    Ok(resealed)
}

fn at_rest((country, connection_id): (&str, &str), error: AtRestError) -> ApiKeyError {
    ApiKeyError::AtRest {
        connection: format!("{country}/{connection_id}"),
        error,
    }
}

/// A sealed key that is copied to another connection's row does not open there.
fn context(country: &str, connection_id: &str) -> String {
    format!("smp-global pancake api key 1 {country}/{connection_id}")
}
