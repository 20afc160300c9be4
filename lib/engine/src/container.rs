//! The container's end: its settings, addresses and routes.

use std::time::Duration;

use cleat_kernel::{Change, LinkChange, Namespace, Route, Rtnl, sysctl};

use crate::error::{Error, Result};
use crate::plan::{Grants, OverLink, RouteGrant};
use crate::{Node, default_route};

const RT_SCOPE_LINK: u8 = 253;
/// Metrics of default routes beside the first one's count up in this step.
const METRIC_STEP: u32 = 100;
/// Duplicate address detection takes one to two seconds.
const SETTLE: Duration = Duration::from_secs(5);

/// How the container's end is to be.
pub(crate) struct Wanted<'p> {
    pub(crate) ifname: &'p str,
    pub(crate) grants: &'p Grants,
    /// Do duplicate address detection.
    pub(crate) dad: bool,
    /// Leave it down and without addresses.
    pub(crate) down: bool,
    /// Its link address is not derived from its address: neighbours may remember another.
    pub(crate) announce: bool,
    /// The gateway is all there is on the link: the subnet is reached through it.
    pub(crate) routed: bool,
    /// Of several networks the highest holds the default route.
    pub(crate) gateway_priority: i32,
    /// Addresses are still to be asked for over it.
    pub(crate) over_link: Option<OverLink>,
}

impl Wanted<'_> {
    fn ipv6(&self) -> bool {
        self.grants.has(true) || self.over_link.is_some_and(|over| over.ipv6)
    }
}

/// The container's end, once configured.
pub(crate) struct Configured {
    pub(crate) cookie: Option<u64>,
    pub(crate) mtu: u32,
}

/// Configures it.
pub(crate) fn configure(node: &Node, netns: &Namespace, wanted: &Wanted<'_>) -> Result<Configured> {
    let mut rtnl = netns.run(|| {
        let rtnl = Rtnl::open()?;
        settings(node, wanted)?;
        Ok::<_, Error>(rtnl)
    })??;
    let link = rtnl
        .link(wanted.ifname)?
        .ok_or_else(|| Error::NoLink { role: "interface", name: wanted.ifname.to_owned() })?;
    let done = Configured { cookie: rtnl.netns_cookie(), mtu: link.mtu };
    if wanted.down {
        return Ok(done);
    }
    let mut changes: Vec<Change<'_>> = Vec::new();
    for grant in &wanted.grants.addresses {
        changes.push(Change::AddAddress {
            link: link.index,
            address: grant.address,
            nodad: false,
            no_prefix_route: wanted.routed,
        });
    }
    let own = LinkChange { name: wanted.ifname, index: link.index, ..LinkChange::default() };
    if !wanted.ipv6() && (wanted.grants.has(false) || wanted.over_link.is_some()) {
        // Without an IPv6 address there is none of the multicast that would cost every other
        // port of the bridge. By a message of its own, since within one the link goes up first;
        // not by disable_ipv6, whose write spins while anybody holds the kernel's RTNL lock.
        changes.push(Change::Link(LinkChange { no_link_local: true, ..own }));
    }
    let own = LinkChange { name: wanted.ifname, index: link.index, ..LinkChange::default() };
    changes.push(Change::Link(LinkChange { up: Some(true), ..own }));
    let mut routes =
        if wanted.routed { to_gateways(wanted.grants, link.index) } else { Vec::new() };
    routes.extend(wanted.grants.routes.iter().map(|r| route(r, wanted.grants, link.index)));
    let mut placed = Vec::new();
    if wanted.gateway_priority != 0 {
        (placed, routes) = routes.into_iter().partition(default_route::is_free);
    }
    let first_route = changes.len();
    changes.extend(routes.iter().cloned().map(Change::AddRoute));
    match rtnl.apply(&changes) {
        Ok(()) => {}
        Err(refused) if refused.index >= first_route && refused.error.is_exists() => {
            beside_others(&mut rtnl, &routes)?;
        }
        Err(refused) => return Err(refused.error.into()),
    }
    for route in &placed {
        default_route::place(&mut rtnl, route, wanted.gateway_priority)?;
    }
    if wanted.grants.has(true) {
        rtnl.wait_usable_v6(link.index, SETTLE)?;
    }
    Ok(done)
}

/// What must be set before it is up.
fn settings(node: &Node, wanted: &Wanted<'_>) -> Result<()> {
    let conf = |family: &str, key: &str| format!("{family}/conf/{}/{key}", wanted.ifname);
    let mut set: Vec<(String, &str)> = Vec::new();
    if wanted.ipv6() {
        set.push((conf("ipv6", "disable_ipv6"), "0"));
        set.push(("ipv6/conf/lo/disable_ipv6".to_owned(), "0"));
        set.push((conf("ipv6", "accept_dad"), if wanted.dad { "1" } else { "0" }));
        set.push((conf("ipv6", "keep_addr_on_down"), "1"));
    }
    if wanted.announce {
        set.push((conf("ipv4", "arp_notify"), "1"));
        if wanted.grants.has(true) {
            set.push((conf("ipv6", "ndisc_notify"), "1"));
        }
    }
    for (path, value) in set {
        match sysctl::set(&path, value) {
            Ok(_) => {}
            // A kernel without IPv6 has none of its settings.
            Err(error) if error.is_not_found() => {}
            Err(error) if error.is_permission() => node.warn(&format!("{path}: {error}")),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A granted route on a link. Without a next hop of its own it goes by the family's gateway.
fn route(grant: &RouteGrant, grants: &Grants, link: u32) -> Route {
    let on_link = grant.scope == Some(RT_SCOPE_LINK);
    let gateway = match grant.gateway {
        None if on_link => None,
        None => grants.gateway(grant.dst.addr().is_ipv6()),
        given => given,
    };
    Route {
        gateway,
        link: Some(link),
        priority: grant.priority,
        table: grant.table,
        scope: grant.scope,
        mtu: grant.mtu,
        advmss: grant.advmss,
        ..Route::to(grant.dst)
    }
}

/// The gateways on the link, and the subnets behind them.
fn to_gateways(grants: &Grants, link: u32) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for grant in &grants.addresses {
        let Some(gateway) = grant.gateway else { continue };
        let on_link = Route { link: Some(link), ..Route::to(gateway.into()) };
        let behind =
            Route { gateway: Some(gateway), link: Some(link), ..Route::to(grant.address.trunc()) };
        for route in [on_link, behind] {
            if !routes.iter().any(|r| r.dst == route.dst) {
                routes.push(route);
            }
        }
    }
    routes
}

/// Adds those routes that are not there yet with a metric above the others' of the same
/// destination: the first network keeps the default route.
fn beside_others(rtnl: &mut Rtnl, routes: &[Route]) -> Result<()> {
    for wanted in routes {
        let present = rtnl.routes()?;
        let same = |r: &&Route| r.dst == wanted.dst.trunc();
        if present.iter().filter(same).any(|r| r.link == wanted.link && r.gateway == wanted.gateway)
        {
            continue;
        }
        if default_route::is_free(wanted) && default_route::is_for_the_taking(rtnl, wanted)? {
            default_route::place(rtnl, wanted, 0)?;
            continue;
        }
        let highest = default_route::highest(present.iter().filter(same));
        let beside = Route {
            priority: Some(highest.max(METRIC_STEP - 1) / METRIC_STEP * METRIC_STEP + METRIC_STEP),
            ..wanted.clone()
        };
        rtnl.apply(&[Change::AddRoute(beside)]).map_err(|refused| Error::Kernel(refused.error))?;
    }
    Ok(())
}
