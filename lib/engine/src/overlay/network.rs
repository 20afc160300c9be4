//! An overlay network: one definition, the same on all nodes.

use std::collections::BTreeMap;

use cleat_records::Document;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::identity::hashed_name;
use crate::plan::Inbound;

/// An overlay network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OverlayNetwork {
    /// Its name, unique in the store.
    pub name: String,
    /// Which of all networks that ever had this name: 16 hex digits, random.
    pub id: String,
    /// The VXLAN network identifier, 1..16777215.
    pub vni: u32,
    /// Its subnets, at most one of each family.
    pub subnets: Vec<IpNet>,
    /// The prefix length of a node's blocks of IPv4 addresses.
    pub block_v4: u8,
    /// The prefix length of a node's blocks of IPv6 addresses.
    pub block_v6: u8,
    /// Traffic between nodes is encrypted, or does not flow.
    #[serde(default)]
    pub encrypted: bool,
    /// The containers' MTU in bytes; `None`: what the underlay lets through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The UDP port of VXLAN.
    pub port: u16,
    /// Who may open connections into it.
    pub inbound: Inbound,
    /// Names for its containers.
    #[serde(default)]
    pub dns: bool,
    /// As given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it was made, in milliseconds since 1970.
    #[serde(default)]
    pub created: u64,
}

impl Document for OverlayNetwork {
    const SCHEMA: u32 = 1;
}

/// The UDP port of VXLAN (RFC 7348, section 8).
pub const PORT: u16 = 4789;
/// The prefix lengths of blocks unless asked for.
pub const BLOCK_V4: u8 = 24;
/// See [`BLOCK_V4`].
pub const BLOCK_V6: u8 = 80;

impl OverlayNetwork {
    /// A network of which nothing more is asked.
    pub fn new(name: &str, id: &str, vni: u32, subnets: Vec<IpNet>) -> Self {
        Self {
            name: name.to_owned(),
            id: id.to_owned(),
            vni,
            subnets,
            block_v4: BLOCK_V4,
            block_v6: BLOCK_V6,
            encrypted: false,
            mtu: None,
            port: PORT,
            inbound: Inbound::Published,
            dns: false,
            labels: BTreeMap::new(),
            created: 0,
        }
    }

    /// The prefix length of a node's blocks of a subnet.
    pub fn block_length(&self, subnet: &IpNet) -> u8 {
        if subnet.addr().is_ipv4() { self.block_v4 } else { self.block_v6 }
    }

    /// The first block of a subnet is nobody's: addresses that were asked for by name come from
    /// it, each with a claim of its own.
    pub fn static_range(&self, subnet: &IpNet) -> Option<IpNet> {
        IpNet::new(subnet.network(), self.block_length(subnet)).ok()
    }
}

/// The bridge of a network on every node: `clb` and 11 hex digits.
pub fn bridge_name(network: &str) -> String {
    format!("clb{}", hashed_name(network, 11))
}

/// The VXLAN device of a network on every node: `clx` and 11 hex digits.
pub fn vxlan_name(network: &str) -> String {
    format!("clx{}", hashed_name(network, 11))
}
