//! Where packets to inner addresses go: to each peer's by the device of the current key, and
//! nowhere else. While keys change, a packet's source says which of two devices it is for: a peer
//! takes from each key that key's address alone.

use std::collections::BTreeMap;

use cleat_kernel::rule::Rule;
use cleat_kernel::{Change, Route, Rtnl};
use ipnet::IpNet;

use super::device::{Own, slot};
use super::{PREFIX, Tunnels, apply_all, host, inner_address};
use crate::error::Result;
use crate::overlay::segment::PROTOCOL;

/// The tables in which a device's routes are, by its slot, while there are two devices.
const TABLES: [u32; 2] = [51_871, 51_872];
const MAIN: u32 = 254;
const METRIC: u32 = 1024;
/// Worse than any other.
const LAST: u32 = u32::MAX;

/// Drops what is no peer's. Whether that is new.
pub(super) fn close(rtnl: &mut Rtnl) -> Result<bool> {
    if rtnl.blackholes(PROTOCOL)?.iter().any(|route| route.dst == IpNet::V6(PREFIX)) {
        return Ok(false);
    }
    apply_all(rtnl, vec![Change::SetRoute(end())])?;
    Ok(true)
}

/// Routes and rules. How many changed.
pub(super) fn apply(rtnl: &mut Rtnl, tunnels: &Tunnels, devices: &[Own]) -> Result<usize> {
    let wanted = wanted(tunnels, devices);
    let now: BTreeMap<(u32, IpNet), Route> = ours(rtnl)?;
    let (rules, known) = (wanted_rules(tunnels, devices), our_rules(rtnl)?);
    let mut changes = Vec::new();
    for (key, route) in &wanted {
        if now.get(key).is_none_or(|found| found.link != route.link) {
            changes.push(Change::SetRoute(route.clone()));
        }
    }
    // A rule leads to a table that is whole.
    changes.extend(rules.iter().filter(|r| !known.contains(r)).map(|r| Change::AddRule(*r)));
    changes.extend(known.iter().filter(|r| !rules.contains(r)).map(|r| Change::DeleteRule(*r)));
    for (key, route) in now.into_iter().filter(|(key, _)| !wanted.contains_key(key)) {
        // A table of a change of keys that is over goes, whoever is known.
        if tunnels.complete || key.0 != MAIN {
            changes.push(Change::DeleteRoute(route));
        }
    }
    apply_all(rtnl, changes)
}

/// Removes all routes and rules, the end last.
pub(super) fn remove(rtnl: &mut Rtnl) -> Result<()> {
    let mut changes: Vec<Change<'_>> =
        our_rules(rtnl)?.into_iter().map(Change::DeleteRule).collect();
    changes.extend(ours(rtnl)?.into_values().map(Change::DeleteRoute));
    apply_all(rtnl, changes)?;
    rtnl.remove(Change::DeleteRoute(end()))?;
    Ok(())
}

fn end() -> Route {
    Route {
        priority: Some(LAST),
        protocol: PROTOCOL,
        blackhole: true,
        ..Route::to(IpNet::V6(PREFIX))
    }
}

fn wanted(tunnels: &Tunnels, devices: &[Own]) -> BTreeMap<(u32, IpNet), Route> {
    let mut wanted = BTreeMap::new();
    for device in devices {
        let mut tables = Vec::new();
        if device.generation == tunnels.current {
            tables.push(MAIN);
        }
        if tunnels.handover {
            tables.extend(TABLES.get(slot(device.generation)));
        }
        for table in tables {
            for peer in &tunnels.peers {
                for key in &peer.keys {
                    let dst = host(inner_address(&peer.node, key.generation));
                    wanted.insert((table, dst), route(dst, table, device.index));
                }
            }
        }
    }
    wanted
}

fn route(dst: IpNet, table: u32, device: u32) -> Route {
    Route {
        link: Some(device),
        priority: Some(METRIC),
        table: Some(table),
        protocol: PROTOCOL,
        ..Route::to(dst)
    }
}

fn wanted_rules(tunnels: &Tunnels, devices: &[Own]) -> Vec<Rule> {
    let rule = |device: &Own| {
        let source = host(inner_address(&tunnels.node, device.generation));
        TABLES.get(slot(device.generation)).map(|table| Rule { source, table: *table })
    };
    if tunnels.handover { devices.iter().filter_map(rule).collect() } else { Vec::new() }
}

fn ours(rtnl: &mut Rtnl) -> Result<BTreeMap<(u32, IpNet), Route>> {
    let mut found = BTreeMap::new();
    for route in rtnl.all_routes()? {
        let table = route.table.unwrap_or(MAIN);
        let known = table == MAIN || TABLES.contains(&table);
        if known && route.protocol == PROTOCOL && is_inside(&route.dst) {
            found.insert((table, route.dst), route);
        }
    }
    Ok(found)
}

fn our_rules(rtnl: &mut Rtnl) -> Result<Vec<Rule>> {
    let mut rules = rtnl.rules()?;
    rules.retain(|rule| TABLES.contains(&rule.table) && is_inside(&rule.source));
    Ok(rules)
}

fn is_inside(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(v6) if v6.prefix_len() == 128 && PREFIX.contains(v6))
}
