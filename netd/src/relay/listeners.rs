//! Which ports are listened at: compares what should be with what is, closes first, since a port
//! may have gone from one container to another.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cleat_engine::record::Protocol;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::budget::Budget;
use super::published::Port;
use super::{tcp, udp};
use crate::daemon::Shared;
use crate::events::Trouble;

/// A port that could not be had is tried again after this.
const AGAIN: Duration = Duration::from_secs(2);
/// When nothing is wrong.
const NEVER: Duration = Duration::from_secs(3600);

/// All that is listened at.
pub(super) struct Listeners {
    shared: Arc<Shared>,
    open: BTreeMap<Port, (SocketAddr, JoinHandle<()>)>,
    due: Instant,
}

impl Listeners {
    /// None yet.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, open: BTreeMap::new(), due: Instant::now() }
    }

    /// When to settle again, if nothing happens.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Listens at these ports and at no others.
    pub(super) fn settle(&mut self, wanted: &BTreeMap<Port, SocketAddr>) {
        let none = BTreeMap::new();
        let config = self.shared.config();
        let wanted = if config.relay.enabled { wanted } else { &none };
        let budget = Budget::new(&config.relay);
        self.open.retain(|port, (to, serving)| {
            let stays = wanted.get(port) == Some(to);
            if !stays {
                // With it its connections end.
                serving.abort();
            }
            stays
        });
        let mut troubles = BTreeSet::new();
        for (port, to) in wanted {
            if self.open.contains_key(port) {
                continue;
            }
            let listening = match self.open.len() < budget.listeners {
                true => self.listen(*port, *to),
                false => Err(rustix::io::Errno::MFILE.into()),
            };
            match listening {
                Ok(serving) => drop(self.open.insert(*port, (*to, serving))),
                Err(error) => {
                    let text = trouble(*port, &error);
                    troubles.insert(Trouble::new("relay.trouble", "relay", text));
                }
            }
        }
        self.due = Instant::now() + if troubles.is_empty() { NEVER } else { AGAIN };
        self.shared.relay.listeners.store(self.open.len() as u64, Ordering::Relaxed);
        self.shared.events.settle("relay", troubles);
    }

    fn listen(&self, (protocol, port): Port, to: SocketAddr) -> io::Result<JoinHandle<()>> {
        let here = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let shared = self.shared.clone();
        Ok(if protocol == Protocol::Udp {
            let socket = std::net::UdpSocket::bind(here)?;
            socket.set_nonblocking(true)?;
            let socket = UdpSocket::from_std(socket)?;
            tokio::task::spawn_local(udp::serve(socket, to, shared))
        } else {
            let listener = std::net::TcpListener::bind(here)?;
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            tokio::task::spawn_local(tcp::serve(listener, to, shared))
        })
    }
}

/// In words that are the same for all ports where they have the same cause.
fn trouble((protocol, port): Port, error: &io::Error) -> String {
    let protocol = protocol.name();
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::MFILE) => {
            "file descriptors have run out: some published ports are not reached at ::1; raise the \
             limit (LimitNOFILE=)"
                .to_owned()
        }
        Some(rustix::io::Errno::ADDRNOTAVAIL) => {
            "this host has no ::1: published ports are not reached there".to_owned()
        }
        Some(rustix::io::Errno::ADDRINUSE) => format!(
            "another program listens at [::1]:{port}/{protocol}: the published port is not reached \
             there"
        ),
        _ => format!("listen at [::1]:{port}/{protocol}: {error}"),
    }
}
