//! DHCPv6 on a link: UDP from the container's link-local address.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use cleat_engine::kernel::{Mac, Rtnl};
use dhcproto::v6::Message;
use dhcproto::{Decodable, Decoder, Encodable};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::super::failure::Failure;
use super::super::link::Link;

const CLIENT: u16 = 546;
const SERVER: u16 = 547;
/// `All_DHCP_Relay_Agents_and_Servers`.
const EVERYBODY: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// `RT_SCOPE_LINK`.
const ON_LINK: u8 = 253;
/// Duplicate address detection takes one to two seconds, where it is on.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A socket.
pub(super) struct Port {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Port {
    pub(super) async fn open(link: &Link) -> Result<Self, Failure> {
        let own = link_local(link).await?;
        let here = SocketAddrV6::new(own, CLIENT, 0, link.index);
        let socket = link.run(|| {
            let socket = std::net::UdpSocket::bind(here)?;
            socket.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(socket)
        })?;
        let socket =
            UdpSocket::from_std(socket).map_err(|error| Failure::Link(error.to_string()))?;
        Ok(Self { socket, to: SocketAddrV6::new(EVERYBODY, SERVER, 0, link.index).into() })
    }

    pub(super) fn send(&self, message: &Message) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::Link(format!("send: {error}"));
        let bytes = message.to_vec().map_err(|error| failed(&error))?;
        match self.socket.try_send_to(&bytes, self.to) {
            Ok(_) => Ok(()),
            // What has no room is lost as any packet may be, and sent again.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(failed(&error)),
        }
    }

    /// It can be written to; a new one is not known to be.
    pub(super) async fn ready(&self) -> Result<(), Failure> {
        let ready = self.socket.writable().await;
        ready.map_err(|error| Failure::Link(format!("send: {error}")))
    }
}

impl super::super::exchange::Port for Port {
    type Message = Message;

    const FAMILY: &'static str = "v6";

    async fn receive(&self) -> Result<(Message, Option<Mac>), Failure> {
        let mut buffer = vec![0; 2048];
        loop {
            let received = self.socket.recv(&mut buffer).await;
            let count = received.map_err(|error| Failure::Link(format!("receive: {error}")))?;
            let bytes = buffer.get(..count).unwrap_or_default();
            if let Ok(message) = Message::decode(&mut Decoder::new(bytes)) {
                return Ok((message, None));
            }
        }
    }
}

/// The link's own address among neighbours, once it may be used.
async fn link_local(link: &Link) -> Result<Ipv6Addr, Failure> {
    let end = Instant::now() + PATIENCE;
    loop {
        let addresses = link.run(|| Rtnl::open()?.addresses(Some(link.index)))?;
        let usable = addresses.iter().filter(|a| a.scope == ON_LINK && !a.tentative);
        let mut own = usable.filter_map(|address| match address.net.addr() {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        });
        if let Some(own) = own.next_back() {
            return Ok(own);
        }
        if Instant::now() > end {
            let text = "the interface has no usable link-local IPv6 address, which DHCPv6 needs";
            return Err(Failure::Link(text.to_owned()));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
