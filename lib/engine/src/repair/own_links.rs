//! Links of the host's own that containers are reached by: the gateway of a bridge's VLAN, and the
//! host's macvlan beside containers' with `hostAccess`.

use std::collections::HashSet;
use std::net::IpAddr;

use cleat_kernel::link::iff;
use cleat_kernel::{Link, Rtnl};
use ipnet::IpNet;

use super::Finding;
use super::picture::{Live, Picture, is_attached, plan_of, with_attached};
use crate::error::Result;
use crate::identity::AttachmentId;
use crate::plan::{BridgePlan, Driver, Grants, NetworkPlan};
use crate::record::AttachmentRecord;
use crate::undo::Undo;
use crate::{Node, bridge, macvlan, vlan_gateway};

/// Destinations with the links that they lead to.
type Routes = HashSet<(IpNet, u32)>;

/// What an attachment needs of such a link.
struct Need {
    link: String,
    /// Addresses of the link.
    addresses: Vec<IpNet>,
    /// Destinations that lead there.
    routes: Vec<IpNet>,
    /// The link's other end, and the bridge that it is a port of.
    port: Option<(String, String)>,
}

pub(super) fn look(picture: &Picture, live: &mut Live<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut routes: Option<Routes> = None;
    for (name, record) in picture.attached(live.node) {
        let Some(need) = need_of(picture.network(live.node, record), record) else { continue };
        let routes = match &mut routes {
            Some(routes) => routes,
            none => none.insert(read_routes(&mut live.rtnl)?),
        };
        let link = |name: &str| picture.links.get(name).cloned();
        if lack(&need, link, &picture.addresses, routes).is_none() {
            continue;
        }
        let mut what = None;
        let confirmed = live.confirm(name, |live, record| {
            what = lack_now(&mut live.rtnl, &need)?;
            Ok(what.is_some() && is_attached(live.node, record))
        })?;
        if let Some(what) = what.filter(|_| confirmed) {
            let attachment = record.id.clone();
            findings.push(Finding::OwnLinkChanged { attachment, link: need.link, what });
        }
    }
    Ok(findings)
}

fn need_of(network: Option<NetworkPlan>, record: &AttachmentRecord) -> Option<Need> {
    match network?.driver {
        Driver::Bridge(plan) => {
            let link = plan.gateway_link()?;
            let addresses = bridge::addresses_of_gateways(&plan, &grants(record));
            let port = Some((vlan_gateway::port_of(&link), plan.bridge));
            Some(Need { link, addresses, routes: Vec::new(), port })
        }
        Driver::Macvlan(_) => {
            let link = record.link.as_ref()?.host_access.clone()?;
            let routes = addresses(record).into_iter().map(IpNet::from).collect();
            Some(Need { link, addresses: Vec::new(), routes, port: None })
        }
        _ => None,
    }
}

fn addresses(record: &AttachmentRecord) -> Vec<IpAddr> {
    record.addresses.iter().map(|grant| grant.address.addr()).collect()
}

fn grants(record: &AttachmentRecord) -> Grants {
    Grants { addresses: record.addresses.clone(), routes: Vec::new() }
}

fn lack(
    need: &Need,
    link: impl Fn(&str) -> Option<Link>,
    addresses: &HashSet<(u32, IpNet)>,
    routes: &Routes,
) -> Option<String> {
    let Some(own) = link(&need.link) else { return Some("was deleted".to_owned()) };
    if own.flags & iff::UP == 0 {
        return Some("is down".to_owned());
    }
    if let Some((port, bridge)) = &need.port {
        // A bridge that is gone is a finding of its own, and made first.
        let bridge_index = link(bridge).map(|bridge| bridge.index);
        if link(port).and_then(|port| port.master) != bridge_index {
            return Some(format!("leads to no port of {bridge}"));
        }
    }
    let lacking = need.addresses.iter().find(|net| !addresses.contains(&(own.index, **net)));
    if let Some(net) = lacking {
        return Some(format!("lacks the gateway's address {}", net.addr()));
    }
    let unrouted = need.routes.iter().find(|net| !routes.contains(&(**net, own.index)));
    unrouted.map(|net| format!("has no route to {}", net.addr()))
}

fn lack_now(rtnl: &mut Rtnl, need: &Need) -> Result<Option<String>> {
    let mut links = Vec::new();
    let ends = need.port.iter().flat_map(|(port, bridge)| [port, bridge]);
    for name in ends.chain([&need.link]) {
        links.extend(rtnl.link(name)?);
    }
    let link = |name: &str| links.iter().find(|link| link.name == name).cloned();
    let index = link(&need.link).map(|link| link.index);
    let addresses = rtnl.addresses(index)?.iter().map(|a| (a.link, a.net)).collect();
    Ok(lack(need, link, &addresses, &read_routes(rtnl)?))
}

fn read_routes(rtnl: &mut Rtnl) -> Result<Routes> {
    Ok(rtnl.routes()?.into_iter().filter_map(|route| Some((route.dst, route.link?))).collect())
}

/// Gives the host its link back, as the attachment needs it.
pub(super) fn mend(node: &Node, id: &AttachmentId) -> Result<()> {
    with_attached(node, id, |record| {
        let plan = record.plan.as_deref().and_then(|plan| plan_of(node, plan));
        match plan.map(|plan| plan.driver) {
            Some(Driver::Bridge(plan)) => mend_gateway(node, &plan, record),
            Some(Driver::Macvlan(_)) => mend_access(node, record),
            _ => Ok(()),
        }
    })
    .map(drop)
}

fn mend_access(node: &Node, record: &AttachmentRecord) -> Result<()> {
    let Some(name) = record.link.as_ref().and_then(|link| link.host_access.as_deref()) else {
        return Ok(());
    };
    let mut rtnl = Rtnl::open()?;
    let masters = rtnl.links()?.into_iter();
    let Some(master) = masters.into_iter().find(|link| macvlan::host_link(&link.name) == name)
    else {
        return Ok(());
    };
    let own = rtnl.link(name)?.map(|link| link.index);
    let routes = read_routes(&mut rtnl)?;
    let is_routed = |to: &IpAddr| own.is_some_and(|own| routes.contains(&((*to).into(), own)));
    let unrouted: Vec<IpAddr> = addresses(record).into_iter().filter(|to| !is_routed(to)).collect();
    macvlan::give(node, &mut rtnl, &master, &unrouted)
}

fn mend_gateway(node: &Node, plan: &BridgePlan, record: &AttachmentRecord) -> Result<()> {
    let mut rtnl = Rtnl::open()?;
    let (Some(name), Some(bridge)) = (plan.gateway_link(), rtnl.link(&plan.bridge)?) else {
        return Ok(());
    };
    let port = rtnl.link(&vlan_gateway::port_of(&name))?;
    if port.is_none_or(|port| port.master != Some(bridge.index)) {
        // Both ends are made anew, the port in its VLAN.
        vlan_gateway::remove_link(&name)?;
    }
    let wanted = bridge::addresses_of_gateways(plan, &grants(record));
    let mut undo = Undo::new(node.warner());
    vlan_gateway::ensure(node, &mut rtnl, (plan, &name, &bridge), &wanted, &mut undo)?;
    undo.commit();
    Ok(())
}
