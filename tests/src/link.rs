//! The network between two regions, as far as it can be had on one machine: a port that leads to another,
//! and can be cut. What is under way while it is cut is held, not lost, as TCP would have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A port of this machine that leads to another.
#[derive(Debug)]
pub struct Link {
    port: u16,
    target: Arc<AtomicU16>,
    is_cut: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Link {
    /// Listens. Leads nowhere until [`Link::lead_to`].
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let target = Arc::new(AtomicU16::new(0));
        let (is_cut, gate) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, Arc::clone(&target), gate));
        Ok(Self {
            port,
            target,
            is_cut,
            accepting,
        })
    }

    /// Where it is entered.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it leads to from now on.
    pub fn lead_to(&self, port: u16) {
        self.target.store(port, Ordering::Release);
    }

    /// Lets nothing through any more, in either direction; nobody is told.
    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Lets through what has waited, and all that comes.
    pub fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: Arc<AtomicU16>, gate: watch::Receiver<bool>) {
    while let Ok((near, _)) = listener.accept().await {
        let mut gate = gate.clone();
        let target = Arc::clone(&target);
        tokio::spawn(async move {
            // A connection that is begun while the link is cut waits, too.
            if gate.wait_for(|is_cut| !is_cut).await.is_err() {
                return;
            }
            let target = ("127.0.0.1", target.load(Ordering::Acquire));
            let Ok(far) = TcpStream::connect(target).await else {
                return;
            };
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            tokio::join!(
                carry(near_read, far_write, gate.clone()),
                carry(far_read, near_write, gate)
            );
        });
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: watch::Receiver<bool>) {
    let mut bytes = vec![0; 65_536];
    while let Ok(count) = from.read(&mut bytes).await {
        if gate.wait_for(|is_cut| !is_cut).await.is_err() {
            return;
        }
        let carried = bytes.get(..count).unwrap_or_default();
        // The end of one direction goes through as well.
        let sent = if count == 0 {
            to.shutdown().await
        } else {
            to.write_all(carried).await
        };
        if sent.is_err() || count == 0 {
            return;
        }
    }
}
