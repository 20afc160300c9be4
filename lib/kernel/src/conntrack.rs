//! Forgetting tracked flows to ports that were just published or taken back: a flow that is
//! known goes on to where it went before, whatever the rules say now.

use std::net::IpAddr;

use crate::error::Result;
use crate::link::ip_of;
use crate::socket::{Protocol, Socket};
use crate::wire::{Batch, Message, Received, be32_of, find, flags};

const CT_GET: u16 = (1 << 8) | 1;
const CT_DELETE: u16 = (1 << 8) | 2;
const CT_NEW: u16 = 1 << 8;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_STATUS: u16 = 3;
const CTA_FILTER: u16 = 25;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const IPS_DST_NAT: u32 = 1 << 5;

/// A port that flows were directed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// The protocol's number (IANA).
    pub protocol: u8,
    /// The port.
    pub port: u16,
    /// The address; `None`: any.
    pub address: Option<IpAddr>,
}

/// A tracked flow: its original direction, as the kernel wrote it.
struct Flow {
    family: u8,
    tuple: Vec<u8>,
    to: IpAddr,
    translated: bool,
}

/// Deletes the flows to a port that are translated, or that end at an address for which
/// `is_local` says so. How many.
pub fn forget(
    socket: &mut Socket,
    port: Port,
    mut is_local: impl FnMut(IpAddr) -> bool,
) -> Result<usize> {
    debug_assert_eq!(socket.protocol(), Protocol::Netfilter);
    let mut deleted = 0;
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
        if port.address.is_some_and(|a| crate::change::family(a) != family) {
            continue;
        }
        for flow in flows(socket, family, port)? {
            let ours = port.address.is_none_or(|address| address == flow.to)
                && (flow.translated || is_local(flow.to));
            if ours && delete(socket, &flow)? {
                deleted += 1;
            }
        }
    }
    Ok(deleted)
}

fn flows(socket: &mut Socket, family: u8, port: Port) -> Result<Vec<Flow>> {
    let filtered = dump(socket, family, port, true);
    match filtered {
        // Before Linux 5.8 the kernel does not filter.
        Err(error) if error.is_unsupported() || error.errno() == Some(rustix::io::Errno::INVAL) => {
            dump(socket, family, port, false)
        }
        other => other,
    }
}

fn dump(socket: &mut Socket, family: u8, port: Port, filter: bool) -> Result<Vec<Flow>> {
    let mut batch = Batch::new();
    {
        let mut message = batch.message(CT_GET, flags::DUMP, &[family, 0, 0, 0]);
        if filter {
            // CTA_FILTER_F_CTA_PROTO_NUM and _DST_PORT (net/netfilter/nf_conntrack_netlink.c).
            const ORIG_FLAGS: u32 = (1 << 3) | (1 << 5);
            message.nest(CTA_TUPLE_ORIG, |tuple| {
                tuple.nest(CTA_TUPLE_PROTO, |proto| {
                    proto.u8(CTA_PROTO_NUM, port.protocol);
                    proto.bytes(CTA_PROTO_DST_PORT, &port.port.to_be_bytes());
                });
            });
            message.nest(CTA_FILTER, |filter: &mut Message<'_>| {
                filter.u32(1, ORIG_FLAGS).u32(2, 0);
            });
        }
    }
    socket.dump("list flows", &mut batch, |message| parse(message, port))
}

fn parse(message: Received<'_>, port: Port) -> Option<Flow> {
    if message.kind != CT_NEW {
        return None;
    }
    let family = *message.payload.first()?;
    let rest = message.payload.get(4..)?;
    let tuple = find(rest, CTA_TUPLE_ORIG)?;
    let proto = find(tuple, CTA_TUPLE_PROTO)?;
    let matches = find(proto, CTA_PROTO_NUM)?.first() == Some(&port.protocol)
        && find(proto, CTA_PROTO_DST_PORT)? == port.port.to_be_bytes();
    if !matches {
        return None;
    }
    // CTA_IP_V4_DST and CTA_IP_V6_DST.
    let ip = find(tuple, CTA_TUPLE_IP)?;
    let to = find(ip, 2).or_else(|| find(ip, 4))?;
    let status = find(rest, CTA_STATUS).and_then(be32_of).unwrap_or(0);
    Some(Flow {
        family,
        tuple: tuple.to_vec(),
        to: ip_of(family, to)?,
        translated: status & IPS_DST_NAT != 0,
    })
}

fn delete(socket: &mut Socket, flow: &Flow) -> Result<bool> {
    let mut batch = Batch::new();
    batch.message(CT_DELETE, 0, &[flow.family, 0, 0, 0]).nest(CTA_TUPLE_ORIG, |tuple| {
        tuple.raw(&flow.tuple);
    });
    match socket.send_batch(&mut batch)? {
        Ok(()) => Ok(true),
        Err(refusal) => {
            let error = refusal.into_error("delete flow", flow.to.to_string());
            if error.is_not_found() { Ok(false) } else { Err(error) }
        }
    }
}
