//! Listening inside a container's namespace, for containers that no address of the host's can be
//! reached from. They ask 127.0.0.11; a table of ours leads that to a port that is free, so that
//! the container's own port 53 stays its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use cleat_engine::kernel::{Change, LinkChange, Namespace, Presence, Rtnl};
use cleat_engine::nft::{
    Backend, Base, Family, Hook, Kind, Netlink, Rule, Table, Transaction, expr,
};
use cleat_engine::service::DNS_PORT;

use super::kept::Halves;
use super::listeners::Listening;
use super::socket::{self, Pair, Refused};
use crate::error::{Error, Result};
use crate::names::{Entry, Netns};

/// Where containers ask.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const TABLE: Table = Table::new(Family::Ip, "cleat-names");
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A container that is listened in.
pub(super) struct Inside {
    pub(super) netns: Option<Box<Netns>>,
    /// The table goes with its socket.
    #[allow(dead_code, reason = "held for as long as questions are to be led here")]
    pub(super) table: Netlink,
    pub(super) listening: Listening,
}

impl Inside {
    /// The namespace is still the one at its path.
    pub(super) fn is_there(&self) -> bool {
        self.netns.as_ref().is_some_and(|netns| {
            let (path, cookie) = &**netns;
            Namespace::probe(path, *cookie) != Presence::Other && path.exists()
        })
    }
}

/// What listening inside needs.
pub(super) struct Made {
    pub(super) pair: Pair,
    pub(super) table: Netlink,
    pub(super) ports: (u16, u16),
}

/// Listens inside an attachment's container; `None` where its namespace is gone.
pub(super) fn listen(entry: &Entry) -> Result<Option<Made>> {
    let Some((path, cookie)) = entry.netns.as_deref() else { return Ok(None) };
    if Namespace::probe(path, *cookie) == Presence::Other {
        return Ok(None);
    }
    // A path that is not there names a namespace that is on its way out.
    let Ok(netns) = Namespace::open(path) else { return Ok(None) };
    netns.run(make)?.map(Some)
}

fn make() -> Result<Made> {
    // Bound before the loopback is up, answers would leave from another address.
    loopback_up()?;
    let pair = match socket::listen_at(SocketAddr::new(IpAddr::V4(ADDRESS), 0), Halves::default()) {
        Ok(pair) => pair,
        Err(Refused::Failed(error)) => return Err(error),
        Err(Refused::Taken) => {
            let taken = std::io::ErrorKind::AddrInUse.into();
            return Err(Error::socket("listen at", ADDRESS)(taken));
        }
    };
    let ports = (socket::port_of(pair.udp.local_addr())?, socket::port_of(pair.tcp.local_addr())?);
    let mut table = Netlink::open();
    let owned = lead(ports, true);
    match table.commit(&owned) {
        Ok(()) => {}
        // Before Linux 5.12 there are no owned tables; one that was left is replaced.
        Err(error) if error.is_unsupported() || error.is_permission() => {
            table.commit(&lead(ports, false)).map_err(cleat_engine::Error::from)?;
        }
        Err(error) => return Err(cleat_engine::Error::from(error).into()),
    }
    Ok(Made { pair, table, ports })
}

fn loopback_up() -> Result<()> {
    let mut rtnl = Rtnl::open()?;
    let Some(lo) = rtnl.link("lo")? else { return Ok(()) };
    if lo.flags & cleat_engine::kernel::link::iff::UP != 0 {
        return Ok(());
    }
    let up = LinkChange { name: "lo", index: lo.index, up: Some(true), ..LinkChange::default() };
    rtnl.apply(&[Change::Link(up)]).map_err(|refused| refused.error.into())
}

fn lead((udp, tcp): (u16, u16), owned: bool) -> Transaction {
    let mut tx = Transaction::new();
    if owned {
        tx.add_owned_table(TABLE);
    } else {
        tx.delete_table(TABLE).add_table(TABLE);
    }
    let base = Base { kind: Kind::Nat, hook: Hook::Output, priority: -100, drop: false };
    tx.add_chain(TABLE, "output", Some(base));
    let host = ipnet::Ipv4Net::from(ADDRESS).into();
    for (protocol, port) in [(UDP, udp), (TCP, tcp)] {
        let asked = vec![
            expr::match_ip_daddr(host),
            expr::match_dport(protocol, DNS_PORT),
            expr::dnat(IpAddr::V4(ADDRESS), Some(port)),
        ];
        tx.add_rule(TABLE, "output", Rule::new(asked));
    }
    tx
}
