//! DHCPv4 on a link: datagrams with headers of our own, since the container has no address yet,
//! and later none that its own rules could keep from a server.

use std::net::{Ipv4Addr, UdpSocket};

use cleat_engine::kernel::{Errno, Mac, PacketSocket};
use dhcproto::v4::{Message, Opcode};
use dhcproto::{Decodable, Decoder, Encodable};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use tokio::io::unix::AsyncFd;

use super::super::failure::Failure;
use super::super::link::Link;
use super::super::watched;

const CLIENT: u16 = 68;
const SERVER: u16 = 67;
const HOPS: u8 = 64;
const EVERYBODY: Mac = Mac([0xff; 6]);

/// A socket.
pub(super) struct Port {
    socket: AsyncFd<PacketSocket>,
    /// Takes what the kernel would refuse by ICMP, since nobody listens at the address.
    _taker: Option<UdpSocket>,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) from: Ipv4Addr,
    pub(super) to: Ipv4Addr,
    pub(super) hop: Mac,
}

impl Way {
    /// To whoever is there.
    pub(super) fn broadcast(from: Ipv4Addr) -> Self {
        Self { from, to: Ipv4Addr::BROADCAST, hop: EVERYBODY }
    }

    /// To a server; to every station where the way to it is not known.
    pub(super) fn to(from: Ipv4Addr, to: Ipv4Addr, hop: Option<Mac>) -> Self {
        Self { from, to, hop: hop.unwrap_or(EVERYBODY) }
    }
}

impl Port {
    /// On a link; `held` is the address that the link has.
    pub(super) fn open(link: &Link, held: Option<Ipv4Addr>) -> Result<Self, Failure> {
        let index = link.index;
        let socket = link.run(|| PacketSocket::for_udp(index, CLIENT))?;
        // A container that listens there itself is answered, too.
        let taker = held.and_then(|held| link.run(|| UdpSocket::bind((held, CLIENT))).ok());
        let socket = watched::watch(socket).map_err(|error| Failure::Link(error.to_string()))?;
        Ok(Self { socket, _taker: taker })
    }

    pub(super) fn send(&self, message: &Message, way: Way) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::Link(format!("send: {error}"));
        let payload = message.to_vec().map_err(|error| failed(&error))?;
        let headers = PacketBuilder::ipv4(way.from.octets(), way.to.octets(), HOPS);
        let headers = headers.udp(CLIENT, SERVER);
        let mut packet = Vec::with_capacity(headers.size(payload.len()));
        headers.write(&mut packet, &payload).map_err(|error| failed(&error))?;
        match self.socket.get_ref().send(&packet, way.hop) {
            // What has no room is lost as any packet may be, and sent again.
            Ok(()) | Err(Errno::NOBUFS | Errno::WOULDBLOCK) => Ok(()),
            Err(errno) => Err(failed(&errno)),
        }
    }
}

impl super::super::exchange::Port for Port {
    type Message = Message;

    const FAMILY: &'static str = "v4";

    async fn receive(&self) -> Result<(Message, Option<Mac>), Failure> {
        let failed = |error: std::io::Error| {
            Failure::Link(format!("DHCP{}: receive: {error}", Self::FAMILY))
        };
        let mut buffer = vec![0; 2048];
        loop {
            let mut ready = self.socket.readable().await.map_err(failed)?;
            let received = ready.try_io(|socket| {
                let (packet, hop) = socket.get_ref().receive(&mut buffer)?;
                Ok((read(packet), hop))
            });
            match received {
                Ok(Ok((Some(message), hop))) => return Ok((message, Some(hop))),
                Ok(Ok((None, _))) | Err(_) => {}
                Ok(Err(error)) => return Err(failed(error)),
            }
        }
    }
}

/// A server's message; `None` for anything else. A sum that the sender's device was to work out is
/// not compared: on a virtual link it never is worked out.
fn read(packet: &[u8]) -> Option<Message> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let (Some(NetSlice::Ipv4(_)), Some(TransportSlice::Udp(udp))) = (sliced.net, sliced.transport)
    else {
        return None;
    };
    let message = Message::decode(&mut Decoder::new(udp.payload())).ok()?;
    (message.opcode() == Opcode::BootReply).then_some(message)
}
