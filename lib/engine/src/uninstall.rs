//! Uninstall: removes what is ours from the kernel and from the run directory. Attachments must
//! be freed before.

use cleat_kernel::Rtnl;

use crate::error::Result;
use crate::ruleset::{Ruleset, conditions};
use crate::{Node, bridge, forwarding, inventory, overlay, service, vlan_gateway};

/// Removes the ruleset, the bridges that we made and that have no ports left, and the notes of
/// them. The bridges that were kept since something else is in them.
pub fn uninstall(node: &Node) -> Result<Vec<String>> {
    let mut kept = Vec::new();
    let mut rtnl = Rtnl::open()?;
    for part in overlay::memberships(node)? {
        overlay::segment::remove(node, &mut rtnl, &part.network)?;
        overlay::forget(node, &part.network.name)?;
    }
    for rules in inventory::links(node)? {
        if !rules.created {
            continue;
        }
        vlan_gateway::remove(node, &rules.link, None)?;
        if let Err(error) = bridge::remove_if_empty(&rules.link) {
            node.warn(&format!("bridge {}: {error}", rules.link));
        }
        if rtnl.link(&rules.link)?.is_some() {
            kept.push(rules.link);
        }
    }
    // The notes first: a daemon that sees the tables go must find nothing that needs them.
    for (name, _) in node.links().list()? {
        node.links().remove(&name)?;
    }
    for (name, _) in node.plans().list()? {
        node.plans().remove(&name)?;
    }
    conditions::forget(node)?;
    forwarding::forget(node)?;
    if !service::is_attended(node) {
        service::withdraw(node)?;
    }
    Ruleset::open(node).uninstall()?;
    Ok(kept)
}
