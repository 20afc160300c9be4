//! Sockets that the service manager kept while no netd ran: what was asked meanwhile waits in them,
//! and is answered by the next netd. Without a service manager there are none.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;

use super::socket::Pair;
use crate::service_manager;

/// Sockets by the address that they are bound to, until they are claimed.
#[derive(Debug, Default)]
pub struct Kept {
    sockets: HashMap<SocketAddr, Halves>,
}

/// What was kept of a pair.
#[derive(Debug, Default)]
pub(super) struct Halves {
    pub(super) udp: Option<UdpSocket>,
    pub(super) tcp: Option<TcpListener>,
}

impl Kept {
    /// One that datagrams come in at. What has no address is of no use.
    pub(crate) fn add_udp(&mut self, socket: UdpSocket) {
        if let Ok(at) = socket.local_addr() {
            self.sockets.entry(at).or_default().udp = Some(socket);
        }
    }

    /// One that streams come in at.
    pub(crate) fn add_tcp(&mut self, listener: TcpListener) {
        if let Ok(at) = listener.local_addr() {
            self.sockets.entry(at).or_default().tcp = Some(listener);
        }
    }

    /// What was kept for an address.
    pub(super) fn claim(&mut self, at: SocketAddr) -> Halves {
        self.sockets.remove(&at).unwrap_or_default()
    }

    /// What nobody claimed is closed, here and there: it would hold its port for ever.
    pub(super) fn close(&mut self) {
        self.sockets.drain().for_each(|(at, _)| forget(at));
    }
}

/// Has a pair kept, from now on and beyond this process's end.
pub(super) fn keep(at: SocketAddr, pair: &Pair) {
    service_manager::keep(&name(at), &[pair.udp.as_fd(), pair.tcp.as_fd()]);
}

/// Has it kept no longer.
pub(super) fn forget(at: SocketAddr) {
    service_manager::forget(&name(at));
}

/// What the pair is called there, where no name may hold a colon.
fn name(at: SocketAddr) -> String {
    format!("names_{}_{}", at.ip().to_string().replace(':', "-"), at.port())
}
