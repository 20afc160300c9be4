//! What the ruleset says of links, as far as names need it: at which addresses questions come in,
//! and that they are led to the port that is listened at.

use std::net::IpAddr;

use cleat_engine::ruleset::{LinkDns, LinkRules, Ruleset};
use cleat_engine::{Node, inventory};

use crate::error::Result;

/// The host's addresses that containers behind links with names ask at.
pub(crate) fn gateways(node: &Node) -> Result<Vec<IpAddr>> {
    let links = inventory::links(node)?;
    let with_names = links.into_iter().filter(|rules| rules.dns.is_some());
    Ok(with_names.flat_map(|rules| rules.gateways).collect())
}

/// Leads the questions from all links to this port.
pub(crate) fn lead_to(node: &Node, port: u16) -> Result<()> {
    for rules in inventory::links(node)? {
        let Some(dns) = rules.dns.filter(|dns| dns.port != port) else {
            continue;
        };
        let dns = Some(LinkDns { port, ..dns });
        Ruleset::open(node).set_link(&LinkRules { dns, ..rules })?;
    }
    Ok(())
}
