//! Routing domains (VRF) in a container: an interface in one is routed by the domain's table
//! alone. The domain is made when its first interface comes, and goes with its last.

use std::path::{Path, PathBuf};

use cleat_kernel::change::Which;
use cleat_kernel::rtnl::Address;
use cleat_kernel::{Change, Link, LinkChange, Namespace, Route, Rtnl, VirtualKind, VirtualLink};

use crate::Node;
use crate::error::{Error, Result};
use crate::identity::AttachmentId;
use crate::undo::Undo;

const KIND: &str = "vrf";
const MAIN: u32 = 254;
/// `default`, `main` and `local` are the kernel's.
const RESERVED: std::ops::RangeInclusive<u32> = 253..=255;
/// `RTPROT_KERNEL`: it makes them again by itself.
const BY_KERNEL: u8 = 2;
/// `RTPROT_RA`.
const BY_ADVERTISEMENT: u8 = 9;
/// `RT_SCOPE_UNIVERSE`.
const GLOBAL: u8 = 0;

/// A domain for an interface.
#[derive(Debug, Clone)]
pub struct Domain {
    /// The attachment.
    pub id: AttachmentId,
    /// The container's namespace.
    pub netns: PathBuf,
    /// The domain's name.
    pub name: String,
    /// Its table; `None`: as it has, else the first that no other domain has.
    pub table: Option<u32>,
}

/// Puts the interface into its domain. On failure all is as before.
pub fn apply(node: &Node, asked: &Domain) -> Result<()> {
    let _lock = node.locks().acquire(&asked.id.record_name())?;
    let netns = open(&asked.netns)?;
    let mut rtnl = Rtnl::open_in(&netns)?;
    let link = interface(&mut rtnl, &asked.id.slot)?;
    let mut undo = Undo::new(node.warner());
    let domain = ensure(&mut rtnl, &netns, asked, &mut undo)?;
    if link.master == Some(domain.index) {
        undo.commit();
        return Ok(());
    }
    let table = domain.vrf_table.unwrap_or(MAIN);
    let state = State::of(&mut rtnl, &link, MAIN)?;
    let (back, name, index, master) = (state.clone(), link.name.clone(), link.index, link.master);
    let home = &netns;
    undo.push("routing domain of the interface", move || {
        let mut rtnl = Rtnl::open_in(home).map_err(|e| e.to_string())?;
        let out = LinkChange { name: &name, index, ..LinkChange::default() };
        let out = LinkChange { master: Some(master.unwrap_or(0)), ..out };
        rtnl.apply(&[Change::Link(out)]).map_err(|refused| refused.error.to_string())?;
        back.restore(&mut rtnl, index, MAIN).map_err(|e| e.to_string())
    });
    let own = LinkChange { name: &link.name, index: link.index, ..LinkChange::default() };
    let into = Change::Link(LinkChange { master: Some(domain.index), ..own });
    rtnl.apply(&[into]).map_err(|refused| refused.error)?;
    state.restore(&mut rtnl, link.index, table)?;
    undo.commit();
    Ok(())
}

/// The domain, up; made where there is none.
fn ensure<'a>(
    rtnl: &mut Rtnl,
    netns: &'a Namespace,
    asked: &'a Domain,
    undo: &mut Undo<'a>,
) -> Result<Link> {
    let name = asked.name.as_str();
    if let Some(found) = rtnl.link(name)? {
        return matches(found, asked);
    }
    let table = asked.table.map_or_else(|| free_table(rtnl), Ok)?;
    let kind = VirtualKind::Vrf { table };
    undo.push("routing domain", move || {
        let mut rtnl = Rtnl::open_in(netns).map_err(|e| e.to_string())?;
        rtnl.delete_link(name).map(drop).map_err(|e| e.to_string())
    });
    let made = VirtualLink { name, kind, mac: None, mtu: None, master: None, netns: None };
    let up = LinkChange { name, up: Some(true), ..LinkChange::default() };
    match rtnl.apply(&[Change::Virtual(made), Change::Link(up)]) {
        // Made meanwhile for another of the container's interfaces.
        Err(refused) if refused.index == 0 && refused.error.is_exists() => {}
        Err(refused) if refused.error.is_unsupported() => return Err(no_kind()),
        Err(refused) => return Err(refused.error.into()),
        Ok(()) => {}
    }
    let missing = || Error::NoLink { role: "routing domain", name: name.to_owned() };
    matches(rtnl.link(name)?.ok_or_else(missing)?, asked)
}

fn matches(found: Link, asked: &Domain) -> Result<Link> {
    if found.kind != KIND {
        let kind = if found.kind.is_empty() { "hardware device".into() } else { found.kind };
        return Err(Error::NotADomain { name: found.name, found: kind });
    }
    match (asked.table, found.vrf_table) {
        (Some(wanted), Some(table)) if wanted != table => {
            Err(Error::DomainsTable { name: found.name, found: table, wanted })
        }
        _ => Ok(found),
    }
}

/// The first table that no other domain has, counted as the reference does.
fn free_table(rtnl: &mut Rtnl) -> Result<u32> {
    let taken: Vec<u32> = rtnl.links()?.iter().filter_map(|link| link.vrf_table).collect();
    let free = (1..u32::MAX).find(|table| !RESERVED.contains(table) && !taken.contains(table));
    Ok(free.unwrap_or(1))
}

/// What an interface loses when it enters or leaves a domain, which takes it down for a moment.
#[derive(Debug, Clone)]
struct State {
    addresses: Vec<Address>,
    routes: Vec<Route>,
}

impl State {
    fn of(rtnl: &mut Rtnl, link: &Link, table: u32) -> Result<Self> {
        let mut addresses = rtnl.addresses(Some(link.index))?;
        addresses.retain(|address| address.scope == GLOBAL);
        let mut routes = rtnl.all_routes()?;
        routes.retain(|route| {
            route.link == Some(link.index)
                && route.table == Some(table)
                && ![BY_KERNEL, BY_ADVERTISEMENT].contains(&route.protocol)
        });
        // A next hop must be reachable when its route comes.
        routes.sort_by_key(|route| route.gateway.is_some());
        Ok(Self { addresses, routes })
    }

    /// Gives back what is missing, the routes in this table.
    fn restore(&self, rtnl: &mut Rtnl, link: u32, table: u32) -> Result<()> {
        let present = rtnl.addresses(Some(link))?;
        for address in &self.addresses {
            if present.iter().any(|found| found.net == address.net) {
                continue;
            }
            let address = address.net;
            let change = Change::AddAddress { link, address, nodad: true, no_prefix_route: false };
            add(rtnl, change)?;
        }
        for route in &self.routes {
            let scope = route.scope.filter(|_| route.dst.addr().is_ipv4());
            let moved = Route { table: Some(table), protocol: 0, scope, ..route.clone() };
            add(rtnl, Change::AddRoute(moved))?;
        }
        Ok(())
    }
}

fn add(rtnl: &mut Rtnl, change: Change<'_>) -> Result<()> {
    match rtnl.apply(&[change]) {
        Err(refused) if !refused.error.is_exists() => Err(refused.error.into()),
        _ => Ok(()),
    }
}

/// Takes the interface out of its domain, and the domain away with its last one. What is not
/// there is no error.
pub fn remove(node: &Node, id: &AttachmentId, netns: Option<&Path>, name: &str) -> Result<()> {
    let _lock = node.lock_to_free(&id.record_name());
    // A namespace that is gone took everything along.
    let Some(netns) = netns.and_then(|path| Namespace::open(path).ok()) else {
        return Ok(());
    };
    if netns.is_current() {
        return Ok(());
    }
    let mut rtnl = Rtnl::open_in(&netns)?;
    let Some(domain) = rtnl.link(name)?.filter(|link| link.kind == KIND) else {
        return Ok(());
    };
    if let Some(link) = rtnl.link(&id.slot)?
        && link.master == Some(domain.index)
    {
        let state = State::of(&mut rtnl, &link, domain.vrf_table.unwrap_or(MAIN))?;
        let own = LinkChange { name: &link.name, index: link.index, ..LinkChange::default() };
        let out = Change::Link(LinkChange { master: Some(0), ..own });
        rtnl.apply(&[out]).map_err(|refused| refused.error)?;
        state.restore(&mut rtnl, link.index, MAIN)?;
    }
    if !rtnl.links()?.iter().any(|link| link.master == Some(domain.index)) {
        rtnl.delete_link_fast(&Which::Index(domain.index), None)?;
    }
    Ok(())
}

/// Compares the interface's domain with the kernel.
pub fn check(asked: &Domain) -> Result<()> {
    let differs = |what: String| Err(Error::Differs { id: asked.id.clone(), what });
    let mut rtnl = Rtnl::open_in(&open(&asked.netns)?)?;
    let link = interface(&mut rtnl, &asked.id.slot)?;
    let Some(domain) = rtnl.link(&asked.name)? else {
        return differs(format!("there is no routing domain {}", asked.name));
    };
    let domain = matches(domain, asked)?;
    if link.master != Some(domain.index) {
        return differs(format!("{} is not in routing domain {}", link.name, domain.name));
    }
    Ok(())
}

/// The first reason why no interface could be put into a domain.
pub fn status() -> Result<()> {
    if Rtnl::open()?.has_kind(KIND)? { Ok(()) } else { Err(no_kind()) }
}

fn no_kind() -> Error {
    let option = VirtualKind::Vrf { table: 0 }.option();
    Error::NoFeature { feature: "vrf", option, instead: "load its module, or use sbr" }
}

fn interface(rtnl: &mut Rtnl, name: &str) -> Result<Link> {
    let missing = || Error::NoLink { role: "interface", name: name.to_owned() };
    rtnl.link(name)?.ok_or_else(missing)
}

fn open(path: &Path) -> Result<Namespace> {
    Namespace::open(path).map_err(|source| Error::Netns { path: path.to_owned(), source })
}
