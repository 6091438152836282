//! A way to PostgreSQL that can be cut.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::database::server_address;

/// What lies on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing.
    Open,
    /// Connections are closed, and new ones too.
    Cut,
    /// Connections stay, and nothing comes through.
    Silent,
}

/// A proxy on a port of its own.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (way, seen) = watch::channel(Way::Open);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, seen.clone()));
            }
        });
        Self { address, way }
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// A URL that leads through here.
    pub(crate) fn through(&self, url: &str) -> String {
        let mut url = url::Url::parse(url).unwrap();
        url.set_ip_host(self.address.ip()).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        url.into()
    }
}

async fn forward(mut client: TcpStream, mut way: watch::Receiver<Way>) {
    let Ok(mut server) = TcpStream::connect(server_address()).await else {
        return;
    };
    loop {
        let seen = *way.borrow_and_update();
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server), if seen == Way::Open => return,
            changed = way.changed(), if seen != Way::Cut => {
                if changed.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}
