//! Where a broker is.

use anyhow::Result;
use protocol::RegionId;
use serde::{Deserialize, Serialize};

use crate::ports::{Listener, Ports, is_free};
use crate::secrets::random_hex;

/// Where a broker listens, and the passwords of those whom it lets in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Place {
    /// For the region's own.
    pub port: u16,
    /// For the broker itself.
    pub controller_port: u16,
    /// For those from other regions.
    pub outside_port: u16,
    /// In the order of `KafkaUser::ALL`.
    pub(super) passwords: [String; 4],
}

impl Place {
    /// Free ports, and new passwords. `index` numbers the regions of one platform.
    pub fn take(id: &RegionId, ports: Ports, index: u16) -> Result<Self> {
        let [port, controller_port, outside_port] = Self::ports(id, ports, index)?;
        Ok(Self {
            port,
            controller_port,
            outside_port,
            passwords: [random_hex()?, random_hex()?, random_hex()?, random_hex()?],
        })
    }

    /// The same passwords at other ports, if these are not free any more.
    pub fn take_again(&mut self, id: &RegionId, ports: Ports, index: u16) -> Result<()> {
        let mine = [self.port, self.controller_port, self.outside_port];
        if !mine.into_iter().all(is_free) {
            [self.port, self.controller_port, self.outside_port] = Self::ports(id, ports, index)?;
        }
        Ok(())
    }

    fn ports(id: &RegionId, ports: Ports, index: u16) -> Result<[u16; 3]> {
        Ok([
            ports.take(Listener::Kafka(index), &format!("Kafka of {id}"))?,
            ports.take(
                Listener::KafkaController(index),
                &format!("Kafka controller of {id}"),
            )?,
            ports.take(
                Listener::KafkaOutside(index),
                &format!("Kafka of {id} for other regions"),
            )?,
        ])
    }
}
