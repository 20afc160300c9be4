//! What the engine works on: a network plan and an attachment plan, complete and valid, made
//! from any source. Making one touches nothing.

use std::net::IpAddr;
use std::path::PathBuf;

use cleat_kernel::link::Mac;
use cleat_records::Document;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::identity::AttachmentId;
use crate::names::NamesPlan;

/// A network as the engine needs it. Stored when first used; repair and collection use only
/// what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPlan {
    /// The network's name.
    pub name: String,
    /// How its attachments are linked.
    pub driver: Driver,
    /// The links' MTU in bytes; `None`: the kernel's default.
    pub mtu: Option<u32>,
    /// Who may open connections into it.
    pub inbound: Inbound,
    /// Rewrite the source of what leaves it.
    pub masquerade: bool,
    /// What a container may send as its own.
    pub anti_spoof: AntiSpoof,
    /// Write a permanent neighbour entry per lease.
    pub permanent_neighbours: bool,
    /// Names for its containers; `None`: none are answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsPlan>,
}

impl NetworkPlan {
    /// A network that asks for nothing but its links.
    pub fn new(name: &str, driver: Driver) -> Self {
        Self {
            name: name.to_owned(),
            driver,
            mtu: None,
            inbound: Inbound::Open,
            masquerade: false,
            anti_spoof: AntiSpoof::Off,
            permanent_neighbours: false,
            dns: None,
        }
    }
}

impl Document for NetworkPlan {
    const SCHEMA: u32 = 1;
}

/// Names for the containers of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsPlan {
    /// Where questions go that are not about names here; empty: where the container's or the
    /// host's own go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<IpAddr>,
    /// Whatever server a container asks, its question is answered here.
    #[serde(default)]
    pub intercept: bool,
}

/// How attachments are linked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A veth pair into a bridge.
    Bridge(BridgePlan),
    /// A veth pair whose host end the host routes to.
    Ptp,
    /// A macvlan on a host interface.
    Macvlan(MacvlanPlan),
    /// An ipvlan on a host interface.
    Ipvlan(IpvlanPlan),
    /// The tagged frames of a host interface.
    Vlan(VlanPlan),
    /// A link that leads nowhere.
    Dummy,
    /// A link whose other end a program opens.
    Tap(TapPlan),
    /// A device of the host's.
    Device(Device),
}

/// A bridge network's own settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgePlan {
    /// The bridge's name.
    pub bridge: String,
    /// The bridge holds the gateway addresses, and the host forwards.
    pub gateway: bool,
    /// The container's default route goes to the gateway.
    pub default_gateway: bool,
    /// Replace gateway addresses that are there and differ.
    pub force_address: bool,
    /// A port may send back what came from it.
    pub hairpin: bool,
    /// The bridge is promiscuous.
    pub promiscuous: bool,
    /// Do duplicate address detection.
    pub dad: bool,
    /// Leave the container's interface down and without addresses.
    pub no_interface: bool,
    /// Ports of the bridge do not reach each other.
    pub port_isolation: bool,
    /// The port's VLAN, 1..4094.
    pub vlan: Option<u16>,
    /// Tagged VLANs of the port, as inclusive ranges.
    pub vlan_trunk: Vec<(u16, u16)>,
    /// Keep VLAN 1 on the port.
    pub keep_default_vlan: bool,
    /// It is an overlay network's: its MTU is whatever the underlay carries by now, and an address
    /// that is its whole subnet has its gateway in another one, which the bridge has already.
    #[serde(default)]
    pub overlay: bool,
}

impl BridgePlan {
    /// The link that has the gateway's addresses, where the bridge itself has not: it is in VLAN 1.
    pub fn gateway_link(&self) -> Option<String> {
        let vlan = self.vlan.filter(|vlan| self.gateway && *vlan != 1);
        vlan.map(|vlan| format!("{}.{vlan}", self.bridge))
    }
}

/// A macvlan network's own settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacvlanPlan {
    /// The host interface; `None`: that of the default route.
    pub master: Option<String>,
    /// The macvlan mode.
    pub mode: MacvlanMode,
    /// The master is to be looked for in the container's namespace.
    pub master_in_container: bool,
    /// Length of the broadcast queue; `None`: the kernel's default.
    pub broadcast_queue: Option<u32>,
    /// The host gets a macvlan of its own, so that host and containers reach each other.
    pub host_access: bool,
}

/// An ipvlan network's own settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpvlanPlan {
    /// The host interface; `None`: that of the default route.
    pub master: Option<String>,
    /// The ipvlan mode.
    pub mode: IpvlanMode,
    /// The master is to be looked for in the container's namespace.
    pub master_in_container: bool,
}

/// Ipvlan modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanMode {
    /// Switches frames.
    L2,
    /// Routes packets; no broadcast, no neighbours.
    L3,
    /// Routes packets, which pass the host's firewall.
    L3s,
}

/// A VLAN network's own settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VlanPlan {
    /// The host interface.
    pub master: String,
    /// The tag, 0..4094.
    pub id: u16,
    /// The master is to be looked for in the container's namespace.
    pub master_in_container: bool,
}

/// A tap network's own settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapPlan {
    /// It can be opened several times at once.
    pub multi_queue: bool,
    /// The user that may open it.
    pub owner: Option<u32>,
    /// The group that may.
    pub group: Option<u32>,
    /// Its SELinux context.
    pub selinux: Option<String>,
    /// A bridge in the container that it goes into.
    pub bridge: Option<String>,
}

/// Which of the host's devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// By its name.
    Name(String),
    /// By its link address.
    Mac(Mac),
    /// By its folder in sysfs.
    Folder(PathBuf),
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Mac(mac) => write!(f, "{mac}"),
            Self::Folder(folder) => write!(f, "{}", folder.display()),
        }
    }
}

/// Macvlan modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// Only to the outside.
    Private,
    /// Through the outside switch.
    Vepa,
    /// Among each other directly.
    Bridge,
    /// The master given to one container.
    Passthru,
}

/// Who may open connections into a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Inbound {
    /// Routed traffic reaches the containers.
    Open,
    /// Only published ports, established flows and the network itself.
    Published,
    /// Closed in both directions.
    Internal,
}

/// What a container may send as its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AntiSpoof {
    /// Anything.
    Off,
    /// Nothing that another attachment or the gateway holds.
    Held,
    /// Only its own addresses.
    Strict,
}

/// One attachment, as asked for.
#[derive(Debug, Clone)]
pub struct AttachmentPlan {
    /// Who it is.
    pub id: AttachmentId,
    /// The network.
    pub network: NetworkPlan,
    /// The container's namespace.
    pub netns: PathBuf,
    /// The container's link address; `None`: derived from its address.
    pub mac: Option<Mac>,
    /// What it is to be called, where the network has names.
    pub names: NamesPlan,
    /// Of the container's networks the one of the highest priority holds the default route.
    pub gateway_priority: i32,
}

/// An address for an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The address with its subnet's prefix length.
    pub address: IpNet,
    /// The subnet's gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// A route for an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteGrant {
    /// The destination.
    pub dst: IpNet,
    /// The next hop; `None`: the gateway of the same family, or on-link without one.
    pub gateway: Option<IpAddr>,
    /// Path MTU in bytes.
    pub mtu: Option<u32>,
    /// Advertised maximum segment size in bytes.
    pub advmss: Option<u32>,
    /// The metric.
    pub priority: Option<u32>,
    /// The routing table.
    pub table: Option<u32>,
    /// `RT_SCOPE_*`.
    pub scope: Option<u8>,
}

impl RouteGrant {
    /// A route with nothing but a destination and a next hop.
    pub fn to(dst: IpNet, gateway: Option<IpAddr>) -> Self {
        Self { dst, gateway, mtu: None, advmss: None, priority: None, table: None, scope: None }
    }
}

/// What addressing gives an attachment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// The addresses, in order.
    pub addresses: Vec<Grant>,
    /// The routes, in order.
    pub routes: Vec<RouteGrant>,
}

impl Grants {
    /// There is an address of a family.
    pub fn has(&self, ipv6: bool) -> bool {
        self.addresses.iter().any(|grant| grant.address.addr().is_ipv6() == ipv6)
    }

    /// The first gateway of a family.
    pub fn gateway(&self, ipv6: bool) -> Option<IpAddr> {
        self.addresses.iter().filter_map(|g| g.gateway).find(|g| g.is_ipv6() == ipv6)
    }
}

/// What is needed of an interface that addresses are asked for over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverLink {
    /// IPv6 between neighbours.
    pub ipv6: bool,
}

/// Where an attachment's addresses come from.
pub trait Lessor {
    /// Takes them. On failure nothing is held.
    fn lease(&mut self) -> Result<Grants>;
    /// Gives them back; none held is no error.
    fn release(&mut self) -> Result<()>;
    /// The addresses are asked for over the interface itself, which is made first, and stays until
    /// they are given back.
    fn over_link(&self) -> Option<OverLink> {
        None
    }
    /// Says whether they are held.
    fn check(&mut self) -> Result<()>;
    /// The addresses that are held, as far as that is known here.
    fn held(&mut self) -> Vec<IpAddr> {
        Vec::new()
    }
    /// The folder of the leases, where a detach without a configuration finds them.
    fn leases(&self) -> Option<PathBuf>;
}

/// No addresses: a link-layer network.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAddresses;

impl Lessor for NoAddresses {
    fn lease(&mut self) -> Result<Grants> {
        Ok(Grants::default())
    }

    fn release(&mut self) -> Result<()> {
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        Ok(())
    }

    fn leases(&self) -> Option<PathBuf> {
        None
    }
}
