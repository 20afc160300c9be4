//! An attachment's record: what was made for it, part by part. A part is noted as `adding`
//! before the kernel is touched; renaming the record with the part `ready` commits it.

use std::net::IpAddr;
use std::path::PathBuf;

use cleat_kernel::link::Mac;
use cleat_records::Document;
use serde::{Deserialize, Serialize};

use crate::Node;
use crate::error::Result;
use crate::identity::AttachmentId;
use crate::names::NamesPart;
use crate::plan::Grant;

/// One attachment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttachmentRecord {
    /// Who it is.
    #[serde(flatten)]
    pub id: AttachmentId,
    /// The boot it was made in.
    pub boot: String,
    /// The container's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<NetnsNote>,
    /// The interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkPart>,
    /// The addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Grant>,
    /// The stored network plan that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Where the leases lie, to release them without a configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leases: Option<PathBuf>,
    /// Published ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortsPart>,
    /// The inbound policy that a chained plugin asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyPart>,
    /// What tuning changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<TuningPart>,
    /// How its traffic is shaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<BandwidthPart>,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<NamesPart>,
}

impl Document for AttachmentRecord {
    const SCHEMA: u32 = 1;
}

impl AttachmentRecord {
    /// An empty record.
    pub fn new(id: AttachmentId, boot: &str) -> Self {
        Self {
            id,
            boot: boot.to_owned(),
            netns: None,
            link: None,
            addresses: Vec::new(),
            plan: None,
            leases: None,
            ports: None,
            policy: None,
            tuning: None,
            bandwidth: None,
            names: None,
        }
    }

    /// The same with tuning done.
    pub(crate) fn settled(&self) -> Self {
        let mut settled = self.clone();
        if let Some(tuning) = &mut settled.tuning {
            tuning.phase = Phase::Ready;
        }
        settled
    }

    /// Fills in what an interrupted attach had not noted yet: the addresses that it held, and the
    /// link address that follows from them.
    pub(crate) fn complete(&mut self, asked: Option<Mac>, held: &[IpAddr]) {
        if !self.is_being_attached() {
            return;
        }
        if self.addresses.is_empty() {
            let grant = |address: &IpAddr| Grant { address: (*address).into(), gateway: None };
            self.addresses = held.iter().map(grant).collect();
        }
        // The order in which the addresses were granted is not known here.
        let first = self.addresses.iter().find(|g| g.address.addr().is_ipv4());
        let first = first.or(self.addresses.first()).map(|g| g.address.addr());
        if let Some(link) = &mut self.link {
            link.mac = link.mac.or(asked).or(first.map(Mac::for_address));
        }
    }

    /// Stores it, or removes it where no part is left.
    pub(crate) fn store(&self, node: &Node) -> Result<()> {
        let name = self.id.record_name();
        if self.is_empty() {
            node.attachments().remove(&name)?;
        } else {
            node.attachments().replace(&name, self)?;
        }
        Ok(())
    }

    /// Stores what is left of it after a part was freed. Freeing needs no disk space: where there
    /// is none, a note of what is no more stays until all of it goes.
    pub(crate) fn store_rest(&self, node: &Node) {
        if let Err(error) = self.store(node) {
            node.warn(&error.to_string());
        }
    }

    /// An attach is under way, or was interrupted.
    pub fn is_being_attached(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.phase == Phase::Adding)
    }

    /// Nothing is left in it.
    pub fn is_empty(&self) -> bool {
        self.link.is_none()
            && self.ports.is_none()
            && self.policy.is_none()
            && self.tuning.is_none()
            && self.bandwidth.is_none()
            && self.names.is_none()
    }
}

/// How far a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// May be half made.
    Adding,
    /// Made.
    Ready,
    /// May be half removed.
    Removing,
}

/// A namespace as it was when the attachment was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsNote {
    /// Its path.
    pub path: PathBuf,
    /// `SO_NETNS_COOKIE`, where the kernel has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
}

/// The interface of an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkPart {
    /// How far it is.
    pub phase: Phase,
    /// The kind of the container's link, where there is no host end; `None`: macvlan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The host's end; `None` where there is none (macvlan).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The host end's index, known once made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_index: Option<u32>,
    /// The bridge or master; the host end itself, where the host routes to it.
    pub master: String,
    /// The link by which the host routes to it, where that is not the master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routed_by: Option<String>,
    /// The container end's link address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// What it sends to the outside gets the host's address.
    #[serde(default)]
    pub masquerade: bool,
    /// A permanent neighbour entry per address stands on the bridge or the host end.
    #[serde(default)]
    pub neighbours: bool,
    /// Elements of the anti-spoofing sets stand for it.
    #[serde(default)]
    pub spoof_guard: bool,
    /// Only its own addresses are let through.
    #[serde(default)]
    pub strict: bool,
    /// It is a device of the host's, to be given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<MovedDevice>,
    /// The host's own interface for reaching containers beside a macvlan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_access: Option<String>,
}

impl LinkPart {
    /// The host end, where the host routes to it: a link of its own, in no bridge.
    pub(crate) fn routed(&self) -> Option<&str> {
        self.host.as_deref().filter(|host| *host == self.master)
    }
}

/// A device of the host's that is in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedDevice {
    /// Its name on the host.
    pub name: String,
    /// Its alias there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// It was up there.
    pub was_up: bool,
}

/// Published ports of an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortsPart {
    /// How far they are.
    pub phase: Phase,
    /// The link that leads to the container.
    pub via: String,
    /// One per (host address, port, protocol).
    pub bindings: Vec<Binding>,
    /// Masquerade what comes back to where it came from.
    pub hairpin: bool,
    /// Masquerade everything published.
    #[serde(default)]
    pub masquerade_all: bool,
}

/// One published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The host's address; `None`: any of the backend's family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<IpAddr>,
    /// The host's port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The container's address.
    pub to: IpAddr,
    /// The container's port.
    pub to_port: u16,
    /// The conditions under which it is published, by their id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<String>,
}

/// A protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its number (IANA).
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// The inbound policy that a chained plugin asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyPart {
    /// How far it is.
    pub phase: Phase,
    /// The bridge or host link that it is about.
    pub link: String,
    /// What is let in.
    pub ingress: Ingress,
    /// The chain that an administrator's rules stand in.
    pub admin_chain: String,
}

/// The `ingressPolicy` of the firewall plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ingress {
    /// Everything.
    Open,
    /// What comes from the same bridge, and not from other bridges with a policy.
    SameBridge,
    /// Nothing from other containers.
    Isolated,
}

/// What tuning changed and what it was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TuningPart {
    /// How far it is.
    pub phase: Phase,
    /// The interface as it was.
    pub before: LinkState,
    /// The link address that it has now, where that was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
}

/// How an attachment's traffic is shaped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BandwidthPart {
    /// How far it is.
    pub phase: Phase,
    /// The link whose traffic is shaped: the host end, or the container's own interface.
    pub link: String,
    /// The link's index.
    pub index: u32,
    /// The link is in the container.
    pub inside: bool,
    /// What it sends goes through a bucket.
    pub sent: bool,
    /// The device through which its arrivals are led.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifb: Option<String>,
}

/// The settings of an interface that tuning may change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkState {
    /// Its link address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Its transmit queue's length in packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txqlen: Option<u32>,
    /// Promiscuous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promisc: Option<bool>,
    /// Takes all multicast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allmulti: Option<bool>,
}
