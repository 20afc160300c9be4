//! What the host has to be set to for containers: forwarding, published ports on 127.0.0.1, and
//! the rule that lets them through another firewall.

use std::collections::BTreeSet;

use cleat_kernel::sysctl;
use cleat_nft::Netlink;

use super::Finding;
use super::picture::{Live, Picture};
use crate::Node;
use crate::error::Result;
use crate::plan::Driver;
use crate::record::{AttachmentRecord, Phase};
use crate::ruleset::{Stored, foreign};

pub(super) fn look(picture: &Picture, live: &mut Live<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for ipv6 in [false, true] {
        let has = |record: &AttachmentRecord| {
            record.addresses.iter().any(|grant| grant.address.addr().is_ipv6() == ipv6)
        };
        let is_routed = |record: &AttachmentRecord| {
            let network = picture.network(live.node, record);
            network.is_some_and(|network| match network.driver {
                Driver::Bridge(plan) => plan.gateway,
                Driver::Ptp => true,
                _ => false,
            })
        };
        let needed = picture.attached(live.node).any(|(_, r)| has(r) && is_routed(r));
        // Attach goes on where it may not be set, and says so.
        if needed && sysctl::read(forwarding(ipv6)).is_ok_and(|value| value == "0") {
            findings.push(Finding::ForwardingOff { ipv6 });
        }
    }
    let open = |record: &&AttachmentRecord| {
        record.ports.as_ref().is_some_and(|ports| {
            let v4 = ports.bindings.iter().any(|binding| binding.to.is_ipv4());
            ports.phase == Phase::Ready && ports.hairpin && v4
        })
    };
    let records = picture.stored.records.iter().map(|(_, record)| record);
    let records = records.filter(|record| live.node.is_this_boot(&record.boot)).filter(open);
    let vias: BTreeSet<&str> = records.flat_map(|r| &r.ports).map(|p| p.via.as_str()).collect();
    for link in vias {
        // That of a link that is gone comes back with it.
        if sysctl::read(&route_localnet(link)).is_ok_and(|value| value == "0") {
            findings.push(Finding::LocalhostClosed { link: link.to_owned() });
        }
    }
    if !picture.stored.links.is_empty() && picture.no_firewall.is_none() {
        for (table, chain) in foreign::lacking(live.ruleset.backend(), picture.stored.passage())? {
            findings.push(Finding::MarkRuleMissing { chain: format!("{table} {chain}") });
        }
    }
    Ok(findings)
}

fn forwarding(ipv6: bool) -> &'static str {
    if ipv6 { "ipv6/conf/all/forwarding" } else { "ipv4/ip_forward" }
}

fn route_localnet(link: &str) -> String {
    format!("ipv4/conf/{link}/route_localnet")
}

/// Switches forwarding on. What was before we came is on record, and stays as it is there.
pub(super) fn forward(ipv6: bool) -> Result<()> {
    if ipv6 {
        sysctl::enable_forwarding_v6()?
    } else {
        sysctl::enable_forwarding_v4()?
    };
    Ok(())
}

/// Lets 127.0.0.1 lead to published ports behind a link.
pub(super) fn open_localhost(link: &str) -> Result<()> {
    sysctl::set(&route_localnet(link), "1")?;
    Ok(())
}

/// Puts the rule back wherever it is missing.
pub(super) fn admit(node: &Node) -> Result<()> {
    let passage = Stored::read(node)?.passage();
    Ok(foreign::admit(&mut Netlink::open(), passage)?)
}
