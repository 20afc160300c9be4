//! Host ends of containers' links: up and in their bridge, with a permanent neighbour entry for
//! each address.

use std::net::IpAddr;
use std::time::Duration;

use cleat_kernel::link::iff;
use cleat_kernel::{Change, Link, LinkChange, Mac, Rtnl};

use super::Finding;
use super::picture::{Live, Picture, bridge_plan, is_attached, plan_of, with_attached};
use crate::error::{Error, Result};
use crate::identity::AttachmentId;
use crate::plan::BridgePlan;
use crate::record::{AttachmentRecord, Ingress};
use crate::{Node, ports, veth};

/// Until then packets are lost. The container's own end may be down for good.
pub(super) const CARRIER: Duration = Duration::from_millis(100);

pub(super) fn look(picture: &Picture, live: &mut Live<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (name, record) in picture.attached(live.node) {
        let Some((_, plan)) = picture.on_bridge(live.node, record) else { continue };
        let Some(host) = record.link.as_ref().and_then(|part| part.host.clone()) else { continue };
        // Without its host end the container is gone.
        let Some(end) = picture.links.get(&host) else { continue };
        let bridge = picture.links.get(&plan.bridge);
        if is_astray(end, bridge)
            && live.confirm(name, |live, record| {
                let end = live.rtnl.link(&host)?;
                let bridge = live.rtnl.link(&plan.bridge)?;
                let astray = end.is_some_and(|end| is_astray(&end, bridge.as_ref()));
                Ok(astray && is_attached(live.node, record))
            })?
        {
            findings.push(Finding::HostEndAstray {
                attachment: record.id.clone(),
                link: host,
                bridge: plan.bridge.clone(),
            });
        }
        findings.extend(look_for_neighbours((picture, live), (name, record), &plan)?);
    }
    Ok(findings)
}

fn is_astray(end: &Link, bridge: Option<&Link>) -> bool {
    end.flags & iff::UP == 0 || bridge.is_none_or(|bridge| end.master != Some(bridge.index))
}

fn look_for_neighbours(
    (picture, live): (&Picture, &mut Live<'_>),
    (name, record): (&str, &AttachmentRecord),
    plan: &BridgePlan,
) -> Result<Option<Finding>> {
    let lacking = |bridge: Option<&Link>| -> Vec<IpAddr> {
        let has = |address: &IpAddr, mac: &Mac| {
            let found = bridge.and_then(|b| picture.neighbours.get(&(b.index, *address)));
            found == Some(&Some(*mac))
        };
        let wanted = neighbours(record);
        wanted.into_iter().filter(|(address, mac)| !has(address, mac)).map(|(a, _)| a).collect()
    };
    let routed_by = routed_by(record, plan);
    let addresses = lacking(picture.links.get(routed_by));
    if addresses.is_empty() {
        return Ok(None);
    }
    let confirmed = live.confirm(name, |live, record| {
        if !is_attached(live.node, record) {
            return Ok(false);
        }
        let Some(bridge) = live.rtnl.link(routed_by)? else { return Ok(true) };
        for (address, mac) in neighbours(record) {
            let found = live.rtnl.neighbour(bridge.index, address)?;
            if found.is_none_or(|n| !n.permanent || n.mac != Some(mac)) {
                return Ok(true);
            }
        }
        Ok(false)
    })?;
    Ok(confirmed.then(|| Finding::NeighboursMissing {
        attachment: record.id.clone(),
        bridge: routed_by.to_owned(),
        addresses,
    }))
}

/// The link that the host reaches the container by.
fn routed_by<'r>(record: &'r AttachmentRecord, plan: &'r BridgePlan) -> &'r str {
    let other = record.link.as_ref().and_then(|part| part.routed_by.as_deref());
    other.unwrap_or(&plan.bridge)
}

/// The entries that stand for an attachment.
fn neighbours(record: &AttachmentRecord) -> Vec<(IpAddr, Mac)> {
    let Some(part) = record.link.as_ref().filter(|part| part.neighbours) else {
        return Vec::new();
    };
    let tuned = record.tuning.as_ref().and_then(|tuning| tuning.mac);
    let Some(mac) = tuned.or(part.mac) else {
        return Vec::new();
    };
    record.addresses.iter().map(|grant| (grant.address.addr(), mac)).collect()
}

/// Puts an attachment's host end back into its bridge as it was, with its neighbour entries.
pub(super) fn mend(node: &Node, id: &AttachmentId) -> Result<()> {
    with_attached(node, id, |record| {
        let plan = record.plan.as_deref().and_then(|plan| plan_of(node, plan));
        let Some((_, plan)) = plan.and_then(bridge_plan) else { return Ok(()) };
        let Some(host) = record.link.as_ref().and_then(|part| part.host.as_deref()) else {
            return Ok(());
        };
        let mut rtnl = Rtnl::open()?;
        let Some(end) = rtnl.link(host)? else { return Ok(()) };
        let bridge = rtnl
            .link(&plan.bridge)?
            .ok_or_else(|| Error::NoLink { role: "bridge", name: plan.bridge.clone() })?;
        let mut changes: Vec<Change<'_>> = Vec::new();
        let astray = is_astray(&end, Some(&bridge));
        if astray {
            let own = || LinkChange { name: host, index: end.index, ..LinkChange::default() };
            let (hairpin, isolated) = port_settings(record, &plan);
            changes.push(Change::Link(LinkChange {
                master: Some(bridge.index),
                up: Some(true),
                ..own()
            }));
            // What is a port's can be set once it is one.
            changes.push(Change::Link(LinkChange { hairpin, isolated, ..own() }));
        }
        let link = rtnl.link(routed_by(record, &plan))?.map_or(bridge.index, |link| link.index);
        changes.extend(neighbours(record).into_iter().map(|(address, mac)| Change::Neighbour {
            link,
            address,
            mac,
        }));
        rtnl.apply(&changes).map_err(|refused| Error::Kernel(refused.error))?;
        if astray {
            let _ = rtnl.wait_up(end.index, CARRIER);
            veth::set_vlans(&mut rtnl, host, &plan)?;
        }
        // A port that stayed one kept its VLANs.
        Ok(())
    })
    .map(drop)
}

/// Hairpin mode and isolation, as the network, its published ports and its policy ask for.
fn port_settings(record: &AttachmentRecord, plan: &BridgePlan) -> (Option<bool>, Option<bool>) {
    let published = record.ports.as_ref().is_some_and(|ports| ports.hairpin);
    let hairpin = plan.hairpin || (published && ports::is_bridged_traffic_filtered());
    let policy = record.policy.as_ref().map(|policy| policy.ingress);
    let isolated = plan.port_isolation || policy == Some(Ingress::Isolated);
    (hairpin.then_some(true), isolated.then_some(true))
}
