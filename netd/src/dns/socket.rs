//! Listening sockets: at addresses that no interface may have yet (IP_FREEBIND, ip(7)).

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use super::kept::Halves;
use crate::error::{Error, Result};

/// Questions that came and could not be read yet, in bytes; the kernel's default holds some 200.
const RECEIVE_BUFFER: usize = 4 << 20;
const BACKLOG: i32 = 512;

/// A pair of sockets at one address and port.
pub(super) struct Pair {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

/// Why a pair could not be had.
pub(super) enum Refused {
    /// Another program has the port.
    Taken,
    /// Anything else.
    Failed(Error),
}

/// Listens at an address by both transports, with what was kept of the pair.
pub(super) fn listen_at(address: SocketAddr, kept: Halves) -> std::result::Result<Pair, Refused> {
    let refuse = |errno: Errno| match errno {
        Errno::ADDRINUSE => Refused::Taken,
        errno => Refused::Failed(Error::socket("listen at", address)(errno.into())),
    };
    let udp = match kept.udp {
        Some(udp) => udp,
        None => datagrams_at(address).map_err(refuse)?,
    };
    let tcp = match kept.tcp {
        Some(tcp) => tcp,
        None => streams_at(address).map_err(refuse)?,
    };
    Ok(Pair { udp, tcp })
}

fn datagrams_at(address: SocketAddr) -> std::result::Result<UdpSocket, Errno> {
    let udp = open(address, SocketType::DGRAM)?;
    // More than the limit is allowed to the privileged only; without, the limit will do.
    let _ = sockopt::set_socket_recv_buffer_size_force(&udp, RECEIVE_BUFFER)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(&udp, RECEIVE_BUFFER));
    Ok(udp.into())
}

fn streams_at(address: SocketAddr) -> std::result::Result<TcpListener, Errno> {
    let tcp = open(address, SocketType::STREAM)?;
    listen(&tcp, BACKLOG)?;
    Ok(tcp.into())
}

/// The port that a socket was given.
pub(super) fn port_of(address: std::io::Result<SocketAddr>) -> Result<u16> {
    address
        .map(|address| address.port())
        .map_err(Error::socket("ask for the port of", "a listener"))
}

fn open(address: SocketAddr, kind: SocketType) -> std::result::Result<OwnedFd, Errno> {
    let family = match address.ip() {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, kind, flags, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_freebind(&socket, true)?;
        sockopt::set_ipv6_v6only(&socket, true)?;
    } else {
        sockopt::set_ip_freebind(&socket, true)?;
    }
    if kind == SocketType::STREAM {
        // Connections of an earlier daemon that are being closed do not hold the port.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    Ok(socket)
}
