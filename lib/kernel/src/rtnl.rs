//! rtnetlink in our own words: questions about links, addresses and routes, and changes that
//! go together in one send.

use std::borrow::Borrow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rustix::event::{PollFd, Timespec, poll};

use crate::change::{Change, Route, Which, add_ip, family};
use crate::error::{Error, Result};
use crate::link::{self, Link, Operstate, ifla, ip_of};
use crate::netns::Namespace;
use crate::socket::{Protocol, Socket};
use crate::traffic::{self, Traffic};
use crate::vxlan::{self, FdbEntry};
use crate::wire::{Ack, Batch, Message, Received, attributes, find, flags, u32_of};

const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
/// `RTEXT_FILTER_SKIP_STATS`: counters of every queue are most of a link's message.
const SKIP_STATS: u32 = 1 << 3;

/// `RTN_*` (include/uapi/linux/rtnetlink.h).
const RTN_UNICAST: u8 = 1;
const RTN_BLACKHOLE: u8 = 6;
/// Bytes of a send after which another one begins.
const SEND: usize = 256 * 1024;
/// Messages whose refusals any socket's queue holds.
const FEW: usize = 64;
/// Bytes that the refusals of a whole send take in the queue.
const ANSWERS: usize = 8 * 1024 * 1024;

/// The way that packets to an address take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// The outgoing link's index.
    pub link: u32,
    /// The path's MTU in bytes, where the route says more than the link does.
    pub mtu: Option<u32>,
}

/// An address on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The link's index.
    pub link: u32,
    /// The address with its prefix length.
    pub net: IpNet,
    /// `RT_SCOPE_*`: 0 is global.
    pub scope: u8,
    /// Duplicate address detection goes on.
    pub tentative: bool,
}

/// A neighbour entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The link's index.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// Who has it.
    pub mac: Option<link::Mac>,
    /// It does not expire.
    pub permanent: bool,
}

/// A refused change of an `apply`.
#[derive(Debug)]
pub struct Refused {
    /// Which change, from 0.
    pub index: usize,
    /// Why.
    pub error: Error,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// A route netlink socket of one network namespace.
#[derive(Debug)]
pub struct Rtnl {
    socket: Socket,
}

impl Rtnl {
    /// Of the calling thread's namespace.
    pub fn open() -> Result<Self> {
        Ok(Self { socket: Socket::open(Protocol::Route)? })
    }

    /// Of another namespace.
    pub fn open_in(namespace: &Namespace) -> Result<Self> {
        namespace.run(Self::open)?
    }

    /// The namespace's `SO_NETNS_COOKIE` (Linux 5.14).
    pub fn netns_cookie(&self) -> Option<u64> {
        self.socket.netns_cookie()
    }

    /// A link by name.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let mut batch = Batch::new();
        batch
            .message(RTM_GETLINK, 0, &[0; 16])
            .str(ifla::IFNAME, name)
            .u32(ifla::EXT_MASK, SKIP_STATS);
        self.socket.ask("get link", &mut batch, link::parse)
    }

    /// A link by index.
    pub fn link_by_index(&mut self, index: u32) -> Result<Option<Link>> {
        let [a, b, c, d] = index.to_ne_bytes();
        let mut batch = Batch::new();
        batch
            .message(RTM_GETLINK, 0, &[0, 0, 0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0])
            .u32(ifla::EXT_MASK, SKIP_STATS);
        self.socket.ask("get link", &mut batch, link::parse)
    }

    /// All links.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        self.dump_links(None)
    }

    /// The ports of a bridge.
    pub fn ports_of(&mut self, bridge: u32) -> Result<Vec<Link>> {
        let mut ports = self.dump_links(Some(bridge))?;
        ports.retain(|port| port.master == Some(bridge));
        Ok(ports)
    }

    /// What passed through all links so far.
    pub fn traffic(&mut self) -> Result<Vec<Traffic>> {
        let mut batch = Batch::new();
        drop(batch.message(traffic::RTM_GETSTATS, flags::DUMP, &traffic::question()));
        self.socket.dump("count traffic", &mut batch, traffic::parse)
    }

    /// The addresses of a link, or of all.
    pub fn addresses(&mut self, on: Option<u32>) -> Result<Vec<Address>> {
        let [a, b, c, d] = on.unwrap_or(0).to_ne_bytes();
        let mut batch = Batch::new();
        drop(batch.message(RTM_GETADDR, flags::DUMP, &[0, 0, 0, 0, a, b, c, d]));
        let mut found = self.socket.dump("list addresses", &mut batch, parse_address)?;
        // Kernels that do not check strictly do not filter either.
        found.retain(|address| on.is_none_or(|on| address.link == on));
        Ok(found)
    }

    /// The unicast routes of the main table.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        let mut routes = self.all_routes()?;
        routes.retain(is_in_main);
        Ok(routes)
    }

    /// The unicast routes of all tables.
    pub fn all_routes(&mut self) -> Result<Vec<Route>> {
        let mut routes = self.dump_routes(|_| {}, [0; 2])?;
        routes.retain(|route| !route.blackhole);
        Ok(routes)
    }

    /// The routes of the main table by a link that have a protocol (`RTPROT_*`).
    pub fn routes_by(&mut self, link: u32, protocol: u8) -> Result<Vec<Route>> {
        let by_link = |message: &mut Message<'_>| {
            message.u32(4, link);
        };
        let mut routes = self.dump_routes(by_link, [protocol, RTN_UNICAST])?;
        // Kernels that do not check strictly do not filter either.
        routes.retain(|r| {
            r.link == Some(link) && r.protocol == protocol && is_in_main(r) && !r.blackhole
        });
        Ok(routes)
    }

    /// The routes by a link, of all tables.
    pub fn routes_of(&mut self, link: u32) -> Result<Vec<Route>> {
        let by_link = |message: &mut Message<'_>| {
            message.u32(4, link);
        };
        let mut routes = self.dump_routes(by_link, [0; 2])?;
        routes.retain(|route| route.link.is_none_or(|by| by == link));
        Ok(routes)
    }

    /// The routes of the main table that drop what is sent there and have a protocol.
    pub fn blackholes(&mut self, protocol: u8) -> Result<Vec<Route>> {
        let mut routes = self.dump_routes(|_| {}, [protocol, RTN_BLACKHOLE])?;
        routes.retain(|r| r.blackhole && r.protocol == protocol && is_in_main(r));
        Ok(routes)
    }

    fn dump_routes(
        &mut self,
        narrow: impl Fn(&mut Message<'_>),
        [protocol, kind]: [u8; 2],
    ) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut batch = Batch::new();
            let header = [family as u8, 0, 0, 0, 0, protocol, 0, kind, 0, 0, 0, 0];
            narrow(&mut batch.message(RTM_GETROUTE, flags::DUMP, &header));
            match self.socket.dump("list routes", &mut batch, parse_route) {
                Ok(found) => routes.extend(found),
                Err(error) if error.is_unsupported() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(routes)
    }

    /// The default route with the lowest metric, of a family.
    pub fn default_route(&mut self, ipv6: bool) -> Result<Option<Route>> {
        let routes = self.routes()?;
        Ok(routes
            .into_iter()
            .filter(|r| r.dst.prefix_len() == 0 && r.dst.addr().is_ipv6() == ipv6)
            .filter(|r| r.link.is_some())
            .min_by_key(|r| r.priority.unwrap_or(0)))
    }

    /// The link that packets to an address leave by; `None` where there is no route.
    pub fn route_to(&mut self, address: IpAddr) -> Result<Option<u32>> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let mut batch = Batch::new();
        {
            let header = [family(address), bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let mut message = batch.message(RTM_GETROUTE, 0, &header);
            match address {
                IpAddr::V4(v4) => message.bytes(1, &v4.octets()),
                IpAddr::V6(v6) => message.bytes(1, &v6.octets()),
            };
        }
        match self.socket.ask("get route", &mut batch, parse_route) {
            Ok(route) => Ok(route.and_then(|r| r.link)),
            Err(error)
                if matches!(
                    error.errno(),
                    Some(rustix::io::Errno::NETUNREACH | rustix::io::Errno::HOSTUNREACH)
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The ways that packets to these addresses take, in their order; `None` where there is none.
    pub fn paths_to(&mut self, addresses: &[IpAddr]) -> Result<Vec<Option<Path>>> {
        // As many answers as the socket's queue surely holds.
        const AT_ONCE: usize = 128;
        let mut paths = vec![None; addresses.len()];
        for (chunk, slots) in addresses.chunks(AT_ONCE).zip(paths.chunks_mut(AT_ONCE)) {
            let mut batch = Batch::new();
            for address in chunk {
                let bits = if address.is_ipv4() { 32 } else { 128 };
                let header = [family(*address), bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                add_ip(&mut batch.message(RTM_GETROUTE, 0, &header), 1, *address);
            }
            let first = self.socket.upcoming();
            // A refusal is an address without a route.
            let _ = self.socket.exchange(&mut batch, Ack::Last, |message| {
                let slot = slots.get_mut(message.seq.wrapping_sub(first) as usize);
                let route = parse_route(message).filter(|route| !route.blackhole);
                if let (Some(slot), Some(route)) = (slot, route) {
                    *slot = route.link.map(|link| Path { link, mtu: route.mtu });
                }
            })?;
        }
        Ok(paths)
    }

    /// The neighbour entries of a link, or of all.
    pub fn neighbours(&mut self, on: Option<u32>) -> Result<Vec<Neighbour>> {
        const NDA_IFINDEX: u16 = 8;
        let mut batch = Batch::new();
        {
            let mut message = batch.message(RTM_GETNEIGH, flags::DUMP, &[0; 12]);
            if let Some(on) = on {
                message.u32(NDA_IFINDEX, on);
            }
        }
        let mut found = self.socket.dump("list neighbours", &mut batch, parse_neighbour)?;
        found.retain(|n| on.is_none_or(|on| n.link == on));
        Ok(found)
    }

    /// The addresses that the host answers for on a link though they are elsewhere.
    pub fn proxies(&mut self, link: u32) -> Result<Vec<IpAddr>> {
        const NTF_PROXY: u8 = 0x08;
        let mut batch = Batch::new();
        let header = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NTF_PROXY, 0];
        drop(batch.message(RTM_GETNEIGH, flags::DUMP, &header));
        let found = self.socket.dump("list proxies", &mut batch, parse_neighbour)?;
        Ok(found.into_iter().filter(|n| n.link == link).map(|n| n.address).collect())
    }

    /// The forwarding database of a VXLAN device.
    pub fn fdb(&mut self, device: u32) -> Result<Vec<FdbEntry>> {
        let mut batch = Batch::new();
        drop(batch.message(RTM_GETNEIGH, flags::DUMP, &vxlan::fdb_header(device)));
        let found = self.socket.dump("list forwarding entries", &mut batch, vxlan::parse_fdb)?;
        Ok(found.into_iter().filter(|(link, _)| *link == device).map(|(_, e)| e).collect())
    }

    /// The neighbour entry for an address on a link.
    pub fn neighbour(&mut self, link: u32, address: IpAddr) -> Result<Option<Neighbour>> {
        let mut batch = Batch::new();
        {
            let [a, b, c, d] = link.to_ne_bytes();
            let header = [family(address), 0, 0, 0, a, b, c, d, 0, 0, 0, 0];
            let mut message = batch.message(RTM_GETNEIGH, 0, &header);
            match address {
                IpAddr::V4(v4) => message.bytes(1, &v4.octets()),
                IpAddr::V6(v6) => message.bytes(1, &v6.octets()),
            };
        }
        self.socket.ask("get neighbour", &mut batch, parse_neighbour)
    }

    /// Makes changes in one send and waits for the last. All are tried; the first refused one
    /// is told.
    pub fn apply(&mut self, changes: &[Change<'_>]) -> std::result::Result<(), Refused> {
        let refused = self.apply_all(changes).map_err(|error| Refused { index: 0, error })?;
        refused.into_iter().min_by_key(|refused| refused.index).map_or(Ok(()), Err)
    }

    /// Makes any number of changes, as many in one send as the kernel takes well, and waits for the
    /// last of each. All are tried; all refused ones are told.
    pub fn apply_all<'c, C: Borrow<Change<'c>>>(
        &mut self,
        changes: impl IntoIterator<Item = C>,
    ) -> Result<Vec<Refused>> {
        let mut all = Vec::new();
        let mut changes = changes.into_iter().enumerate().peekable();
        while changes.peek().is_some() {
            let mut batch = Batch::new();
            let mut of_message: Vec<(usize, C)> = Vec::new();
            let mut ends = Vec::new();
            while batch.size() < SEND
                && let Some((index, change)) = changes.next()
            {
                change.borrow().encode(&mut batch);
                ends.push(batch.len());
                of_message.push((index, change));
            }
            if batch.len() > FEW {
                // Were all refused, the refusals had to fit: the acknowledgement comes after them.
                self.socket.set_receive_buffer(ANSWERS)?;
            }
            for refusal in self.socket.send_all(&mut batch)? {
                let at = ends.partition_point(|end| *end <= refusal.index);
                let (index, op, object) = match of_message.get(at) {
                    Some((index, change)) => {
                        let (op, object) = change.borrow().describe();
                        (*index, op, object)
                    }
                    None => (0, "", String::new()),
                };
                all.push(Refused { index, error: refusal.into_error(op, object) });
            }
        }
        Ok(all)
    }

    /// Makes a change where its absence is wanted: what is not there is no error.
    pub fn remove(&mut self, change: Change<'_>) -> Result<bool> {
        match self.apply(&[change]) {
            Ok(()) => Ok(true),
            // EADDRNOTAVAIL: deleting an address that the link does not have.
            Err(refused)
                if refused.error.is_not_found()
                    || refused.error.errno() == Some(rustix::io::Errno::ADDRNOTAVAIL) =>
            {
                Ok(false)
            }
            Err(refused) => Err(refused.error),
        }
    }

    /// Removes a link by name, waiting out the kernel's barrier.
    pub fn delete_link(&mut self, name: &str) -> Result<bool> {
        self.remove(Change::DeleteLink(Which::Name(name.to_owned())))
    }

    /// Waits until a link is operationally up.
    pub fn wait_up(&mut self, index: u32, limit: Duration) -> Result<()> {
        self.poll_until(
            limit,
            || format!("operational state UP of link {index}"),
            |rtnl| match rtnl.link_by_index(index)? {
                Some(link) => Ok(link.operstate != Operstate::NotUp),
                None => Err(Error::kernel(
                    "wait for",
                    format!("link {index}"),
                    rustix::io::Errno::NODEV,
                )),
            },
        )
    }

    /// Waits until no IPv6 address of a link is tentative.
    pub fn wait_usable_v6(&mut self, index: u32, limit: Duration) -> Result<()> {
        self.poll_until(
            limit,
            || format!("end of IPv6 address detection on link {index}"),
            |rtnl| Ok(rtnl.addresses(Some(index))?.iter().all(|a| !a.tentative)),
        )
    }

    pub(crate) fn socket_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }

    fn dump_links(&mut self, master: Option<u32>) -> Result<Vec<Link>> {
        let mut batch = Batch::new();
        {
            let mut message = batch.message(RTM_GETLINK, flags::DUMP, &[0; 16]);
            message.u32(ifla::EXT_MASK, SKIP_STATS);
            if let Some(master) = master {
                message.u32(ifla::MASTER, master);
            }
        }
        self.socket.dump("list links", &mut batch, link::parse)
    }

    /// Asks again and again, at growing distances from 50 µs: the states waited for follow
    /// within a fraction of a millisecond, and their notices come no earlier.
    fn poll_until(
        &mut self,
        limit: Duration,
        what: impl Fn() -> String,
        mut done: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(50);
        while !done(self)? {
            if start.elapsed() > limit {
                return Err(Error::Timeout { what: what(), millis: limit.as_millis() as u64 });
            }
            wait(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        Ok(())
    }
}

fn wait(time: Duration) {
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
    let none: &mut [PollFd<'_>] = &mut [];
    let _ = poll(none, Some(&timeout));
}

fn is_in_main(route: &Route) -> bool {
    const RT_TABLE_MAIN: u32 = 254;
    route.table == Some(RT_TABLE_MAIN)
}

fn parse_address(message: Received<'_>) -> Option<Address> {
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    const IFA_FLAGS: u16 = 8;
    const IFA_F_TENTATIVE: u32 = 0x40;
    if message.kind != RTM_NEWADDR {
        return None;
    }
    let [family, prefix, old_flags, scope] = *message.payload.first_chunk::<4>()?;
    let rest = message.payload.get(8..)?;
    let bytes = find(rest, IFA_LOCAL).or_else(|| find(rest, IFA_ADDRESS))?;
    let all = find(rest, IFA_FLAGS).and_then(u32_of).unwrap_or(u32::from(old_flags));
    Some(Address {
        link: message.payload.get(4..8).and_then(u32_of)?,
        net: IpNet::new(ip_of(family, bytes)?, prefix).ok()?,
        scope,
        tentative: all & IFA_F_TENTATIVE != 0,
    })
}

fn parse_route(message: Received<'_>) -> Option<Route> {
    const RTM_F_CLONED: u32 = 0x200;
    if message.kind != RTM_NEWROUTE {
        return None;
    }
    let [family, prefix, _, _, table, protocol, scope, kind, ..] =
        *message.payload.first_chunk::<12>()?;
    let cloned = message.payload.get(8..12).and_then(u32_of)? & RTM_F_CLONED != 0;
    let blackhole = kind == RTN_BLACKHOLE;
    if kind != RTN_UNICAST && !blackhole && !cloned {
        return None;
    }
    let any = if i32::from(family) == libc::AF_INET {
        IpAddr::from(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::from(Ipv6Addr::UNSPECIFIED)
    };
    let mut route = Route::to(IpNet::new(any, prefix).ok()?);
    route.table = Some(u32::from(table));
    route.scope = Some(scope);
    route.protocol = protocol;
    route.blackhole = blackhole;
    for (kind, value) in attributes(message.payload.get(12..)?) {
        match kind {
            1 => route.dst = IpNet::new(ip_of(family, value)?, prefix).ok()?,
            4 => route.link = u32_of(value),
            5 => route.gateway = ip_of(family, value),
            6 => route.priority = u32_of(value),
            8 => {
                route.mtu = find(value, 2).and_then(u32_of);
                route.advmss = find(value, 8).and_then(u32_of);
            }
            15 => route.table = u32_of(value),
            _ => {}
        }
    }
    Some(route)
}

fn parse_neighbour(message: Received<'_>) -> Option<Neighbour> {
    const NUD_PERMANENT: u16 = 0x80;
    if message.kind != RTM_NEWNEIGH {
        return None;
    }
    let family = *message.payload.first()?;
    let rest = message.payload.get(12..)?;
    let state = message.payload.get(8..10).and_then(crate::wire::u16_of)?;
    Some(Neighbour {
        link: message.payload.get(4..8).and_then(u32_of)?,
        address: ip_of(family, find(rest, 1)?)?,
        mac: find(rest, 2).and_then(|m| m.try_into().ok()).map(link::Mac),
        permanent: state & NUD_PERMANENT != 0,
    })
}
