//! What a survey finds, as values: each with the name of what it is about, a text for people, and
//! whether it can be mended from here.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::identity::AttachmentId;

/// A difference between what is stored and what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "finding", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Finding {
    /// A bridge that containers are attached to does not exist.
    BridgeMissing {
        /// Its name.
        bridge: String,
    },
    /// A link of another kind has its name.
    BridgeReplaced {
        /// The name.
        bridge: String,
        /// The kind that it has.
        found: String,
    },
    /// A bridge is down.
    BridgeDown {
        /// Its name.
        bridge: String,
    },
    /// A bridge lacks a gateway's address.
    BridgeAddressMissing {
        /// Its name.
        bridge: String,
        /// The address.
        address: IpNet,
    },
    /// A bridge of ours has another MTU, or another link address.
    BridgeChanged {
        /// Its name.
        bridge: String,
        /// What is different.
        what: String,
    },
    /// A host end is down, or not in its bridge.
    HostEndAstray {
        /// Whose it is.
        attachment: AttachmentId,
        /// Its name.
        link: String,
        /// The bridge that it belongs in.
        bridge: String,
    },
    /// A host end that the host routes to is down, or the host has no way to the container.
    HostEndChanged {
        /// Whose it is.
        attachment: AttachmentId,
        /// Its name.
        link: String,
        /// What is different.
        what: String,
    },
    /// A link of the host's own that containers are reached by is gone, or not as it was.
    OwnLinkChanged {
        /// Who needs it.
        attachment: AttachmentId,
        /// Its name.
        link: String,
        /// What is different.
        what: String,
    },
    /// A bridge lacks permanent neighbour entries.
    NeighboursMissing {
        /// Whose they are.
        attachment: AttachmentId,
        /// The bridge.
        bridge: String,
        /// For which addresses.
        addresses: Vec<IpAddr>,
    },
    /// Forwarding is off, and containers need it.
    ForwardingOff {
        /// Of IPv6, else of IPv4.
        ipv6: bool,
    },
    /// Published ports are not reached by 127.0.0.1: `route_localnet` is off.
    LocalhostClosed {
        /// The link that leads to the containers.
        link: String,
    },
    /// A table of ours is gone.
    TableMissing {
        /// Its name with its family.
        table: String,
    },
    /// A table of ours is not whole.
    TableIncomplete {
        /// Its name with its family.
        table: String,
        /// What it lacks.
        what: String,
    },
    /// Set elements of one attachment are missing.
    ElementsMissing {
        /// Whose they are.
        attachment: AttachmentId,
        /// The first set that lacks one.
        set: String,
    },
    /// The kernel has no nf_tables, or does not let us use them.
    FirewallUnavailable {
        /// Its words.
        why: String,
    },
    /// The rule that lets containers' traffic through another firewall is gone.
    MarkRuleMissing {
        /// The chain with its table.
        chain: String,
    },
    /// A container is gone; what was made for it is still there.
    ContainerGone {
        /// The attachment.
        attachment: AttachmentId,
    },
    /// An attachment of an earlier boot is still on record.
    EarlierBoot {
        /// The attachment.
        attachment: AttachmentId,
    },
    /// An attach or detach was interrupted.
    Interrupted {
        /// The attachment.
        attachment: AttachmentId,
    },
    /// The publishing of ports was interrupted.
    PortsInterrupted {
        /// The attachment.
        attachment: AttachmentId,
    },
    /// A container may be gone, but nothing proves it.
    Unproven {
        /// The attachment.
        attachment: AttachmentId,
    },
    /// Set elements that stand for nothing.
    ElementsLeaked {
        /// The table with its family.
        table: String,
        /// The set.
        set: String,
        /// How many.
        count: usize,
    },
    /// A host end of ours that belongs to no attachment.
    LinkLeaked {
        /// Its name.
        link: String,
    },
}

impl Finding {
    /// What it is about: a bridge's, link's, table's or chain's name, or an attachment.
    pub fn object(&self) -> String {
        match self {
            Self::BridgeMissing { bridge }
            | Self::BridgeReplaced { bridge, .. }
            | Self::BridgeDown { bridge }
            | Self::BridgeAddressMissing { bridge, .. }
            | Self::BridgeChanged { bridge, .. } => bridge.clone(),
            Self::HostEndAstray { attachment, .. }
            | Self::HostEndChanged { attachment, .. }
            | Self::OwnLinkChanged { attachment, .. }
            | Self::NeighboursMissing { attachment, .. }
            | Self::ElementsMissing { attachment, .. }
            | Self::ContainerGone { attachment }
            | Self::EarlierBoot { attachment }
            | Self::Interrupted { attachment }
            | Self::PortsInterrupted { attachment }
            | Self::Unproven { attachment } => attachment.to_string(),
            Self::ForwardingOff { ipv6 } => if *ipv6 { "IPv6" } else { "IPv4" }.to_owned(),
            Self::LocalhostClosed { link } | Self::LinkLeaked { link } => link.clone(),
            Self::TableMissing { table }
            | Self::TableIncomplete { table, .. }
            | Self::ElementsLeaked { table, .. } => table.clone(),
            Self::FirewallUnavailable { .. } => "nftables".to_owned(),
            Self::MarkRuleMissing { chain } => chain.clone(),
        }
    }

    /// What kind of thing it is about, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::BridgeMissing { .. }
            | Self::BridgeReplaced { .. }
            | Self::BridgeDown { .. }
            | Self::BridgeAddressMissing { .. }
            | Self::BridgeChanged { .. } => "bridge",
            Self::HostEndAstray { .. }
            | Self::HostEndChanged { .. }
            | Self::OwnLinkChanged { .. }
            | Self::NeighboursMissing { .. }
            | Self::ElementsMissing { .. }
            | Self::ContainerGone { .. }
            | Self::EarlierBoot { .. }
            | Self::Interrupted { .. }
            | Self::PortsInterrupted { .. }
            | Self::Unproven { .. } => "attachment",
            Self::ForwardingOff { .. } => "forwarding",
            Self::LocalhostClosed { .. } | Self::LinkLeaked { .. } => "link",
            Self::TableMissing { .. }
            | Self::TableIncomplete { .. }
            | Self::ElementsLeaked { .. }
            | Self::FirewallUnavailable { .. }
            | Self::MarkRuleMissing { .. } => "ruleset",
        }
    }

    /// It can be mended from here.
    pub fn is_mendable(&self) -> bool {
        !matches!(
            self,
            Self::BridgeReplaced { .. } | Self::FirewallUnavailable { .. } | Self::Unproven { .. }
        )
    }

    /// Mending it takes something away.
    pub fn is_removal(&self) -> bool {
        matches!(
            self,
            Self::ContainerGone { .. }
                | Self::EarlierBoot { .. }
                | Self::Interrupted { .. }
                | Self::PortsInterrupted { .. }
                | Self::ElementsLeaked { .. }
                | Self::LinkLeaked { .. }
        )
    }

    /// What a user can do where it is not mended from here.
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::BridgeReplaced { .. } => "remove or rename that link",
            Self::FirewallUnavailable { .. } => "a kernel with CONFIG_NF_TABLES, and CAP_NET_ADMIN",
            Self::Unproven { .. } => "if it is gone, send DEL by its runtime",
            _ => return None,
        })
    }
}

/// What was found, without its object.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BridgeMissing { .. } => f.write_str("the bridge was deleted"),
            Self::BridgeReplaced { found, .. } => write!(f, "a {found} has the bridge's name"),
            Self::BridgeDown { .. } => f.write_str("the bridge is down"),
            Self::BridgeAddressMissing { address, .. } => {
                write!(f, "the gateway's address {address} was deleted")
            }
            Self::BridgeChanged { what, .. } => f.write_str(what),
            Self::HostEndAstray { link, bridge, .. } => {
                write!(f, "its link {link} is down or not in bridge {bridge}")
            }
            Self::HostEndChanged { link, what, .. } => write!(f, "its link {link} {what}"),
            Self::OwnLinkChanged { link, what, .. } => write!(f, "the host's link {link} {what}"),
            Self::NeighboursMissing { bridge, .. } => {
                write!(f, "its permanent neighbour entries on {bridge} were deleted")
            }
            Self::ForwardingOff { .. } => f.write_str("forwarding was switched off"),
            Self::LocalhostClosed { .. } => {
                f.write_str("route_localnet was switched off: 127.0.0.1 reaches no published port")
            }
            Self::TableMissing { .. } => f.write_str("somebody flushed it; it is made again"),
            Self::TableIncomplete { what, .. } => write!(f, "somebody changed it: {what}"),
            Self::ElementsMissing { set, .. } => write!(f, "set {set} lacks its element"),
            Self::FirewallUnavailable { why } => f.write_str(why),
            Self::MarkRuleMissing { .. } => {
                f.write_str("the rule that lets containers' traffic through was deleted")
            }
            Self::ContainerGone { .. } => f.write_str("its container is gone"),
            Self::EarlierBoot { .. } => f.write_str("it was made before the host was started"),
            Self::Interrupted { .. } => f.write_str("its making was interrupted"),
            Self::PortsInterrupted { .. } => {
                f.write_str("the publishing of its ports was interrupted")
            }
            Self::Unproven { .. } => {
                f.write_str("its container may be gone, but nothing proves it")
            }
            Self::ElementsLeaked { set, count, .. } => {
                write!(f, "{count} elements of set {set} belong to nothing")
            }
            Self::LinkLeaked { .. } => f.write_str("it belongs to no attachment"),
        }
    }
}
