//! Links made straight in the container's namespace, on an interface of the host or on none:
//! macvlan, ipvlan, VLAN, dummy.

use std::path::Path;

use cleat_kernel::change::Which;
use cleat_kernel::link::iff;
use cleat_kernel::{
    Change, Link, LinkChange, Mac, Namespace, Operstate, Rtnl, VirtualKind, VirtualLink, tap,
};

use crate::Node;
use crate::attach::{CARRIER, Interface, Making, container_mac};
use crate::error::{Error, Result};
use crate::identity::AttachmentId;
use crate::macvlan;
use crate::plan::{AttachmentPlan, Driver, Grants, IpvlanMode, MacvlanMode};
use crate::record::AttachmentRecord;
use crate::undo::Undo;

/// What a record that names no kind is about.
const MACVLAN: &str = "macvlan";

/// The interface underneath.
struct Below<'p> {
    /// `None`: that of the default route.
    name: Option<&'p str>,
    /// It is in the container's namespace.
    in_container: bool,
}

fn below(driver: &Driver) -> Option<Below<'_>> {
    let (name, in_container) = match driver {
        Driver::Macvlan(plan) => (plan.master.as_deref(), plan.master_in_container),
        Driver::Ipvlan(plan) => (plan.master.as_deref(), plan.master_in_container),
        Driver::Vlan(plan) => (Some(plan.master.as_str()), plan.master_in_container),
        _ => return None,
    };
    Some(Below { name, in_container })
}

/// The kind of link that a driver makes in the container; `None`: it makes none there alone.
pub(crate) fn kind_of(driver: &Driver) -> Option<VirtualKind> {
    match driver {
        Driver::Macvlan(plan) => Some(VirtualKind::Macvlan {
            mode: plan.mode.number(),
            broadcast_queue: plan.broadcast_queue,
        }),
        Driver::Ipvlan(plan) => Some(VirtualKind::Ipvlan { mode: plan.mode.number() }),
        Driver::Vlan(plan) => Some(VirtualKind::Vlan { id: plan.id }),
        Driver::Dummy => Some(VirtualKind::Dummy),
        Driver::Bridge(_) | Driver::Ptp | Driver::Device(_) | Driver::Tap(_) => None,
    }
}

/// The kernel's name of the kind of link that a driver makes in the container alone.
pub(crate) fn kind_name(driver: &Driver) -> Option<&'static str> {
    match driver {
        Driver::Tap(_) => Some(tap::KIND),
        other => kind_of(other).map(VirtualKind::name),
    }
}

impl IpvlanMode {
    /// `IPVLAN_MODE_*` (include/uapi/linux/if_link.h).
    fn number(self) -> u16 {
        match self {
            Self::L2 => 0,
            Self::L3 => 1,
            Self::L3s => 2,
        }
    }
}

/// Makes it.
pub(crate) fn attach<'a>(
    all: &Making<'_, 'a>,
    kind: VirtualKind,
    rtnl: &mut Rtnl,
    (record, undo): (&mut AttachmentRecord, &mut Undo<'a>),
) -> Result<Vec<Interface>> {
    let (plan, netns) = (all.plan, all.netns);
    let driver = &plan.network.driver;
    let mut inside = Rtnl::open_in(netns)?;
    let below = below(driver);
    let in_container = below.as_ref().is_some_and(|below| below.in_container);
    let master = match below {
        Some(below) if in_container => Some(find_master(&mut inside, below.name)?),
        Some(below) => Some(find_master(rtnl, below.name)?),
        None => None,
    };
    if let (Some(master), Some(mtu)) = (&master, plan.network.mtu)
        && mtu > master.mtu
    {
        return Err(Error::MtuTooLarge { mtu, largest: master.mtu, master: master.name.clone() });
    }
    if inside.link(&plan.id.slot)?.is_some() {
        return Err(Error::InterfaceTaken { name: plan.id.slot.clone() });
    }
    let mac = mac_of(plan, all.grants);
    if let Some(link) = &mut record.link {
        link.master = master.as_ref().map(|m| m.name.clone()).unwrap_or_default();
        link.mac = mac;
    }
    let id = &plan.id;
    undo.push("link", move || remove_all(netns, id, kind.name()).map_err(|e| e.to_string()));
    let link = VirtualLink {
        name: &id.slot,
        kind,
        mac,
        mtu: plan.network.mtu,
        master: master.as_ref().map(|master| master.index),
        netns: (!in_container).then_some(netns),
    };
    make(if in_container { None } else { Some(rtnl) }, &mut inside, id, link)?;

    let link = all.configure_alone(&mut inside, record)?;
    if link.operstate == Operstate::NotUp {
        inside.wait_up(link.index, CARRIER)?;
    }
    if let (Driver::Macvlan(driver), Some(master)) = (driver, &master)
        && driver.host_access
        && !in_container
    {
        macvlan::give_host_access(all, rtnl, master, (record, undo))?;
    }
    Ok(vec![Interface { name: link.name, mac: link.mac, mtu: link.mtu, inside: true }])
}

/// Ipvlans and VLANs have the address of the link underneath, unless a VLAN is asked for another.
fn mac_of(plan: &AttachmentPlan, grants: &Grants) -> Option<Mac> {
    match &plan.network.driver {
        Driver::Ipvlan(_) => None,
        Driver::Vlan(_) => plan.mac,
        Driver::Macvlan(driver) if driver.mode == MacvlanMode::Passthru => plan.mac,
        _ => Some(container_mac(plan, grants)),
    }
}

/// Makes the link from outside, or by the container's own socket.
fn make(
    outside: Option<&mut Rtnl>,
    inside: &mut Rtnl,
    id: &AttachmentId,
    link: VirtualLink<'_>,
) -> Result<()> {
    let kind = link.kind;
    let refused = |error| without_kind(kind, error);
    let Some(outside) = outside else {
        return apply(inside, Change::Virtual(link)).map_err(refused);
    };
    // Before Linux 6.14 a name that the host has too is refused: then it comes in by another one.
    let (netns, mac, mtu, master) = (link.netns, link.mac, link.mtu, link.master);
    match apply(outside, Change::Virtual(link)) {
        Err(error) if error.is_exists() => {}
        other => return other.map_err(refused),
    }
    let name = id.working_name();
    let again = VirtualLink { name: &name, kind, mac, mtu, master, netns };
    apply(outside, Change::Virtual(again)).map_err(refused)?;
    let index = inside.link(&name)?.map_or(0, |made| made.index);
    let rename = Some(id.slot.as_str());
    Ok(apply(
        inside,
        Change::Link(LinkChange { name: &name, index, rename, ..LinkChange::default() }),
    )?)
}

fn apply(rtnl: &mut Rtnl, change: Change<'_>) -> cleat_kernel::Result<()> {
    rtnl.apply(&[change]).map_err(|refused| refused.error)
}

fn without_kind(kind: VirtualKind, error: cleat_kernel::Error) -> Error {
    if error.is_unsupported() { no_kind(kind) } else { Error::Kernel(error) }
}

fn no_kind(kind: VirtualKind) -> Error {
    let instead = "load its module, or use another kernel or plugin";
    Error::NoFeature { feature: kind.name(), option: kind.option(), instead }
}

/// The interface underneath; that of the default route where none is named.
fn find_master(rtnl: &mut Rtnl, name: Option<&str>) -> Result<Link> {
    if let Some(name) = name {
        let found = rtnl.link(name)?;
        return found.ok_or_else(|| Error::NoLink { role: "master", name: name.to_owned() });
    }
    let route = match rtnl.default_route(false)? {
        Some(route) => Some(route),
        None => rtnl.default_route(true)?,
    };
    let index = route.and_then(|route| route.link).ok_or(Error::NoDefaultRoute)?;
    rtnl.link_by_index(index)?.ok_or(Error::NoDefaultRoute)
}

/// The first reason why the next attach would fail.
pub(crate) fn status(rtnl: &mut Rtnl, kind: VirtualKind, driver: &Driver) -> Result<()> {
    if !rtnl.has_kind(kind.name())? {
        return Err(no_kind(kind));
    }
    match below(driver) {
        Some(below) if !below.in_container => find_master(rtnl, below.name).map(drop),
        _ => Ok(()),
    }
}

/// What of the link itself is not as its plan says.
pub(crate) fn check(link: &Link, driver: &Driver) -> std::result::Result<(), String> {
    let wanted = kind_name(driver);
    let name = &link.name;
    if let Some(wanted) = wanted.filter(|wanted| link.kind != *wanted) {
        let found = if link.kind.is_empty() { "hardware device" } else { link.kind.as_str() };
        return Err(format!("interface {name} is a {found}, not a {wanted}"));
    }
    let differs = |what: &str, found: Option<u32>, wanted: u32| match found {
        Some(found) if found != wanted => {
            Err(format!("interface {name} has {what} {found}, not {wanted}"))
        }
        _ => Ok(()),
    };
    let Some(kind) = kind_of(driver) else { return Ok(()) };
    match kind {
        VirtualKind::Macvlan { mode, .. } => differs("macvlan mode", link.macvlan_mode, mode),
        VirtualKind::Ipvlan { mode } => {
            differs("ipvlan mode", link.ipvlan_mode.map(u32::from), u32::from(mode))
        }
        VirtualKind::Vlan { id } => differs("VLAN", link.vlan_id.map(u32::from), u32::from(id)),
        // Nothing underneath could take it down.
        VirtualKind::Dummy if link.flags & iff::UP == 0 => Err(format!("interface {name} is down")),
        VirtualKind::Dummy
        | VirtualKind::Vrf { .. }
        | VirtualKind::Vxlan(_)
        | VirtualKind::Wireguard => Ok(()),
    }
}

/// Removes it, with what the host was given.
pub(crate) fn remove(node: &Node, record: &AttachmentRecord, netns: Option<&Path>) -> Result<()> {
    // A namespace that is gone took its interfaces along.
    if let Some(netns) = netns.and_then(|path| Namespace::open(path).ok())
        && !netns.is_current()
    {
        let noted = record.netns.as_ref().and_then(|n| n.cookie);
        let same = noted.is_none() || Rtnl::open_in(&netns)?.netns_cookie() == noted;
        let kind = record.link.as_ref().and_then(|link| link.kind.as_deref()).unwrap_or(MACVLAN);
        if same {
            remove_all(&netns, &record.id, kind)?;
        }
    }
    macvlan::remove_host_access(node, record)
}

/// Under its name, and under that which an interrupted attach may have left it with.
pub(crate) fn remove_all(netns: &Namespace, id: &AttachmentId, kind: &str) -> Result<()> {
    let mut rtnl = Rtnl::open_in(netns)?;
    for name in [&id.slot, &id.working_name()] {
        if let Some(link) = rtnl.link(name)?
            && link.kind == kind
        {
            rtnl.delete_link_fast(&Which::Index(link.index), None)?;
        }
    }
    Ok(())
}
