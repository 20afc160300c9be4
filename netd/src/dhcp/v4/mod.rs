//! The client of DHCPv4 (RFC 2131).

mod message;
mod port;
mod terms;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use cleat_engine::kernel::Mac;
use cleat_front::dhcp::{Asked, Leased};
use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};
use tokio::time::Instant;

use super::clock;
use super::exchange::{Pace, exchange};
use super::failure::Failure;
use super::lease::Held;
use super::link::Link;
use super::settings::Settings;
use message::Client;
use port::{Port, Way};

/// A server that offered and does not acknowledge is given up.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(7);
/// After a refusal, which may be repeated.
const BREATH: Duration = Duration::from_millis(500);

/// An acknowledgement, or its refusal.
enum Verdict {
    Given(Box<Message>, Option<Mac>),
    Refused(String),
}

/// Leases an address; `before` is hoped for.
pub(super) async fn acquire(
    link: &Link,
    asked: &Asked,
    before: Option<IpAddr>,
    settings: &Settings,
) -> Result<(Held, Leased), Failure> {
    let port = Port::open(link, None)?;
    let client = client(link, asked, settings);
    let before = before.and_then(v4);
    let end = Instant::now() + settings.whole();
    let way = Way::broadcast(Ipv4Addr::UNSPECIFIED);
    let mut refusal = None;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let seconds = settings.whole().as_secs();
            return Err(refusal.unwrap_or(Failure::NoAnswer { family: "v4", seconds }));
        }
        let pace = settings.pace(left);
        let xid = rand::random();
        // After a refusal the earlier address is not asked for again.
        let discover = client.discover(xid, before.filter(|_| refusal.is_none()));
        let offers = |message: Message, _| {
            let fits = message.xid() == xid && is(&message, MessageType::Offer);
            let server = terms::server(&message).filter(|_| fits)?;
            Some((message.yiaddr(), server))
        };
        let offered =
            exchange(&port, pace, |after| port.send(&secs(&discover, after), way), offers).await;
        let (address, server) = match (offered, refusal.take()) {
            (Err(_), Some(refusal)) => return Err(refusal),
            (offered, _) => offered?,
        };
        let asked_at = clock::now();
        let request = client.request(xid, address, server);
        let pace = Pace { whole: ACKNOWLEDGEMENT.min(left), ..pace };
        let send = |after| port.send(&secs(&request, after), way);
        match exchange(&port, pace, send, verdict(xid)).await {
            Ok(Verdict::Given(ack, hop)) => match terms::held(&ack, server, hop, asked_at) {
                Some(held) => return Ok((held, terms::leased(&ack, asked))),
                None => refusal = Some(refused("its lease has no time".to_owned())),
            },
            Ok(Verdict::Refused(text)) => refusal = Some(refused(text)),
            Err(Failure::NoAnswer { .. }) => continue,
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(BREATH).await;
    }
}

/// Asks for more time: the server that gave it, or any.
pub(super) async fn extend(
    link: &Link,
    asked: &Asked,
    held: &Held,
    (any, pace): (bool, Pace),
    settings: &Settings,
) -> Result<Held, Failure> {
    let Some((address, server)) = v4(held.address).zip(server_of(held)) else {
        return Err(Failure::Link("its record is of no IPv4 address".to_owned()));
    };
    let port = Port::open(link, Some(address))?;
    let xid = rand::random();
    let extend = client(link, asked, settings).extend(xid, address);
    let way = match any {
        true => Way::broadcast(address),
        false => Way::to(address, server, held.server.hop),
    };
    let asked_at = clock::now();
    let send = |after| port.send(&secs(&extend, after), way);
    match exchange(&port, pace, send, verdict(xid)).await? {
        Verdict::Given(ack, hop) if ack.yiaddr() == address => {
            let server = terms::server(&ack).unwrap_or(server);
            let held = terms::held(&ack, server, hop, asked_at);
            held.ok_or_else(|| refused("its lease has no time".to_owned()))
        }
        Verdict::Given(ack, _) => Err(refused(format!("it gives {} instead", ack.yiaddr()))),
        Verdict::Refused(text) => Err(refused(text)),
    }
}

/// Gives it back; nobody answers.
pub(super) fn release(
    link: &Link,
    asked: &Asked,
    held: &Held,
    settings: &Settings,
) -> Result<(), Failure> {
    let Some((address, server)) = v4(held.address).zip(server_of(held)) else { return Ok(()) };
    let port = Port::open(link, None)?;
    let release = client(link, asked, settings).release(rand::random(), address, server);
    port.send(&release, Way::to(address, server, held.server.hop))
}

fn client<'a>(link: &Link, asked: &'a Asked, settings: &Settings) -> Client<'a> {
    Client { asked, mac: link.mac, broadcast: settings.broadcast || link.shared }
}

fn verdict(xid: u32) -> impl FnMut(Message, Option<Mac>) -> Option<Verdict> + Send {
    move |message, hop| match message.opts().msg_type() {
        _ if message.xid() != xid => None,
        Some(MessageType::Ack) => Some(Verdict::Given(Box::new(message), hop)),
        Some(MessageType::Nak) => Some(Verdict::Refused(words(&message))),
        _ => None,
    }
}

/// The server's own words, where it has any.
fn words(nak: &Message) -> String {
    match nak.opts().get(OptionCode::Message) {
        Some(DhcpOption::Message(text)) if !text.is_empty() => text.clone(),
        _ => "without a reason (NAK)".to_owned(),
    }
}

fn refused(text: String) -> Failure {
    Failure::Refused { family: "v4", text }
}

fn is(message: &Message, kind: MessageType) -> bool {
    message.opts().msg_type() == Some(kind)
}

/// The message with the time since the first one of its kind.
fn secs(message: &Message, after: Duration) -> Message {
    let mut message = message.clone();
    message.set_secs(u16::try_from(after.as_secs()).unwrap_or(u16::MAX));
    message
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}

fn server_of(held: &Held) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(held.server.id.as_slice()).ok().map(Ipv4Addr::from)
}
