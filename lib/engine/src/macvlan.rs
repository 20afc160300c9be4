//! Macvlans beside the container's: on request the host gets one, since the kernel lets none of
//! them reach the interface underneath.

use std::net::IpAddr;

use cleat_kernel::{Change, Link, LinkChange, Mac, Route, Rtnl, VirtualKind, VirtualLink};
use ipnet::IpNet;

use crate::Node;
use crate::attach::{CARRIER, Making};
use crate::error::{Error, Result};
use crate::identity::hashed_name;
use crate::plan::MacvlanMode;
use crate::record::AttachmentRecord;
use crate::undo::Undo;

impl MacvlanMode {
    /// `MACVLAN_MODE_*` (include/uapi/linux/if_link.h).
    pub fn number(self) -> u32 {
        match self {
            Self::Private => 1,
            Self::Vepa => 2,
            Self::Bridge => 4,
            Self::Passthru => 8,
        }
    }
}

/// Gives the host a macvlan on the master too, and routes through it to the container.
pub(crate) fn give_host_access<'a>(
    all: &Making<'_, 'a>,
    rtnl: &mut Rtnl,
    master: &Link,
    (record, undo): (&mut AttachmentRecord, &mut Undo<'a>),
) -> Result<()> {
    let node = all.node;
    let name = host_link(&master.name);
    let addresses: Vec<IpAddr> = all.grants.addresses.iter().map(|g| g.address.addr()).collect();
    if let Some(part) = &mut record.link {
        part.host_access = Some(name.clone());
    }
    let routed = addresses.clone();
    undo.push("host access", move || {
        let mut rtnl = Rtnl::open().map_err(|e| e.to_string())?;
        take_away(&mut rtnl, node, &name, &routed).map_err(|e| e.to_string())
    });
    give(node, rtnl, master, &addresses)
}

/// Takes the way to a container away from the host, if it had one.
pub(crate) fn remove_host_access(node: &Node, record: &AttachmentRecord) -> Result<()> {
    let Some(name) = record.link.as_ref().and_then(|link| link.host_access.as_deref()) else {
        return Ok(());
    };
    let addresses: Vec<IpAddr> = record.addresses.iter().map(|g| g.address.addr()).collect();
    take_away(&mut Rtnl::open()?, node, name, &addresses)
}

/// The host's own macvlan on a master: `clm` and 11 hex digits.
pub(crate) fn host_link(master: &str) -> String {
    format!("clm{}", hashed_name(master, 11))
}

/// The host's macvlan answers for the host's addresses (`arp_ignore` is 0), and routes to the
/// containers lead through it. IPv6 answers only for addresses of the link itself, so those of
/// the master stand there too.
pub(crate) fn give(node: &Node, rtnl: &mut Rtnl, master: &Link, to: &[IpAddr]) -> Result<()> {
    let name = host_link(&master.name);
    let _lock = node.shared_locks().acquire(&name)?;
    if rtnl.link(&name)?.is_none() {
        let mode = MacvlanMode::Bridge.number();
        let made = Change::Virtual(VirtualLink {
            name: &name,
            kind: VirtualKind::Macvlan { mode, broadcast_queue: None },
            mac: Some(Mac::from_hash(&crate::identity::digest_of(&[node.boot_id(), &name]))),
            mtu: None,
            master: Some(master.index),
            netns: None,
        });
        rtnl.apply(&[made]).map_err(|refused| Error::Kernel(refused.error))?;
    }
    let link = rtnl
        .link(&name)?
        .ok_or_else(|| Error::NoLink { role: "host access", name: name.clone() })?;
    let mut changes = vec![Change::Link(LinkChange {
        name: &name,
        index: link.index,
        up: Some(true),
        ..LinkChange::default()
    })];
    let present = rtnl.addresses(Some(link.index))?;
    for address in rtnl.addresses(Some(master.index))? {
        let host = IpNet::from(address.net.addr());
        let global = address.scope == 0 && address.net.addr().is_ipv6();
        if global && !present.iter().any(|p| p.net == host) {
            changes.push(Change::AddAddress {
                link: link.index,
                address: host,
                nodad: true,
                no_prefix_route: false,
            });
        }
    }
    for address in to {
        let dst = IpNet::from(*address);
        changes.push(Change::AddRoute(Route { link: Some(link.index), ..Route::to(dst) }));
    }
    rtnl.apply(&changes).map_err(|refused| Error::Kernel(refused.error))?;
    rtnl.wait_up(link.index, CARRIER)?;
    Ok(())
}

/// Takes the routes away, and the host's macvlan with the last of them.
fn take_away(rtnl: &mut Rtnl, node: &Node, name: &str, to: &[IpAddr]) -> Result<()> {
    let _lock = node.shared_locks().acquire(name)?;
    let Some(link) = rtnl.link(name)? else {
        return Ok(());
    };
    for address in to {
        let dst = IpNet::from(*address);
        rtnl.remove(Change::DeleteRoute(Route { link: Some(link.index), ..Route::to(dst) }))?;
    }
    let single =
        |r: &Route| r.link == Some(link.index) && r.dst.prefix_len() == r.dst.max_prefix_len();
    let own = rtnl.addresses(Some(link.index))?;
    let used = rtnl.routes()?.iter().any(|r| single(r) && !own.iter().any(|a| a.net == r.dst));
    if !used {
        rtnl.delete_link(name)?;
    }
    Ok(())
}
