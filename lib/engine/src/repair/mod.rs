//! Repair: what is stored compared with what is there, and what differs made right again.
//!
//! A survey dumps each kind of kernel object once, whatever the number of attachments, and changes
//! nothing. Plugins work meanwhile: whatever looks wrong is looked at again under the lock of its
//! attachment before it counts, and an attachment that somebody is at work on is left for the next
//! survey. Nothing is mended without being looked at once more under that lock. What is not ours
//! is never touched, and nothing is taken away on half a picture.

mod attachments;
mod bridges;
mod ends;
mod finding;
mod leaks;
mod own_links;
mod picture;
mod routed;
mod settings;
mod tables;

pub use finding::Finding;

use crate::Node;
use crate::error::Result;
use picture::{Live, Picture};

/// What a survey found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// What is not as it should be; what has to be added first, what has to go last.
    pub findings: Vec<Finding>,
    /// How many attachments there are.
    pub attachments: usize,
    /// How many things could not be judged, since somebody was at work on them: another survey
    /// will tell.
    pub busy: usize,
}

/// Compares what is stored with what is there, in the calling thread's network namespace.
pub fn survey(node: &Node) -> Result<Survey> {
    let mut live = Live::open(node)?;
    let picture = Picture::take(&mut live)?;
    let mut findings = Vec::new();
    for look in [
        bridges::look,
        own_links::look,
        ends::look,
        routed::look,
        settings::look,
        tables::look,
        attachments::look,
        tables::look_for_leaks,
        leaks::look,
    ] {
        findings.extend(look(&picture, &mut live)?);
    }
    Ok(Survey { findings, attachments: picture.stored.records.len(), busy: live.busy })
}

/// Makes right what was found, if it is still so. What cannot be mended from here is left.
pub fn mend(node: &Node, finding: &Finding) -> Result<()> {
    use Finding as F;
    match finding {
        F::BridgeMissing { bridge }
        | F::BridgeDown { bridge }
        | F::BridgeAddressMissing { bridge, .. }
        | F::BridgeChanged { bridge, .. } => bridges::mend(node, bridge),
        F::HostEndAstray { attachment, .. } | F::NeighboursMissing { attachment, .. } => {
            ends::mend(node, attachment)
        }
        F::HostEndChanged { attachment, .. } => routed::mend(node, attachment),
        F::OwnLinkChanged { attachment, .. } => own_links::mend(node, attachment),
        F::ForwardingOff { ipv6 } => settings::forward(*ipv6),
        F::LocalhostClosed { link } => settings::open_localhost(link),
        F::MarkRuleMissing { .. } => settings::admit(node),
        F::TableMissing { .. } | F::TableIncomplete { .. } => tables::mend(node),
        F::ElementsMissing { attachment, .. } => tables::mend_elements(node, attachment),
        F::ElementsLeaked { table, set, .. } => tables::mend_leak(node, table, set),
        F::ContainerGone { attachment }
        | F::EarlierBoot { attachment }
        | F::Interrupted { attachment } => attachments::mend(node, attachment),
        F::PortsInterrupted { attachment } => attachments::mend_ports(node, attachment),
        F::LinkLeaked { link } => leaks::mend(node, link),
        F::BridgeReplaced { .. } | F::FirewallUnavailable { .. } | F::Unproven { .. } => Ok(()),
    }
}
