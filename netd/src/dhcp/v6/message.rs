//! The client's messages (RFC 8415, section 16).

use std::net::Ipv6Addr;
use std::time::Duration;

use cleat_front::dhcp::Asked;
use dhcproto::v6::{DhcpOption, DhcpOptions, IAAddr, IANA, Message, MessageType, ORO, OptionCode};

/// `DUID-UUID` (RFC 6355).
const DUID_UUID: [u8; 2] = [0, 4];

/// The client's identifier. It follows from the attachment, and outlives the daemon.
pub(super) fn duid(asked: &Asked) -> Vec<u8> {
    let seed = asked.id.seed();
    DUID_UUID.iter().chain(seed.iter().take(16)).copied().collect()
}

/// The number of its one association: it has a DUID of its own.
pub(super) const ASSOCIATION: u32 = 1;

/// Is there a server? An address is hoped for.
pub(super) fn solicit(asked: &Asked, hoped: Option<Ipv6Addr>) -> Message {
    let mut message = message(MessageType::Solicit, asked, hoped);
    message.opts_mut().insert(DhcpOption::RapidCommit);
    message
}

/// To a server that advertised an address, or gave it: a message of another kind about it.
pub(super) fn about(
    kind: MessageType,
    asked: &Asked,
    address: Ipv6Addr,
    server: Option<&[u8]>,
) -> Message {
    let mut message = message(kind, asked, Some(address));
    if let Some(server) = server {
        message.opts_mut().insert(DhcpOption::ServerId(server.to_vec()));
    }
    message
}

fn message(kind: MessageType, asked: &Asked, address: Option<Ipv6Addr>) -> Message {
    let mut message = Message::new(kind);
    let mut inner = DhcpOptions::new();
    if let Some(addr) = address {
        let opts = DhcpOptions::new();
        inner.insert(DhcpOption::IAAddr(IAAddr { addr, preferred_life: 0, valid_life: 0, opts }));
    }
    let options = message.opts_mut();
    options.insert(DhcpOption::ClientId(duid(asked)));
    options.insert(DhcpOption::IANA(IANA { id: ASSOCIATION, t1: 0, t2: 0, opts: inner }));
    if kind != MessageType::Release {
        let opts = vec![OptionCode::DomainNameServers, OptionCode::DomainSearchList];
        options.insert(DhcpOption::ORO(ORO { opts }));
    }
    message
}

/// The message with the time since the first one of its kind, in hundredths of a second.
pub(super) fn elapsed(message: &Message, after: Duration) -> Message {
    let mut message = message.clone();
    let hundredths = u16::try_from(after.as_millis() / 10).unwrap_or(u16::MAX);
    message.opts_mut().insert(DhcpOption::ElapsedTime(hundredths));
    message
}
