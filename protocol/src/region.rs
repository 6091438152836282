//! Ids of regions: `smp-asia`, `smp-china`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A region's id: the name of its file in `infra/regions/`, of its core and of its database.
///
/// Lower-case letters, digits and single hyphens, starting with a letter, at most
/// [`RegionId::MAX_BYTES`] long, so that it may stand in a host name, a Kubernetes name and a Kafka
/// cluster alias without escaping.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(Box<str>);

/// A text that is not a region's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a region's id is 2 to {} lower-case letters, digits and single hyphens, starting with a letter \
     (for example \"smp-asia\")",
    RegionId::MAX_BYTES
)]
pub struct InvalidRegionId;

impl RegionId {
    /// A DNS label holds 63 bytes; half is left for the prefixes and suffixes of derived names.
    pub const MAX_BYTES: usize = 32;

    /// Reads a region's id.
    pub fn parse(id: &str) -> Result<Self, InvalidRegionId> {
        let labels_are_clean = id.split('-').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        });
        let starts_with_letter = id
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_lowercase());
        if (2..=Self::MAX_BYTES).contains(&id.len()) && labels_are_clean && starts_with_letter {
            Ok(Self(id.into()))
        } else {
            Err(InvalidRegionId)
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as the prefix of shell variables: `smp-asia` is `SMP_ASIA`.
    #[must_use]
    pub fn env_prefix(&self) -> String {
        self.0.replace('-', "_").to_ascii_uppercase()
    }
}

impl fmt::Display for RegionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for RegionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for RegionId {
    type Err = InvalidRegionId;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        Self::parse(id)
    }
}

impl Serialize for RegionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RegionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        Self::parse(&id).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_our_regions_are_read() {
        for id in ["smp-asia", "smp-china", "smp-us", "eu2"] {
            assert_eq!(RegionId::parse(id).unwrap().as_str(), id);
        }
        assert_eq!(
            RegionId::parse("smp-asia").unwrap().env_prefix(),
            "SMP_ASIA"
        );
    }

    #[test]
    fn ids_that_could_not_be_a_host_label_are_refused() {
        let long = "a".repeat(RegionId::MAX_BYTES + 1);
        for id in [
            "",
            "a",
            "-asia",
            "asia-",
            "smp--asia",
            "SMP",
            "1asia",
            "smp_asia",
            "smp.asia",
            &long,
        ] {
            assert_eq!(RegionId::parse(id), Err(InvalidRegionId), "{id:?}");
        }
    }
}
