//! Host ends that the host routes to: up, with the gateways' addresses, and with a route and a
//! neighbour entry for each address of the container.

use std::collections::HashSet;

use cleat_kernel::link::iff;
use cleat_kernel::{Change, Link, LinkChange, Rtnl};
use ipnet::IpNet;

use super::Finding;
use super::ends::CARRIER;
use super::picture::{Live, Picture, is_attached, plan_of, with_attached};
use crate::error::Result;
use crate::identity::AttachmentId;
use crate::plan::{Driver, Grants};
use crate::record::AttachmentRecord;
use crate::{Node, ptp};

/// Destinations with the links that they lead to.
type Routes = HashSet<(IpNet, u32)>;

pub(super) fn look(picture: &Picture, live: &mut Live<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut routes: Option<Routes> = None;
    for (name, record) in picture.attached(live.node) {
        if picture.network(live.node, record).is_none_or(|plan| plan.driver != Driver::Ptp) {
            continue;
        }
        let Some(host) = record.link.as_ref().and_then(|part| part.host.as_deref()) else {
            continue;
        };
        // Without its host end the container is gone.
        let Some(link) = picture.links.get(host) else { continue };
        let routes = match &mut routes {
            Some(routes) => routes,
            none => none.insert(read_routes(&mut live.rtnl)?),
        };
        if lack(record, link, &picture.addresses, routes).is_none() {
            continue;
        }
        let mut what = None;
        let confirmed = live.confirm(name, |live, record| {
            let Some(link) = live.rtnl.link(host)? else { return Ok(false) };
            let present = live.rtnl.addresses(Some(link.index))?;
            let present = present.iter().map(|a| (a.link, a.net)).collect();
            what = lack(record, &link, &present, &read_routes(&mut live.rtnl)?);
            Ok(what.is_some() && is_attached(live.node, record))
        })?;
        if let Some(what) = what.filter(|_| confirmed) {
            findings.push(Finding::HostEndChanged {
                attachment: record.id.clone(),
                link: host.to_owned(),
                what,
            });
        }
    }
    Ok(findings)
}

fn read_routes(rtnl: &mut Rtnl) -> Result<Routes> {
    Ok(rtnl.routes()?.into_iter().filter_map(|route| Some((route.dst, route.link?))).collect())
}

fn lack(
    record: &AttachmentRecord,
    link: &Link,
    addresses: &HashSet<(u32, IpNet)>,
    routes: &Routes,
) -> Option<String> {
    if link.flags & iff::UP == 0 {
        return Some("is down".to_owned());
    }
    let gateways = record.addresses.iter().filter_map(|grant| grant.gateway).map(IpNet::from);
    if let Some(gateway) = gateways.into_iter().find(|g| !addresses.contains(&(link.index, *g))) {
        return Some(format!("lacks the gateway's address {}", gateway.addr()));
    }
    let own = record.addresses.iter().map(|grant| IpNet::from(grant.address.addr()));
    let unrouted = own.into_iter().find(|own| !routes.contains(&(*own, link.index)));
    unrouted.map(|own| format!("has no route to {}", own.addr()))
}

/// Gives an attachment's host end back what the host needs to reach the container.
pub(super) fn mend(node: &Node, id: &AttachmentId) -> Result<()> {
    with_attached(node, id, |record| {
        let plan = record.plan.as_deref().and_then(|plan| plan_of(node, plan));
        let part = record.link.as_ref().filter(|_| plan.is_some_and(|p| p.driver == Driver::Ptp));
        let Some((host, mac)) = part.and_then(|part| Some((part.host.as_deref()?, part.mac?)))
        else {
            return Ok(());
        };
        let mut rtnl = Rtnl::open()?;
        let Some(link) = rtnl.link(host)? else { return Ok(()) };
        let index = link.index;
        let up = LinkChange { name: host, index, up: Some(true), ..LinkChange::default() };
        let grants = Grants { addresses: record.addresses.clone(), routes: Vec::new() };
        let mut changes = vec![Change::Link(up)];
        changes.extend(ptp::to_container(index, &grants, mac));
        for change in changes {
            match rtnl.apply(&[change]) {
                Ok(()) => {}
                Err(refused) if refused.error.is_exists() => {}
                Err(refused) => return Err(refused.error.into()),
            }
        }
        let _ = rtnl.wait_up(index, CARRIER);
        Ok(())
    })
    .map(drop)
}
