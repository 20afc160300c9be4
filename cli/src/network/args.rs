//! What a user can type after `cleat network`.

use std::net::IpAddr;

use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a network
    Create(CreateArgs),
    /// List networks
    #[command(
        after_long_help = "Examples:\n  cleat network ls\n  cleat --format json network ls --label tier=front"
    )]
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Show all there is to know of networks
    #[command(
        after_long_help = "Examples:\n  cleat network inspect web\n  cleat --format json network inspect web back"
    )]
    Inspect(InspectArgs),
    /// Remove networks
    #[command(
        after_long_help = "Examples:\n  cleat network rm web back\n  cleat network rm --force theirs"
    )]
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Remove the networks made by cleat that nothing uses
    #[command(
        after_long_help = "Examples:\n  cleat network prune --dry-run\n  cleat network prune --label tier=front"
    )]
    Prune(PruneArgs),
    /// Attach a running container to one more network
    #[command(after_long_help = CONNECT)]
    Connect(ConnectArgs),
    /// Detach a running container from a network
    #[command(after_long_help = "Examples:\n  cleat network disconnect back site")]
    Disconnect(DisconnectArgs),
}

/// How containers are linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DriverName {
    /// A bridge of its own, with NAT and published ports
    Bridge,
    /// Directly on a host interface, beside the host
    Macvlan,
    /// One network over many hosts, made by netd
    Overlay,
}

/// Where addresses come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IpamName {
    /// Leases from the subnets, on this host
    #[value(alias = "default")]
    HostLocal,
    /// No addresses: a link-layer network
    None,
}

const CONNECT: &str = "\
Examples:
  cleat network connect back site
  cleat network connect back:ip=10.89.1.9,alias=db,ifname=inner site

A network that is connected later does not take the default route from one that has it.";

const CREATE: &str = "\
Examples:
  cleat network create web
  cleat network create --subnet 10.10.0.0/24 --gateway 10.10.0.254 --ip-range 10.10.0.128/25 db
  cleat network create --internal --ipv6 back
  cleat network create --driver macvlan --subnet 192.168.1.0/24 --gateway 192.168.1.1 \\
      --ip-range 192.168.1.192/27 --opt parent=eth0 --opt hostAccess=true lan
  cleat network create --driver overlay --subnet 10.128.0.0/16 --block-size 24 --encrypted all

Without --subnet the first free /24 of 10.89.0.0/16, 10.90.0.0/15 and 10.92.0.0/14 is taken that
overlaps neither a network nor a route of this host; with --ipv6 also a /64 below a unique local
prefix (RFC 4193) that this host keeps.

Containers find each other by name while netd runs: `name`, `name.network` and
`name.network.cleat.internal`; what else they ask for goes to the servers of --dns, or to this host's.

An overlay network is there on every node of the store that netd is configured with; without
--subnet it is the first free /16 of 10.128.0.0/9. Each node claims blocks of it as it needs them; the
first block is nobody's, and addresses that are asked for by name come from there.

Options have Docker's names (com.docker.network.bridge.name),
Podman's (mtu, vlan, isolate) or the plugins' own (hairpinMode, antiSpoof); `cleat network create
--opt help NAME` lists them.";

#[derive(Debug, Args)]
#[command(after_long_help = CREATE)]
pub(crate) struct CreateArgs {
    /// Its name: letters, digits, `_`, `.`, `-`
    pub(crate) name: String,
    /// How containers are linked
    #[arg(short, long, value_enum, default_value = "bridge")]
    pub(crate) driver: DriverName,
    /// A subnet; a container gets an address of each
    #[arg(long, value_name = "CIDR")]
    pub(crate) subnet: Vec<IpNet>,
    /// The gateway of the subnet that it is in [default: its first address]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Vec<IpAddr>,
    /// Lease only these addresses of the subnet that they are in
    #[arg(long, value_name = "CIDR")]
    pub(crate) ip_range: Vec<IpNet>,
    /// Closed to the outside, in both directions
    #[arg(long)]
    pub(crate) internal: bool,
    /// IPv6, too
    #[arg(long)]
    pub(crate) ipv6: bool,
    /// No names for its containers
    #[arg(long)]
    pub(crate) no_dns: bool,
    /// A name server for what is not a name here [default: those of this host]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "no_dns")]
    pub(crate) dns: Vec<IpAddr>,
    /// Where addresses come from
    #[arg(long, value_enum, default_value = "host-local", value_name = "NAME")]
    pub(crate) ipam_driver: IpamName,
    /// Overlay: the prefix length of a node's blocks [default: 24; IPv6: 80]
    #[arg(long, value_name = "LENGTH")]
    pub(crate) block_size: Option<u8>,
    /// Overlay: the VXLAN identifier [default: the first free one from 4096 on]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) vni: Option<u32>,
    /// Overlay: encrypt what goes between nodes
    #[arg(long)]
    pub(crate) encrypted: bool,
    /// Overlay: the UDP port of VXLAN [default: 4789]
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// The containers' MTU in bytes [default: what the links underneath let through]
    #[arg(long, value_name = "BYTES")]
    pub(crate) mtu: Option<u32>,
    /// An option of the driver
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) opt: Vec<String>,
    /// A label
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// Also where Kubernetes would take it for its pods' network
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Names only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Only those with this label, or label and value; may be repeated
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Networks
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Networks
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
    /// Also those that cleat did not make, and those with reserved addresses; absence is success
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Only those with this label, or label and value; may be repeated
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// The network, with options as in `cleat run --network`
    #[arg(value_name = "NETWORK[:OPTION=VALUE,...]")]
    pub(crate) network: crate::run::request::NetworkRequest,
    /// The container's name or id
    pub(crate) container: String,
}

#[derive(Debug, Args)]
pub(crate) struct DisconnectArgs {
    /// The network
    pub(crate) network: String,
    /// The container's name or id
    pub(crate) container: String,
    /// Forget the attachment even if the plugins fail
    #[arg(short, long)]
    pub(crate) force: bool,
}
