//! Bridges that containers are attached to: there, up, with the gateways' addresses, and as they
//! were made.

use std::collections::BTreeMap;

use cleat_kernel::link::iff;
use cleat_kernel::{Change, Link, LinkChange, Rtnl};
use ipnet::IpNet;

use super::Finding;
use super::picture::{Live, Picture, bridge_plan, is_attached, plan_of};
use crate::error::Result;
use crate::plan::{BridgePlan, Grants, NetworkPlan};
use crate::record::AttachmentRecord;
use crate::ruleset::LinkRules;
use crate::undo::Undo;
use crate::{Node, bridge, inventory};

/// What a bridge is used for.
#[derive(Default)]
struct Use {
    /// A record that says so.
    record: String,
    gateways: Vec<IpNet>,
    mtu: Option<u32>,
}

pub(super) fn look(picture: &Picture, live: &mut Live<'_>) -> Result<Vec<Finding>> {
    let mut uses: BTreeMap<String, Use> = BTreeMap::new();
    for (name, record) in picture.attached(live.node) {
        let Some((network, plan)) = picture.on_bridge(live.node, record) else { continue };
        let used = uses.entry(plan.bridge.clone()).or_default();
        name.clone_into(&mut used.record);
        used.mtu = mtu_of(&network, &plan).or(used.mtu);
        for gateway in gateways(&plan, record) {
            if !used.gateways.contains(&gateway) {
                used.gateways.push(gateway);
            }
        }
    }
    let mut findings = Vec::new();
    for (bridge, used) in &uses {
        let rules = picture.stored.links.iter().find(|rules| rules.link == *bridge);
        let has = |link: &Link, address: IpNet| picture.addresses.contains(&(link.index, address));
        let first = differences(bridge, used, (picture.links.get(bridge), rules), has);
        if first.is_empty() {
            continue;
        }
        // Once more: it may have been made after the links were listed, or the network is gone.
        let link = live.rtnl.link(bridge)?;
        let present = live.rtnl.addresses(link.as_ref().map(|link| link.index))?;
        let has = |_: &Link, address: IpNet| present.iter().any(|a| a.net == address);
        let again = differences(bridge, used, (link.as_ref(), rules), has);
        let is_used = live.node.attachments().read(&used.record);
        if is_used.is_ok_and(|record| record.is_some_and(|r| is_attached(live.node, &r))) {
            findings.extend(again);
        }
    }
    Ok(findings)
}

/// The MTU that it was made with, and keeps.
fn mtu_of(network: &NetworkPlan, plan: &BridgePlan) -> Option<u32> {
    network.mtu.filter(|_| !plan.overlay)
}

fn gateways(plan: &BridgePlan, record: &AttachmentRecord) -> Vec<IpNet> {
    bridge::gateway_addresses(plan, &grants(record))
}

fn grants(record: &AttachmentRecord) -> Grants {
    Grants { addresses: record.addresses.clone(), routes: Vec::new() }
}

fn differences(
    name: &str,
    used: &Use,
    (link, rules): (Option<&Link>, Option<&LinkRules>),
    has: impl Fn(&Link, IpNet) -> bool,
) -> Vec<Finding> {
    let bridge = || name.to_owned();
    let Some(link) = link else {
        return vec![Finding::BridgeMissing { bridge: bridge() }];
    };
    if link.kind != "bridge" {
        let found = if link.kind.is_empty() { "hardware device" } else { &link.kind }.to_owned();
        return vec![Finding::BridgeReplaced { bridge: bridge(), found }];
    }
    let mut findings = Vec::new();
    if link.flags & iff::UP == 0 {
        findings.push(Finding::BridgeDown { bridge: bridge() });
    }
    for &address in used.gateways.iter().filter(|address| !has(link, **address)) {
        findings.push(Finding::BridgeAddressMissing { bridge: bridge(), address });
    }
    let change = settings_to_restore(link, used.mtu, rules);
    if let Some(wanted) = change.mac {
        let what = format!("its link address is another than {wanted}");
        findings.push(Finding::BridgeChanged { bridge: bridge(), what });
    }
    if let Some(wanted) = change.mtu {
        let what = format!("its MTU is {} instead of {wanted}", link.mtu);
        findings.push(Finding::BridgeChanged { bridge: bridge(), what });
    }
    findings
}

/// Of a bridge that we made: what it was made with and has no more.
fn settings_to_restore<'l>(
    link: &'l Link,
    mtu: Option<u32>,
    rules: Option<&LinkRules>,
) -> LinkChange<'l> {
    let rules = rules.filter(|rules| rules.created);
    LinkChange {
        name: &link.name,
        index: link.index,
        mac: rules.and_then(|rules| rules.mac).filter(|mac| link.mac != Some(*mac)),
        mtu: mtu.filter(|mtu| rules.is_some() && link.mtu != *mtu),
        ..LinkChange::default()
    }
}

/// Makes a bridge what its attachments were made with.
pub(super) fn mend(node: &Node, name: &str) -> Result<()> {
    let mut rtnl = Rtnl::open()?;
    // Each network with each set of gateways once, however many containers it has.
    let mut done: Vec<(NetworkPlan, Vec<IpNet>)> = Vec::new();
    let mut mtu = None;
    for record in inventory::attachments(node)? {
        if !is_attached(node, &record) {
            continue;
        }
        let plan = record.plan.as_deref().and_then(|plan| plan_of(node, plan));
        let Some((network, plan)) = plan.and_then(bridge_plan).filter(|(_, p)| p.bridge == name)
        else {
            continue;
        };
        mtu = mtu_of(&network, &plan).or(mtu);
        let wanted = (network, gateways(&plan, &record));
        if done.contains(&wanted) {
            continue;
        }
        let mut undo = Undo::new(node.warner());
        bridge::ensure_link(node, &mut rtnl, (&wanted.0, &plan), &grants(&record), &mut undo)?;
        undo.commit();
        done.push(wanted);
    }
    let Some(link) = rtnl.link(name)?.filter(|_| !done.is_empty()) else {
        return Ok(());
    };
    let rules = inventory::links(node)?.into_iter().find(|rules| rules.link == name);
    let change = settings_to_restore(&link, mtu, rules.as_ref());
    if change.mac.is_some() || change.mtu.is_some() {
        rtnl.apply(&[Change::Link(change)]).map_err(|refused| refused.error)?;
    }
    Ok(())
}
