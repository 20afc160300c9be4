//! The client's messages (RFC 2131, section 4.4; RFC 2132).

use std::net::Ipv4Addr;

use cleat_engine::kernel::Mac;
use cleat_front::dhcp::Asked;
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode, UnknownOption};

/// Asked for unless the configuration says otherwise: mask, classless routes before the others
/// (RFC 3442), router, name servers, domain, static routes, search list.
const USUAL: [u8; 7] = [1, 121, 3, 6, 15, 33, 119];
/// What comes in one frame of Ethernet: headers of IP and UDP not counted.
const LARGEST: u16 = 1472;

/// What all messages of a client have in common.
pub(super) struct Client<'a> {
    pub(super) asked: &'a Asked,
    pub(super) mac: Mac,
    pub(super) broadcast: bool,
}

impl Client<'_> {
    /// Is there a server? `before` is hoped for.
    pub(super) fn discover(&self, xid: u32, before: Option<Ipv4Addr>) -> Message {
        let mut message = self.message(MessageType::Discover, xid, Ipv4Addr::UNSPECIFIED);
        if let Some(before) = before {
            message.opts_mut().insert(DhcpOption::RequestedIpAddress(before));
        }
        message
    }

    /// This offer of this server.
    pub(super) fn request(&self, xid: u32, address: Ipv4Addr, server: Ipv4Addr) -> Message {
        let mut message = self.message(MessageType::Request, xid, Ipv4Addr::UNSPECIFIED);
        message.opts_mut().insert(DhcpOption::RequestedIpAddress(address));
        message.opts_mut().insert(DhcpOption::ServerIdentifier(server));
        message
    }

    /// More time for what is held.
    pub(super) fn extend(&self, xid: u32, held: Ipv4Addr) -> Message {
        self.message(MessageType::Request, xid, held)
    }

    /// It is given back.
    pub(super) fn release(&self, xid: u32, held: Ipv4Addr, server: Ipv4Addr) -> Message {
        let mut message = Message::new_with_id(
            xid,
            held,
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::UNSPECIFIED,
            &self.mac.0,
        );
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(MessageType::Release));
        options.insert(DhcpOption::ServerIdentifier(server));
        options.insert(DhcpOption::ClientIdentifier(self.asked.client.clone()));
        message
    }

    fn message(&self, kind: MessageType, xid: u32, held: Ipv4Addr) -> Message {
        let none = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(xid, held, none, none, none, &self.mac.0);
        if self.broadcast {
            message.set_flags(Flags::default().set_broadcast());
        }
        let request = self.asked.request.as_deref().unwrap_or(&USUAL);
        let request = request.iter().map(|code| OptionCode::from(*code)).collect();
        let options = message.opts_mut();
        options.insert(DhcpOption::MaxMessageSize(LARGEST));
        options.insert(DhcpOption::ParameterRequestList(request));
        for (code, value) in &self.asked.provide {
            let option = UnknownOption::new(OptionCode::from(*code), value.clone());
            options.insert(DhcpOption::Unknown(option));
        }
        options.insert(DhcpOption::MessageType(kind));
        options.insert(DhcpOption::ClientIdentifier(self.asked.client.clone()));
        message
    }
}
