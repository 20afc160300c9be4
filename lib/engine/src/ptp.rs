//! A veth pair whose host end the host routes to: the gateway's address stands on the host end
//! alone, each address of the container is a route of the host's, and what the container sends,
//! to its own subnet too, goes through the host.

use cleat_kernel::{Change, Operstate, Route, Rtnl, sysctl};
use ipnet::IpNet;

use crate::attach::{CARRIER, Interface, Making, container_mac, gone, note_netns};
use crate::container::{self, Wanted};
use crate::error::{Error, Result};
use crate::plan::Grants;
use crate::record::AttachmentRecord;
use crate::ruleset::LinkRules;
use crate::undo::Undo;
use crate::veth::{self, Near};
use crate::{bridge, detach, forwarding};

/// Makes it.
pub(crate) fn attach<'a>(
    all: &Making<'_, 'a>,
    rtnl: &mut Rtnl,
    record: &mut AttachmentRecord,
    undo: &mut Undo<'a>,
) -> Result<Vec<Interface>> {
    let (node, plan, grants) = (all.node, all.plan, all.grants);
    require_gateways(grants)?;
    let mac = container_mac(plan, grants);
    let mtu = match plan.network.mtu {
        Some(mtu) => Some(mtu),
        None => bridge::default_mtu(rtnl)?,
    };
    let near = Near { mtu, bridge: None, hairpin: false, isolated: false, neighbours: None };
    let host = veth::create(rtnl, plan, (all.netns, mac), &near)?;
    let taken = host.clone();
    undo.push("link", move || {
        detach::remove_link(&taken, None, std::iter::empty()).map_err(|e| e.to_string())
    });
    let index = rtnl.link(&host)?.ok_or_else(|| gone(&host))?.index;
    if let Some(link) = &mut record.link {
        link.host = Some(host.clone());
        link.host_index = Some(index);
        link.master.clone_from(&host);
        link.mac = Some(mac);
    }
    if grants.has(true) {
        // Its address is usable once the link is up, without a second of detection.
        sysctl::set(&format!("ipv6/conf/{host}/accept_dad"), "0")?;
    }
    rtnl.apply(&to_container(index, grants, mac)).map_err(|refused| refused.error)?;
    let families = (grants.has(false), grants.has(true));
    let forwarding_changed = forwarding::enable(node, rtnl, &host, families)?.is_some();

    let wanted = Wanted {
        ifname: &plan.id.slot,
        grants,
        dad: false,
        down: false,
        announce: plan.mac.is_some(),
        routed: true,
        gateway_priority: plan.gateway_priority,
        over_link: all.over_link,
    };
    let configured = container::configure(node, all.netns, &wanted)?;
    note_netns(record, &configured);
    let rules = LinkRules {
        created: true,
        networks: vec![plan.network.name.clone()],
        inbound: plan.network.inbound,
        ..LinkRules::open(&host)
    };
    all.add_rules(&rules, forwarding_changed, record, undo)?;

    let near = rtnl.link(&host)?.ok_or_else(|| gone(&host))?;
    if near.operstate == Operstate::NotUp {
        rtnl.wait_up(index, CARRIER)?;
    }
    if grants.has(true) {
        rtnl.wait_usable_v6(index, CARRIER)?;
    }
    let inside =
        Interface { name: plan.id.slot.clone(), mac: Some(mac), mtu: configured.mtu, inside: true };
    Ok(vec![Interface { name: host, mac: near.mac, mtu: near.mtu, inside: false }, inside])
}

/// The container sends to its gateway, so each address must have one.
fn require_gateways(grants: &Grants) -> Result<()> {
    for grant in &grants.addresses {
        let address = grant.address.addr();
        match grant.gateway {
            None => return Err(Error::Address { address, why: "it comes without a gateway" }),
            Some(gateway) if gateway == address => {
                let why = "it is its own gateway; leave room for the gateway in the subnet";
                return Err(Error::Address { address, why });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The gateways on the host end, and the way to the container: routes, and its link address, so
/// that nobody is asked for it.
pub(crate) fn to_container(
    link: u32,
    grants: &Grants,
    mac: cleat_kernel::Mac,
) -> Vec<Change<'static>> {
    let mut changes = Vec::new();
    let mut gateways: Vec<IpNet> = Vec::new();
    for gateway in grants.addresses.iter().filter_map(|grant| grant.gateway).map(IpNet::from) {
        if !gateways.contains(&gateway) {
            gateways.push(gateway);
        }
    }
    for address in gateways {
        let (nodad, no_prefix_route) = (false, false);
        changes.push(Change::AddAddress { link, address, nodad, no_prefix_route });
    }
    for grant in &grants.addresses {
        let address = grant.address.addr();
        changes.push(Change::AddRoute(Route { link: Some(link), ..Route::to(address.into()) }));
        changes.push(Change::Neighbour { link, address, mac });
    }
    changes
}

/// What is not as it was made, outside of the container.
pub(crate) fn check(
    rtnl: &mut Rtnl,
    grants: &Grants,
    record: Option<&AttachmentRecord>,
) -> std::result::Result<(), String> {
    let routes = rtnl.routes().map_err(|e| e.to_string())?;
    let host = record.and_then(|r| r.link.as_ref()).and_then(|l| l.host.as_deref());
    let link = match host {
        // Made by another program: which link it is, its routes say.
        None => None,
        Some(host) => {
            let link = rtnl.link(host).map_err(|e| e.to_string())?;
            Some(link.ok_or_else(|| format!("there is no host end {host}"))?.index)
        }
    };
    for grant in &grants.addresses {
        let address = IpNet::from(grant.address.addr());
        let leads = |route: &Route| route.dst == address && (link.is_none() || route.link == link);
        if !routes.iter().any(leads) {
            return Err(format!("the host has no route to {}", grant.address.addr()));
        }
    }
    Ok(())
}
