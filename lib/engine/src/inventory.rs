//! What there is: attachments and links as stored, and whether an attachment's container is
//! still there. Changes nothing.

use cleat_kernel::{Namespace, Presence, Rtnl};

use crate::Node;
use crate::error::Result;
use crate::record::{AttachmentRecord, Phase};
use crate::ruleset::LinkRules;

/// All attachments that can be read; the others are warned of.
pub fn attachments(node: &Node) -> Result<Vec<AttachmentRecord>> {
    let listed = node.attachments().list()?.into_iter();
    Ok(listed.filter_map(|(name, stored)| readable(node, &name, stored)).collect())
}

/// The rules of all links.
pub fn links(node: &Node) -> Result<Vec<LinkRules>> {
    let listed = node.links().list()?.into_iter();
    Ok(listed.filter_map(|(name, stored)| readable(node, &name, stored)).collect())
}

/// What is known of an attachment's container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is there.
    Present,
    /// It is proven to be gone.
    Gone,
    /// An attach was interrupted.
    Interrupted,
    /// Nothing is proven.
    Unknown,
}

/// Whether an attachment's container is still there. Its host end deleted, another boot or
/// another namespace at its path prove that it is not; a path that is missing proves nothing.
pub fn standing(node: &Node, rtnl: &mut Rtnl, record: &AttachmentRecord) -> Result<Standing> {
    standing_among(node, record, |host| Ok(rtnl.link(host)?.is_some()))
}

/// The same, for whoever knows the host's links.
pub(crate) fn standing_among(
    node: &Node,
    record: &AttachmentRecord,
    is_link: impl FnOnce(&str) -> Result<bool>,
) -> Result<Standing> {
    if !node.is_this_boot(&record.boot) {
        return Ok(Standing::Gone);
    }
    if let Some(link) = &record.link {
        if link.phase != Phase::Ready {
            return Ok(Standing::Interrupted);
        }
        if let Some(host) = &link.host {
            return Ok(if is_link(host)? { Standing::Present } else { Standing::Gone });
        }
    }
    Ok(match &record.netns {
        Some(netns) => match Namespace::probe(&netns.path, netns.cookie) {
            Presence::Same => Standing::Present,
            Presence::Other => Standing::Gone,
            Presence::Unknown => Standing::Unknown,
        },
        None => Standing::Unknown,
    })
}

fn readable<T>(
    node: &Node,
    name: &str,
    stored: std::result::Result<T, cleat_records::Error>,
) -> Option<T> {
    stored.map_err(|error| node.warn(&format!("record {name}: {error}"))).ok()
}
