//! Host ends that belong to no attachment. One is ours when its address follows from its name as
//! only we make it; it is leaked when neither a record nor a lease can be its owner's. A record
//! that was lost is no proof that its container is gone: where the leases of the link's network
//! are not known, or one of them names its owner, it is left.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use cleat_ipam::Directory;
use cleat_kernel::change::Which;
use cleat_kernel::{Link, Rtnl};

use super::Finding;
use super::picture::{Live, Picture};
use crate::error::Result;
use crate::identity::AttachmentId;
use crate::{Node, inventory, veth};

pub(super) fn look(picture: &Picture, live: &mut Live<'_>) -> Result<Vec<Finding>> {
    let links = picture.stored.records.iter().filter_map(|(_, record)| record.link.as_ref());
    let known: HashSet<&str> = links.filter_map(|part| part.host.as_deref()).collect();
    let unknown = picture.links.values().filter(|link| !known.contains(link.name.as_str()));
    let candidates: Vec<&Link> = unknown.filter(|link| is_ours(link)).collect();
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let leaked = leaked(live.node, &candidates, |index| {
        picture.links.values().find(|link| link.index == index).map(|link| link.name.clone())
    })?;
    let mut findings = Vec::new();
    for link in leaked {
        // It may have gone with its attachment after the links were listed.
        if live.rtnl.link(&link)?.is_some_and(|link| is_ours(&link)) {
            findings.push(Finding::LinkLeaked { link });
        }
    }
    Ok(findings)
}

fn is_ours(link: &Link) -> bool {
    let digits = link.name.strip_prefix("veth").unwrap_or_default();
    let hex = digits.len() == 11 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    hex && link.kind == "veth" && link.mac == Some(veth::host_mac(&link.name))
}

/// Those of our host ends that can be nobody's.
fn leaked(
    node: &Node,
    candidates: &[&Link],
    name_of: impl Fn(u32) -> Option<String>,
) -> Result<Vec<String>> {
    let mut owned = HashSet::new();
    let mut leases: HashMap<String, HashSet<PathBuf>> = HashMap::new();
    for (name, stored) in node.attachments().list()? {
        let Ok(record) = stored else {
            node.warn(&format!("record {name} cannot be read: no link counts as leaked"));
            return Ok(Vec::new());
        };
        // An attach that is under way may have taken any of them.
        owned.extend((0..veth::NAMES).map(|attempt| record.id.host_link_name(attempt)));
        if let Some(dir) = record.leases {
            leases.entry(record.id.network).or_default().insert(dir);
        }
    }
    let known_networks: HashMap<String, Vec<String>> =
        inventory::links(node)?.into_iter().map(|rules| (rules.link, rules.networks)).collect();
    let mut held: HashMap<String, HashSet<String>> = HashMap::new();
    let mut found = Vec::new();
    for link in candidates.iter().filter(|link| !owned.contains(&link.name)) {
        let Some(bridge) = link.master.and_then(&name_of) else { continue };
        let Some(networks) = known_networks.get(&bridge) else { continue };
        // Every network of the bridge has an attachment that says where its leases are.
        if networks.is_empty() || !networks.iter().all(|network| leases.contains_key(network)) {
            continue;
        }
        let mut is_held = false;
        for network in networks {
            if !held.contains_key(network) {
                let dirs = leases.get(network).into_iter().flatten();
                held.insert(network.clone(), holders(node, network, dirs)?);
            }
            is_held |= held.get(network).is_some_and(|names| names.contains(&link.name));
        }
        if !is_held {
            found.push(link.name.clone());
        }
    }
    Ok(found)
}

/// The names that host ends of a network's lease holders can have.
fn holders<'d>(
    node: &Node,
    network: &str,
    dirs: impl Iterator<Item = &'d PathBuf>,
) -> Result<HashSet<String>> {
    let mut names = HashSet::new();
    for dir in dirs {
        for held in Directory::open(dir, &node.dirs().run, node.boot_id()).list()? {
            let id = AttachmentId {
                network: network.to_owned(),
                owner: held.owner.id,
                slot: held.owner.slot,
            };
            names.extend((0..veth::NAMES).map(|attempt| id.host_link_name(attempt)));
        }
    }
    Ok(names)
}

/// Removes a leaked link, if it still is one.
pub(super) fn mend(node: &Node, name: &str) -> Result<()> {
    let mut rtnl = Rtnl::open()?;
    let Some(link) = rtnl.link(name)?.filter(is_ours) else { return Ok(()) };
    let bridge = match link.master {
        Some(index) => rtnl.link_by_index(index)?.map(|bridge| bridge.name),
        None => None,
    };
    let still = leaked(node, &[&link], |_| bridge.clone())?;
    if still.iter().any(|leaked| leaked == name) {
        // By index: the name may be taken by an attach that has begun.
        rtnl.delete_link_fast(&Which::Index(link.index), None)?;
    }
    Ok(())
}
