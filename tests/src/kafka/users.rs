//! Who connects to a broker, and whose it is.

use protocol::RegionId;

use super::acl;

/// Who connects to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaUser {
    /// The operator, who may do anything; the broker itself, too.
    Admin,
    /// `replicator relay`: writes master data in the hub.
    Relay,
    /// `replicator apply`: reads master data in its own region.
    Applier,
    /// MirrorMaker 2: reads in the hub what it writes in the region.
    Mirror,
}

impl KafkaUser {
    pub(super) const ALL: [Self; 4] = [Self::Admin, Self::Relay, Self::Applier, Self::Mirror];

    /// The name by which the broker knows the user.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Relay => "relay",
            Self::Applier => "applier",
            Self::Mirror => "mirror",
        }
    }
}

/// Whose broker it is, which says who may do what there.
#[derive(Debug, Clone, Copy)]
pub enum Part<'h> {
    /// The hub's.
    Hub,
    /// Of a region behind that hub.
    SpokeOf(&'h RegionId),
}

impl Part<'_> {
    /// Whether master data is written there.
    #[must_use]
    pub fn is_hub(self) -> bool {
        matches!(self, Self::Hub)
    }

    pub(super) fn rights(self) -> Vec<acl::Right> {
        match self {
            Self::Hub => acl::in_the_hub(),
            Self::SpokeOf(hub) => acl::in_a_spoke(hub),
        }
    }
}
