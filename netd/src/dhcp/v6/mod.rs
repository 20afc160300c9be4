//! The client of DHCPv6 (RFC 8415), for one address that a server keeps account of.

mod message;
mod port;
mod terms;

use std::net::{IpAddr, Ipv6Addr};

use cleat_front::dhcp::{Asked, Leased};
use dhcproto::v6::{IAAddr, IANA, Message, MessageType};
use tokio::time::Instant;

use super::clock;
use super::exchange::{Pace, exchange};
use super::failure::Failure;
use super::lease::Held;
use super::link::Link;
use super::settings::Settings;
use port::Port;

type Given = (IAAddr, IANA);

/// Leases an address; `before` is hoped for, or one in the prefix on the link.
pub(super) async fn acquire(
    link: &Link,
    asked: &Asked,
    before: Option<IpAddr>,
    settings: &Settings,
) -> Result<(Held, Leased), Failure> {
    let port = Port::open(link).await?;
    port.ready().await?;
    let end = Instant::now() + settings.whole();
    let hoped = before.and_then(v6).or(asked.prefix.map(|prefix| prefix.network()));
    let mut refusal = None;
    let solicit = message::solicit(asked, hoped);
    let mut asked_at = clock::now();
    let offers = |message: Message, _| {
        let reply = message.msg_type() == MessageType::Reply;
        let fits = reply || message.msg_type() == MessageType::Advertise;
        let server = terms::server(&message, asked).filter(|_| fits && of(&message, &solicit))?;
        match terms::address(&message) {
            Ok(given) => Some((given, server, reply.then_some(message))),
            // Another server may have one.
            Err(text) => {
                refusal = Some(refused(text));
                None
            }
        }
    };
    let pace = settings.pace(settings.whole());
    let send = |after| port.send(&message::elapsed(&solicit, after));
    let offered = exchange(&port, pace, send, offers).await;
    let (given, server, reply) = match (offered, refusal) {
        (Err(Failure::NoAnswer { .. }), Some(refusal)) => return Err(refusal),
        (offered, _) => offered?,
    };
    let (given, reply) = match reply {
        Some(reply) => (given, reply),
        None => {
            asked_at = clock::now();
            let request = message::about(MessageType::Request, asked, given.0.addr, Some(&server));
            let pace = settings.pace(end.saturating_duration_since(Instant::now()));
            reply_to(&port, asked, &request, pace).await?
        }
    };
    let leased = terms::leased(given.0.addr, &reply, asked);
    Ok((terms::held(&given, server, None, asked_at), leased))
}

/// Asks for more time: the server that gave it, or any.
pub(super) async fn extend(
    link: &Link,
    asked: &Asked,
    held: &Held,
    (any, pace): (bool, Pace),
) -> Result<Held, Failure> {
    let Some(address) = v6(held.address) else {
        return Err(Failure::Link("its record is of no IPv6 address".to_owned()));
    };
    let port = Port::open(link).await?;
    port.ready().await?;
    let (kind, server) = match any {
        true => (MessageType::Rebind, None),
        false => (MessageType::Renew, Some(held.server.id.as_slice())),
    };
    let asked_at = clock::now();
    let extend = message::about(kind, asked, address, server);
    let (given, reply) = reply_to(&port, asked, &extend, pace).await?;
    if given.0.addr != address {
        return Err(refused(format!("it gives {} instead", given.0.addr)));
    }
    let server = terms::server(&reply, asked).unwrap_or_else(|| held.server.id.clone());
    Ok(terms::held(&given, server, None, asked_at))
}

/// Gives it back, without waiting for an answer: the interface is about to go.
pub(super) async fn release(link: &Link, asked: &Asked, held: &Held) -> Result<(), Failure> {
    let Some(address) = v6(held.address) else { return Ok(()) };
    let port = Port::open(link).await?;
    port.ready().await?;
    let server = Some(held.server.id.as_slice());
    port.send(&message::about(MessageType::Release, asked, address, server))
}

async fn reply_to(
    port: &Port,
    asked: &Asked,
    question: &Message,
    pace: Pace,
) -> Result<(Given, Message), Failure> {
    let replies = |message: Message, _| {
        let fits = message.msg_type() == MessageType::Reply && of(&message, question);
        terms::server(&message, asked).filter(|_| fits).map(|_| message)
    };
    let send = |after| port.send(&message::elapsed(question, after));
    let reply = exchange(port, pace, send, replies).await?;
    Ok((terms::address(&reply).map_err(refused)?, reply))
}

/// An answer to that very question.
fn of(message: &Message, question: &Message) -> bool {
    message.xid() == question.xid()
}

fn refused(text: String) -> Failure {
    Failure::Refused { family: "v6", text }
}

fn v6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(v6) => Some(v6),
        IpAddr::V4(_) => None,
    }
}
