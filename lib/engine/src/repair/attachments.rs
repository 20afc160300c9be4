//! Attachments whose container is gone, of an earlier boot, or interrupted.

use super::Finding;
use super::picture::{Live, Picture};
use crate::collect;
use crate::error::Result;
use crate::identity::AttachmentId;
use crate::inventory::{self, Standing};
use crate::record::{AttachmentRecord, Phase};
use crate::ruleset::Ruleset;
use crate::{Node, ports};

pub(super) fn look(picture: &Picture, live: &mut Live<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (name, record) in &picture.stored.records {
        let attachment = || record.id.clone();
        let known = |host: &str| Ok(picture.links.contains_key(host));
        let standing = inventory::standing_among(live.node, record, known)?;
        let finding = match standing {
            Standing::Present if are_ports_pending(record) => {
                if !live.confirm(name, |_, now| Ok(now == record))? {
                    continue;
                }
                Finding::PortsInterrupted { attachment: attachment() }
            }
            Standing::Present => continue,
            // Another program made its interface, in a namespace that nobody told us of.
            Standing::Unknown if record.netns.is_none() && !are_ports_pending(record) => continue,
            Standing::Unknown => Finding::Unproven { attachment: attachment() },
            Standing::Gone if !live.node.is_this_boot(&record.boot) => {
                Finding::EarlierBoot { attachment: attachment() }
            }
            Standing::Gone | Standing::Interrupted => {
                let still = |live: &mut Live<'_>, now: &AttachmentRecord| {
                    let now = inventory::standing(live.node, &mut live.rtnl, now)?;
                    Ok(now == standing)
                };
                if !live.confirm(name, still)? {
                    continue;
                }
                match standing {
                    Standing::Gone => Finding::ContainerGone { attachment: attachment() },
                    _ => Finding::Interrupted { attachment: attachment() },
                }
            }
        };
        findings.push(finding);
    }
    Ok(findings)
}

/// Whoever publishes or takes back holds the lock; else that was interrupted.
fn are_ports_pending(record: &AttachmentRecord) -> bool {
    record.ports.as_ref().is_some_and(|ports| ports.phase != Phase::Ready)
}

/// Frees an attachment, lease included, if it is still proven to be over.
pub(super) fn mend(node: &Node, id: &AttachmentId) -> Result<()> {
    let mut live = Live::open(node)?;
    collect::free(node, &id.record_name(), |record| {
        let standing = inventory::standing(node, &mut live.rtnl, record)?;
        Ok(matches!(standing, Standing::Gone | Standing::Interrupted))
    })
    .map(drop)
}

/// Takes back ports whose publishing was interrupted.
pub(super) fn mend_ports(node: &Node, id: &AttachmentId) -> Result<()> {
    let name = id.record_name();
    let _lock = node.locks().acquire(&name)?;
    let record = node.attachments().read(&name)?;
    let pending = record.filter(|r| node.is_this_boot(&r.boot) && are_ports_pending(r));
    let Some(mut record) = pending else { return Ok(()) };
    ports::take_back(node, &mut Ruleset::open(node), &mut record)?;
    record.store(node)
}
