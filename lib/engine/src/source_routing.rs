//! Routing by source: what a container sends from an address of an interface leaves by that
//! interface, whichever holds the default route. Each address gets a table with the interface's
//! routes, and a rule that leads there. Everything stands in the container's namespace.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use cleat_kernel::rule::Rule;
use cleat_kernel::{Change, Namespace, Route, Rtnl};
use ipnet::IpNet;

use crate::Node;
use crate::error::{Error, Result};
use crate::identity::AttachmentId;
use crate::plan::Grants;
use crate::undo::Undo;

/// The first table that is given out.
const FIRST_TABLE: u32 = 100;
const MAIN: u32 = 254;
/// `default`, `main` and `local` are the kernel's.
const RESERVED: std::ops::RangeInclusive<u32> = 253..=255;

/// An interface to route for.
#[derive(Debug, Clone)]
pub struct SourceRouting {
    /// The attachment.
    pub id: AttachmentId,
    /// The container's namespace.
    pub netns: PathBuf,
    /// The interface's addresses, with their gateways.
    pub grants: Grants,
    /// A table that somebody else fills: only the rules are made.
    pub table: Option<u32>,
}

/// Routes by source. On failure all is as before.
pub fn apply(node: &Node, asked: &SourceRouting) -> Result<()> {
    let _lock = node.locks().acquire(&asked.id.record_name())?;
    let mut rtnl = open(&asked.netns)?;
    let slot = &asked.id.slot;
    let link = rtnl
        .link(slot)?
        .ok_or_else(|| Error::NoLink { role: "interface", name: slot.clone() })?
        .index;
    let (added, moved) = match asked.table {
        Some(table) => (rules_to(asked, table), Vec::new()),
        None => tables(&mut rtnl, link, asked)?,
    };
    let mut undo = Undo::new(node.warner());
    let netns = &asked.netns;
    let (back, again) = (added.clone(), moved.clone());
    undo.push("source routing", move || {
        let mut rtnl = open(netns).map_err(|e| e.to_string())?;
        for step in back.into_iter().rev() {
            rtnl.remove(step.removal()).map_err(|e| e.to_string())?;
        }
        for route in again {
            match rtnl.apply(&[Change::AddRoute(route)]) {
                Err(refused) if !refused.error.is_exists() => {
                    return Err(refused.error.to_string());
                }
                _ => {}
            }
        }
        Ok(())
    });
    // One at a time: those after a refused one would be done all the same.
    for step in added {
        rtnl.apply(&[step.addition()]).map_err(|refused| refused.error)?;
    }
    for route in moved.into_iter().rev() {
        rtnl.remove(Change::DeleteRoute(route))?;
    }
    undo.commit();
    Ok(())
}

/// Something that routing by source adds.
#[derive(Debug, Clone)]
enum Step {
    Rule(Rule),
    Route(Route),
}

impl Step {
    fn addition(self) -> Change<'static> {
        match self {
            Self::Rule(rule) => Change::AddRule(rule),
            Self::Route(route) => Change::AddRoute(route),
        }
    }

    fn removal(self) -> Change<'static> {
        match self {
            Self::Rule(rule) => Change::DeleteRule(rule),
            Self::Route(route) => Change::DeleteRoute(route),
        }
    }
}

fn rules_to(asked: &SourceRouting, table: u32) -> Vec<Step> {
    let rule = |address: IpAddr| Step::Rule(Rule { source: address.into(), table });
    asked.grants.addresses.iter().map(|grant| rule(grant.address.addr())).collect()
}

/// A table per address: what is added, and the routes that leave the main table for it.
fn tables(rtnl: &mut Rtnl, link: u32, asked: &SourceRouting) -> Result<(Vec<Step>, Vec<Route>)> {
    let mut taken: Vec<u32> = rtnl.rules()?.into_iter().map(|rule| rule.table).collect();
    let all = rtnl.all_routes()?;
    taken.extend(all.iter().filter_map(|route| route.table));
    let mut own: Vec<Route> =
        all.into_iter().filter(|r| r.link == Some(link) && r.table == Some(MAIN)).collect();
    // Without link-local routes the interface has no neighbours.
    own.retain(|route| !is_link_local(&route.dst));
    // A next hop must be reachable when its route comes.
    own.sort_by_key(|route| route.gateway.is_some());
    let mut added = Vec::new();
    let mut next = FIRST_TABLE;
    for grant in &asked.grants.addresses {
        while taken.contains(&next) || RESERVED.contains(&next) {
            next += 1;
        }
        let table = next;
        taken.push(table);
        let address = grant.address.addr();
        let in_table = |route: &Route| Route {
            table: Some(table),
            // IPv6 has no scopes, and tells one it does not use.
            scope: route.scope.filter(|_| route.dst.addr().is_ipv4()),
            protocol: 0,
            ..route.clone()
        };
        let belongs = |route: &&Route| {
            let family = route.dst.addr().is_ipv6() == address.is_ipv6();
            family && route.gateway.is_none_or(|gateway| grant.address.contains(&gateway))
        };
        let mut routes: Vec<Route> = own.iter().filter(belongs).map(in_table).collect();
        if let Some(gateway) = grant.gateway
            && !routes.iter().any(|route| route.dst.prefix_len() == 0)
        {
            let default = crate::attach::everywhere(address.is_ipv6());
            let route = Route { gateway: Some(gateway), link: Some(link), ..Route::to(default) };
            routes.push(in_table(&route));
        }
        added.extend(routes.into_iter().map(Step::Route));
        added.push(Step::Rule(Rule { source: address.into(), table }));
    }
    Ok((added, own))
}

fn is_link_local(net: &IpNet) -> bool {
    match net {
        IpNet::V4(_) => false,
        IpNet::V6(v6) => v6.addr().is_unicast_link_local() || v6.addr().is_multicast(),
    }
}

/// Takes the rules away; the tables' routes go with the interface. What is not there is no error.
pub fn remove(
    node: &Node,
    id: &AttachmentId,
    netns: Option<&Path>,
    remembered: &[IpAddr],
) -> Result<()> {
    let name = id.record_name();
    let _lock = node.lock_to_free(&name);
    // A namespace that is gone took everything along.
    let Some(netns) = netns.and_then(|path| Namespace::open(path).ok()) else {
        return Ok(());
    };
    let mut rtnl = Rtnl::open_in(&netns)?;
    let mut addresses = remembered.to_vec();
    if let Some(link) = rtnl.link(&id.slot)? {
        addresses.extend(rtnl.addresses(Some(link.index))?.iter().map(|a| a.net.addr()));
    }
    if let Ok(Some(record)) = node.attachments().read(&name) {
        addresses.extend(record.addresses.iter().map(|grant| grant.address.addr()));
    }
    for rule in rtnl.rules()? {
        let own = addresses.iter().any(|address| IpNet::from(*address) == rule.source);
        if own && !RESERVED.contains(&rule.table) {
            rtnl.remove(Change::DeleteRule(rule))?;
        }
    }
    Ok(())
}

/// Compares the rules, and that their tables lead somewhere, with the kernel.
pub fn check(asked: &SourceRouting) -> Result<()> {
    let differs = |what: String| Err(Error::Differs { id: asked.id.clone(), what });
    let mut rtnl = open(&asked.netns)?;
    let (rules, routes) = (rtnl.rules()?, rtnl.all_routes()?);
    for grant in &asked.grants.addresses {
        let address = grant.address.addr();
        let own = rules.iter().filter(|rule| rule.source == IpNet::from(address));
        let mut tables = own.map(|rule| rule.table).filter(|table| !RESERVED.contains(table));
        let found = match asked.table {
            Some(table) => tables.find(|found| *found == table),
            None => tables.next(),
        };
        let Some(table) = found else {
            return differs(format!(
                "no rule leads packets from {address} to a table of their own"
            ));
        };
        if asked.table.is_none() && !routes.iter().any(|route| route.table == Some(table)) {
            return differs(format!("table {table} for packets from {address} is empty"));
        }
    }
    Ok(())
}

fn open(netns: &Path) -> Result<Rtnl> {
    let namespace =
        Namespace::open(netns).map_err(|source| Error::Netns { path: netns.to_owned(), source })?;
    Ok(Rtnl::open_in(&namespace)?)
}
