//! Why a verb failed, for a front to put into its protocol's words.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::identity::AttachmentId;

/// This crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] cleat_kernel::Error),
    /// The firewall refused.
    #[error(transparent)]
    Firewall(#[from] cleat_nft::Error),
    /// A record could not be read or written.
    #[error(transparent)]
    Records(#[from] cleat_records::Error),
    /// An address could not be leased.
    #[error(transparent)]
    Ipam(#[from] cleat_ipam::Error),
    /// Addressing by another program failed.
    #[error("{0}")]
    Delegate(Box<dyn std::error::Error + Send + Sync>),
    /// The container's namespace cannot be used.
    #[error("network namespace {path}: {source}", path = path.display())]
    Netns {
        /// The path.
        path: PathBuf,
        /// Why.
        source: cleat_kernel::Error,
    },
    /// The container has an interface of this name already.
    #[error("the container has an interface {name} already; detach it first or use another name")]
    InterfaceTaken {
        /// The interface's name.
        name: String,
    },
    /// A link of another kind has the bridge's name.
    #[error("{name} exists and is a {found}, not a bridge; choose another bridge name")]
    NotABridge {
        /// The link's name.
        name: String,
        /// What it is.
        found: String,
    },
    /// A link of another kind has the name of a device for encrypted networks.
    #[error("{name} exists and is a {found}, not WireGuard; remove it: encrypted networks need it")]
    NotWireguard {
        /// The link's name.
        name: String,
        /// What it is.
        found: String,
    },
    /// A link of another kind has the name of a VLAN's gateway.
    #[error(
        "{name} exists and is a {found}, not a veth, as the gateway of a VLAN is; rename it, or \
         choose another bridge or vlan"
    )]
    NotAGateway {
        /// The link's name.
        name: String,
        /// What it is.
        found: String,
    },
    /// A link of another kind has the routing domain's name.
    #[error("{name} exists and is a {found}, not a vrf; choose another vrfname")]
    NotADomain {
        /// The link's name.
        name: String,
        /// What it is.
        found: String,
    },
    /// The routing domain has another table.
    #[error("vrf {name} has table {found}, not {wanted}; name that one, or none")]
    DomainsTable {
        /// The domain's name.
        name: String,
        /// The table that it has.
        found: u32,
        /// The table that is asked for.
        wanted: u32,
    },
    /// The bridge has another address in the gateway's subnet.
    #[error(
        "\"{bridge}\" already has an IP address different from {wanted}: {found}; remove it or set forceAddress"
    )]
    GatewayDiffers {
        /// The bridge.
        bridge: String,
        /// The address it should have.
        wanted: String,
        /// The address it has.
        found: String,
    },
    /// Another link of the host has an address in the network's subnet.
    #[error("subnet {subnet} overlaps {other} of {link}; choose another subnet")]
    Overlap {
        /// The network's subnet.
        subnet: IpNet,
        /// The address that is there.
        other: IpNet,
        /// The link that has it.
        link: String,
    },
    /// The kernel hides which boot this is.
    #[error(
        "/proc/sys/kernel/random/boot_id cannot be read, so what is made now could not be told \
         from what an earlier boot left; mount /proc"
    )]
    NoBootId,
    /// A setting of the node is wrong.
    #[error("{place}: {value} is not {right}")]
    Setting {
        /// Where it stands, and its name.
        place: String,
        /// Its value.
        value: String,
        /// What would be right.
        right: &'static str,
    },
    /// The node's settings cannot be read.
    #[error("settings {path}: {why}", path = path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The bridge can take no more ports.
    #[error(
        "bridge {bridge} is full: it has {used} ports and the kernel allows 1023; use a second network"
    )]
    BridgeFull {
        /// The bridge.
        bridge: String,
        /// Ports in use.
        used: usize,
    },
    /// A link that the plan names is missing.
    #[error("{role} {name} does not exist")]
    NoLink {
        /// What it is for, as in `master`.
        role: &'static str,
        /// Its name.
        name: String,
    },
    /// Addresses are to be asked for over a link that leads to no server.
    #[error(
        "addresses that a server on the network gives need an interface that leads there, and          {driver} makes none; use bridge, macvlan, ipvlan, vlan or host-device"
    )]
    LeadsNowhere {
        /// The kind of network.
        driver: &'static str,
    },
    /// There is no default route to take the master from.
    #[error("no master is given, and there is no default route to take it from")]
    NoDefaultRoute,
    /// The kernel lacks what the plan needs.
    #[error("this kernel has no {feature} ({option}); {instead}")]
    NoFeature {
        /// In words.
        feature: &'static str,
        /// The kernel's configuration option.
        option: &'static str,
        /// What to do.
        instead: &'static str,
    },
    /// Somebody else shapes the link's traffic.
    #[error("the traffic of {link} is shaped already, by {qdisc}; remove that first")]
    Shaped {
        /// The link.
        link: String,
        /// The kind of what is there.
        qdisc: String,
    },
    /// A published port is held by another attachment.
    #[error("host port {port} is published already by {holder}")]
    PortTaken {
        /// The port, as `0.0.0.0:8080/tcp`.
        port: String,
        /// Who holds it.
        holder: String,
    },
    /// The MTU is larger than that of the link underneath.
    #[error("mtu {mtu} is larger than {largest}, that of {master}")]
    MtuTooLarge {
        /// What was asked for.
        mtu: u32,
        /// What is possible.
        largest: u32,
        /// The link underneath.
        master: String,
    },
    /// A check found a difference.
    #[error("{id}: {what}")]
    Differs {
        /// The attachment.
        id: AttachmentId,
        /// The first difference.
        what: String,
    },
    /// There is no such attachment.
    #[error("{id}: no such attachment")]
    Unknown {
        /// The attachment.
        id: AttachmentId,
    },
    /// No container address to publish a port to.
    #[error("host port {port} cannot be published: the container has no {family} address")]
    NoBackend {
        /// The port.
        port: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// A sysctl that tuning may not set.
    #[error("sysctl {key}: {why}")]
    Sysctl {
        /// The key as given.
        key: String,
        /// Why not.
        why: &'static str,
    },
    /// An address does not fit.
    #[error("address {address}: {why}")]
    Address {
        /// The address.
        address: IpAddr,
        /// Why not.
        why: &'static str,
    },
    /// An overlay network cannot be used from here now.
    #[error("overlay network {network}: {problem}")]
    Overlay {
        /// The network.
        network: String,
        /// Why not, and what to do.
        problem: String,
    },
    /// Detach could not free everything; everything else was freed.
    #[error("{id}: {}", .errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Incomplete {
        /// The attachment.
        id: AttachmentId,
        /// What failed.
        errors: Vec<Error>,
    },
}
