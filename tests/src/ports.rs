//! Which ports the platform listens on, all of 127.0.0.1.

use std::net::TcpListener;

use anyhow::{Context as _, Result, bail};

/// The ports of one platform: of the edge, and of each region's core, PostgreSQL and Kafka.
#[derive(Debug, Clone, Copy)]
pub enum Ports {
    /// Fixed: counted from a base, so that people find them again.
    From(u16),
    /// Whatever is free: for tests, which must not meet a platform that is up.
    Free,
}

/// Whether nobody listens on a port.
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// The base of the fixed ports, if `SMP_PORT_BASE` does not say otherwise.
pub const DEFAULT_BASE: u16 = 8700;

/// What listens, by its offset from the base.
#[derive(Debug, Clone, Copy)]
pub enum Listener {
    /// The edge.
    Edge,
    /// workerd's debugger, which wrangler starts beside the edge.
    Inspector,
    /// The core of the region at an index.
    Core(u16),
    /// The PostgreSQL server of the region at an index.
    Postgres(u16),
    /// The Kafka broker of the region at an index.
    Kafka(u16),
    /// The same broker's controller, which only the broker itself asks.
    KafkaController(u16),
    /// The same broker for those who come from another region: MirrorMaker 2.
    KafkaOutside(u16),
    /// The replicator of the region at an index.
    Replicator(u16),
    /// Pancake's REST interface, which the platform has one of its own of.
    Pancake,
}

impl Listener {
    fn offset(self) -> u16 {
        match self {
            Self::Edge => 0,
            Self::Core(index) => 1 + index,
            Self::Postgres(index) => 11 + index,
            Self::Inspector => 20,
            Self::Pancake => 21,
            Self::Kafka(index) => 31 + index,
            Self::KafkaController(index) => 41 + index,
            Self::Replicator(index) => 51 + index,
            Self::KafkaOutside(index) => 61 + index,
        }
    }
}

impl Ports {
    /// The fixed ports: from `SMP_PORT_BASE`, else from [`DEFAULT_BASE`].
    pub fn from_env() -> Result<Self> {
        match std::env::var("SMP_PORT_BASE") {
            Err(_) => Ok(Self::From(DEFAULT_BASE)),
            Ok(base) => match base.parse() {
                Ok(base @ 1024..=65_000) => Ok(Self::From(base)),
                _ => bail!("SMP_PORT_BASE: a port from 1024 to 65000 is expected"),
            },
        }
    }

    /// The port of a listener, seen to be free. `what` is for the message if it is taken.
    pub fn take(self, listener: Listener, what: &str) -> Result<u16> {
        let port = match self {
            Self::From(base) => base + listener.offset(),
            Self::Free => 0,
        };
        let socket = TcpListener::bind(("127.0.0.1", port)).with_context(|| {
            format!(
                "port {port} ({what}) is taken: stop what listens there ('make down', if it is ours), \
                 or set SMP_PORT_BASE to another base (now {})",
                port - listener.offset()
            )
        })?;
        Ok(socket.local_addr()?.port())
    }
}
