//! A macvlan of a host interface, made straight in the container's namespace; on request with
//! a macvlan for the host, since the kernel lets none of them reach the interface underneath.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use cleat_kernel::change::Which;
use cleat_kernel::{Change, Link, LinkChange, Mac, Macvlan, Namespace, Route, Rtnl};
use ipnet::IpNet;

use crate::Node;
use crate::attach::{Interface, container_mac, note_netns};
use crate::container::{self, Wanted};
use crate::error::{Error, Result};
use crate::identity::hashed_name;
use crate::plan::{AttachmentPlan, Grants, MacvlanMode, MacvlanPlan};
use crate::record::AttachmentRecord;
use crate::undo::Undo;

/// A master without carrier keeps its macvlans down for as long.
const CARRIER: Duration = Duration::from_secs(10);

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

/// Makes it.
pub(crate) fn attach<'a>(
    node: &'a Node,
    (plan, driver): (&'a AttachmentPlan, &'a MacvlanPlan),
    (netns, grants): (&'a Namespace, &Grants),
    rtnl: &mut Rtnl,
    (record, undo): (&mut AttachmentRecord, &mut Undo<'a>),
) -> Result<Vec<Interface>> {
    let mut inside = Rtnl::open_in(netns)?;
    let master = master(if driver.master_in_container { &mut inside } else { rtnl }, driver)?;
    if let Some(mtu) = plan.network.mtu
        && mtu > master.mtu
    {
        return Err(Error::MtuTooLarge { mtu, largest: master.mtu, master: master.name });
    }
    if inside.link(&plan.id.slot)?.is_some() {
        return Err(Error::InterfaceTaken { name: plan.id.slot.clone() });
    }
    let mac = container_mac(plan, grants);
    // The mode in which the container has the master's own address.
    let mac = (driver.mode != MacvlanMode::Passthru || plan.mac.is_some()).then_some(mac);

    let ifname = plan.id.slot.as_str();
    undo.push("link", || remove_named(netns, ifname).map_err(|e| e.to_string()));
    let change = Change::Macvlan(Macvlan {
        name: ifname,
        mac,
        mtu: plan.network.mtu,
        master: master.index,
        mode: driver.mode.number(),
        broadcast_queue: driver.broadcast_queue,
        netns: (!driver.master_in_container).then_some(netns),
    });
    let maker = if driver.master_in_container { &mut inside } else { &mut *rtnl };
    maker.apply(&[change]).map_err(|refused| Error::Kernel(refused.error))?;
    if let Some(link) = &mut record.link {
        link.master.clone_from(&master.name);
        link.mac = mac;
    }

    let wanted = Wanted { ifname, grants, dad: false, down: false, announce: true, routed: false };
    let configured = container::configure(node, netns, &wanted)?;
    note_netns(record, &configured);
    let link = inside
        .link(ifname)?
        .ok_or_else(|| Error::NoLink { role: "interface", name: ifname.to_owned() })?;
    inside.wait_up(link.index, CARRIER)?;
    if driver.host_access && !driver.master_in_container {
        let name = host_link(&master.name);
        let addresses: Vec<IpAddr> = grants.addresses.iter().map(|g| g.address.addr()).collect();
        if let Some(part) = &mut record.link {
            part.host_access = Some(name.clone());
        }
        let routed = (name.clone(), addresses.clone());
        undo.push("host access", move || {
            let mut rtnl = Rtnl::open().map_err(|e| e.to_string())?;
            remove_host_access(&mut rtnl, node, &routed.0, &routed.1).map_err(|e| e.to_string())
        });
        give_host_access(node, rtnl, &master, &addresses)?;
    }
    Ok(vec![Interface { name: link.name, mac: link.mac, mtu: link.mtu, inside: true }])
}

/// The interface underneath.
pub(crate) fn master(rtnl: &mut Rtnl, driver: &MacvlanPlan) -> Result<Link> {
    if let Some(name) = &driver.master {
        return rtnl
            .link(name)?
            .ok_or_else(|| Error::NoLink { role: "master", name: name.clone() });
    }
    let route = match rtnl.default_route(false)? {
        Some(route) => Some(route),
        None => rtnl.default_route(true)?,
    };
    let index = route.and_then(|route| route.link).ok_or(Error::NoDefaultRoute)?;
    rtnl.link_by_index(index)?.ok_or(Error::NoDefaultRoute)
}

/// Removes it, with what the host was given.
pub(crate) fn remove(node: &Node, record: &AttachmentRecord, netns: Option<&Path>) -> Result<()> {
    // A namespace that is gone took its interfaces along.
    if let Some(netns) = netns.and_then(|path| Namespace::open(path).ok())
        && !netns.is_current()
    {
        let mut rtnl = Rtnl::open_in(&netns)?;
        let noted = record.netns.as_ref().and_then(|n| n.cookie);
        let same = noted.is_none() || rtnl.netns_cookie() == noted;
        if same
            && let Some(link) = rtnl.link(&record.id.slot)?
            && link.kind == "macvlan"
        {
            rtnl.delete_link_fast(&Which::Index(link.index), None)?;
        }
    }
    if let Some(name) = record.link.as_ref().and_then(|link| link.host_access.as_deref()) {
        let addresses: Vec<IpAddr> = record.addresses.iter().map(|g| g.address.addr()).collect();
        remove_host_access(&mut Rtnl::open()?, node, name, &addresses)?;
    }
    Ok(())
}

fn remove_named(netns: &Namespace, ifname: &str) -> Result<()> {
    let mut rtnl = Rtnl::open_in(netns)?;
    rtnl.delete_link(ifname)?;
    Ok(())
}

/// The host's own macvlan on a master: `clm` and 11 hex digits.
pub(crate) fn host_link(master: &str) -> String {
    format!("clm{}", hashed_name(master, 11))
}

/// The host's macvlan answers for the host's addresses (`arp_ignore` is 0), and routes to the
/// containers lead through it. IPv6 answers only for addresses of the link itself, so those of
/// the master stand there too.
fn give_host_access(node: &Node, rtnl: &mut Rtnl, master: &Link, to: &[IpAddr]) -> Result<()> {
    let name = host_link(&master.name);
    let _lock = node.shared_locks().acquire(&name)?;
    if rtnl.link(&name)?.is_none() {
        let made = Change::Macvlan(Macvlan {
            name: &name,
            mac: Some(Mac::from_hash(&crate::identity::digest_of(&[node.boot_id(), &name]))),
            mtu: None,
            master: master.index,
            mode: MacvlanMode::Bridge.number(),
            broadcast_queue: None,
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
fn remove_host_access(rtnl: &mut Rtnl, node: &Node, name: &str, to: &[IpAddr]) -> Result<()> {
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
