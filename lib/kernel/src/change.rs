//! Changes to links, addresses, routes and neighbours: what each is on the wire, and what to
//! call it in an error.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};

use ipnet::IpNet;

use crate::link::{Mac, iff, ifla};
use crate::netns::Namespace;
use crate::rule::{self, Rule};
use crate::shaping::Shaping;
use crate::virtual_link::{self, VirtualLink};
use crate::vxlan;
use crate::wire::{Batch, Message, flags};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;

/// A link by name or by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// By name.
    Name(String),
    /// By index.
    Index(u32),
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Index(index) => write!(f, "link {index}"),
        }
    }
}

/// One change. Those of one `apply` go in one send, and all are tried.
#[derive(Debug)]
pub enum Change<'a> {
    /// A veth pair: the near end here, up and enslaved; the far end in its namespace, down (it
    /// cannot be created up: ENOTCONN).
    Veth(VethPair<'a>),
    /// A bridge, up.
    Bridge {
        /// Its name.
        name: &'a str,
        /// Its address: fixed, or it would change with its ports.
        mac: Mac,
        /// Its MTU in bytes.
        mtu: Option<u32>,
        /// Filter VLANs, with no VLAN given to ports by default.
        vlan_filtering: bool,
    },
    /// A link on another one, or on none, down.
    Virtual(VirtualLink<'a>),
    /// Settings of a link.
    Link(LinkChange<'a>),
    /// Removal of a link.
    DeleteLink(Which),
    /// An address.
    AddAddress {
        /// On this link.
        link: u32,
        /// The address with its prefix length.
        address: IpNet,
        /// Use it at once, without duplicate address detection (IPv6).
        nodad: bool,
        /// Its subnet is not on the link: no route to it comes along.
        no_prefix_route: bool,
    },
    /// Removal of an address.
    DeleteAddress {
        /// On this link.
        link: u32,
        /// The address with its prefix length.
        address: IpNet,
    },
    /// A route that must not be there.
    AddRoute(Route),
    /// A route, instead of that to the same destination with the same metric.
    SetRoute(Route),
    /// Removal of a route.
    DeleteRoute(Route),
    /// A permanent neighbour entry, replacing what is there.
    Neighbour {
        /// On this link.
        link: u32,
        /// The address.
        address: IpAddr,
        /// Who has it.
        mac: Mac,
    },
    /// The host answers on a link for an address that is elsewhere.
    Proxy {
        /// On this link.
        link: u32,
        /// The address.
        address: IpAddr,
    },
    /// Removal of a [`Change::Proxy`].
    DeleteProxy {
        /// On this link.
        link: u32,
        /// The address.
        address: IpAddr,
    },
    /// Where a VXLAN device sends what is for a link address, instead of where it did.
    Fdb {
        /// The device.
        link: u32,
        /// Frames to this address
        mac: Mac,
        /// go to this one.
        remote: IpAddr,
    },
    /// Removal of an entry of a VXLAN device's forwarding database.
    DeleteFdb {
        /// The device.
        link: u32,
        /// For this address.
        mac: Mac,
    },
    /// The address that a VXLAN device sends from.
    VxlanLocal {
        /// The device.
        link: u32,
        /// The address, of the same family as before.
        local: IpAddr,
    },
    /// Removal of a neighbour entry.
    DeleteNeighbour {
        /// On this link.
        link: u32,
        /// The address.
        address: IpAddr,
    },
    /// VLANs of a bridge's port.
    PortVlans {
        /// The port.
        link: u32,
        /// The untagged one.
        pvid: Option<u16>,
        /// Tagged ones, as inclusive ranges.
        tagged: &'a [(u16, u16)],
        /// The VLAN that is taken away first.
        without: Option<u16>,
    },
    /// A routing rule that must not be there.
    AddRule(Rule),
    /// Removal of a routing rule.
    DeleteRule(Rule),
    /// How a link's traffic is shaped.
    Shape(Shaping<'a>),
}

/// See [`Change::Veth`].
#[derive(Debug)]
pub struct VethPair<'a> {
    /// The near end's name.
    pub name: &'a str,
    /// The near end's address.
    pub mac: Mac,
    /// Both ends' MTU in bytes.
    pub mtu: Option<u32>,
    /// The index of the bridge that the near end goes into.
    pub master: Option<u32>,
    /// The far end's name.
    pub peer: &'a str,
    /// The far end's address.
    pub peer_mac: Option<Mac>,
    /// The far end's namespace.
    pub netns: &'a Namespace,
}

/// Settings of a link; `None` leaves one as it is.
#[derive(Debug, Default)]
pub struct LinkChange<'a> {
    /// The link's name; unused where the index is not 0.
    pub name: &'a str,
    /// The link's index, or 0.
    pub index: u32,
    /// Administratively up or down.
    pub up: Option<bool>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Ethernet address.
    pub mac: Option<Mac>,
    /// Transmit queue's length in packets.
    pub txqlen: Option<u32>,
    /// Promiscuous.
    pub promisc: Option<bool>,
    /// Takes all multicast.
    pub allmulti: Option<bool>,
    /// A new name.
    pub rename: Option<&'a str>,
    /// Makes no IPv6 link-local address of its own. In one message with `up` the link goes up
    /// first, which is early enough only while its peer is down.
    pub no_link_local: bool,
    /// A bridge port's hairpin mode.
    pub hairpin: Option<bool>,
    /// A bridge port's isolation.
    pub isolated: Option<bool>,
    /// A bridge's index to enter, 0 to leave.
    pub master: Option<u32>,
    /// A bridge filters VLANs.
    pub vlan_filtering: Option<bool>,
    /// A new alias; empty for none.
    pub alias: Option<&'a str>,
    /// A namespace to move to, before it is renamed: it goes down on the way.
    pub netns: Option<&'a Namespace>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination.
    pub dst: IpNet,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// The outgoing link's index.
    pub link: Option<u32>,
    /// The metric.
    pub priority: Option<u32>,
    /// The table; `None`: main.
    pub table: Option<u32>,
    /// `RT_SCOPE_*`; `None`: link without a gateway, else global.
    pub scope: Option<u8>,
    /// Path MTU in bytes.
    pub mtu: Option<u32>,
    /// Advertised maximum segment size in bytes.
    pub advmss: Option<u32>,
    /// `RTPROT_*`; 0 for ours, `RTPROT_BOOT`.
    pub protocol: u8,
    /// The next hop is on the link, whatever the addresses there say.
    pub onlink: bool,
    /// What is sent there is dropped.
    pub blackhole: bool,
}

impl Route {
    /// A route with nothing but a destination.
    pub fn to(dst: IpNet) -> Self {
        Self {
            dst,
            gateway: None,
            link: None,
            priority: None,
            table: None,
            scope: None,
            mtu: None,
            advmss: None,
            protocol: 0,
            onlink: false,
            blackhole: false,
        }
    }
}

impl Change<'_> {
    /// The verb and the object, for an error.
    pub(crate) fn describe(&self) -> (&'static str, String) {
        match self {
            Self::Veth(v) => ("create veth", format!("{} to {}", v.name, v.peer)),
            Self::Bridge { name, .. } => ("create bridge", (*name).to_owned()),
            Self::Virtual(v) => ("create", format!("{} {}", v.kind.name(), v.name)),
            Self::Link(c) if c.index == 0 => ("set link", c.name.to_owned()),
            Self::Link(c) => ("set link", format!("{} (index {})", c.name, c.index)),
            Self::DeleteLink(which) => ("delete link", which.to_string()),
            Self::AddAddress { link, address, .. } => {
                ("add address", format!("{address} on link {link}"))
            }
            Self::DeleteAddress { link, address } => {
                ("delete address", format!("{address} on link {link}"))
            }
            Self::AddRoute(route) => ("add route", describe_route(route)),
            Self::SetRoute(route) => ("set route", describe_route(route)),
            Self::DeleteRoute(route) => ("delete route", describe_route(route)),
            Self::Proxy { address, .. } => ("answer for", address.to_string()),
            Self::DeleteProxy { address, .. } => ("stop answering for", address.to_string()),
            Self::Fdb { mac, remote, .. } => ("set forwarding entry", format!("{mac} to {remote}")),
            Self::DeleteFdb { mac, .. } => ("delete forwarding entry", mac.to_string()),
            Self::VxlanLocal { link, local } => {
                ("set source address", format!("{local} of VXLAN link {link}"))
            }
            Self::Neighbour { address, mac, .. } => {
                ("add neighbour", format!("{address} at {mac}"))
            }
            Self::DeleteNeighbour { address, .. } => ("delete neighbour", address.to_string()),
            Self::AddRule(r) => ("add rule", format!("from {} to table {}", r.source, r.table)),
            Self::DeleteRule(r) => {
                ("delete rule", format!("from {} to table {}", r.source, r.table))
            }
            Self::Shape(shaping) => shaping.describe(),
            Self::PortVlans { link, .. } => ("set VLANs of bridge port", link.to_string()),
        }
    }

    /// Appends the messages. How many.
    pub(crate) fn encode(&self, batch: &mut Batch) -> usize {
        match self {
            Self::Veth(pair) => encode_veth(batch, pair),
            Self::Bridge { name, mac, mtu, vlan_filtering } => {
                let mut m =
                    batch.message(RTM_NEWLINK, flags::CREATE | flags::EXCL, &ifinfo(0, Some(true)));
                m.str(ifla::IFNAME, name).bytes(ifla::ADDRESS, &mac.0);
                if let Some(mtu) = mtu {
                    m.u32(ifla::MTU, *mtu);
                }
                m.nest(ifla::LINKINFO, |info| {
                    info.str(ifla::INFO_KIND, "bridge");
                    if *vlan_filtering {
                        info.nest(ifla::INFO_DATA, |data| {
                            data.u8(ifla::BR_VLAN_FILTERING, 1).u16(ifla::BR_VLAN_DEFAULT_PVID, 1);
                        });
                    }
                });
            }
            Self::Virtual(link) => virtual_link::encode(batch, link),
            Self::Link(change) => return encode_link(batch, change),
            Self::DeleteLink(which) => match which {
                Which::Name(name) => {
                    batch.message(RTM_DELLINK, 0, &ifinfo(0, None)).str(ifla::IFNAME, name);
                }
                Which::Index(index) => drop(batch.message(RTM_DELLINK, 0, &ifinfo(*index, None))),
            },
            Self::AddAddress { link, address, nodad, no_prefix_route } => {
                let flag = flags::CREATE | flags::EXCL;
                let wanted = u32::from(*nodad && address.addr().is_ipv6()) * IFA_F_NODAD
                    + u32::from(*no_prefix_route) * IFA_F_NOPREFIXROUTE;
                encode_address(batch, (RTM_NEWADDR, flag), *link, address, wanted);
            }
            Self::DeleteAddress { link, address } => {
                encode_address(batch, (RTM_DELADDR, 0), *link, address, 0);
            }
            Self::AddRoute(route) => {
                encode_route(batch, RTM_NEWROUTE, flags::CREATE | flags::EXCL, route);
            }
            Self::SetRoute(route) => {
                encode_route(batch, RTM_NEWROUTE, flags::CREATE | flags::REPLACE, route);
            }
            Self::DeleteRoute(route) => encode_route(batch, RTM_DELROUTE, 0, route),
            Self::Proxy { link, address } => {
                encode_proxy(
                    batch,
                    (RTM_NEWNEIGH, flags::CREATE | flags::REPLACE),
                    *link,
                    *address,
                );
            }
            Self::DeleteProxy { link, address } => {
                encode_proxy(batch, (RTM_DELNEIGH, 0), *link, *address);
            }
            Self::Fdb { link, mac, remote } => {
                vxlan::encode_fdb(batch, *link, *mac, Some(*remote));
            }
            Self::DeleteFdb { link, mac } => vxlan::encode_fdb(batch, *link, *mac, None),
            Self::VxlanLocal { link, local } => vxlan::encode_new_local(batch, *link, *local),
            Self::Neighbour { link, address, mac } => {
                let flag = flags::CREATE | flags::REPLACE;
                let mut m = batch.message(RTM_NEWNEIGH, flag, &ndmsg(*link, *address));
                add_ip(&mut m, 1, *address);
                m.bytes(2, &mac.0);
            }
            Self::DeleteNeighbour { link, address } => {
                let mut m = batch.message(RTM_DELNEIGH, 0, &ndmsg(*link, *address));
                add_ip(&mut m, 1, *address);
            }
            Self::AddRule(added) => rule::encode(batch, true, added),
            Self::DeleteRule(gone) => rule::encode(batch, false, gone),
            Self::Shape(shaping) => return shaping.encode(batch),
            Self::PortVlans { link, pvid, tagged, without } => {
                return encode_vlans(batch, *link, (*pvid, *without), tagged);
            }
        }
        1
    }
}

fn describe_route(route: &Route) -> String {
    match route.gateway {
        Some(gateway) => format!("{} via {gateway}", route.dst),
        None => route.dst.to_string(),
    }
}

/// `struct ifinfomsg`.
pub(crate) fn ifinfo(index: u32, up: Option<bool>) -> [u8; 16] {
    let mut header = [0; 16];
    let flag = if up == Some(true) { iff::UP } else { 0 };
    let change = if up.is_some() { iff::UP } else { 0 };
    fill(&mut header, 4, &index.to_ne_bytes());
    fill(&mut header, 8, &flag.to_ne_bytes());
    fill(&mut header, 12, &change.to_ne_bytes());
    header
}

/// `struct ndmsg`, permanent.
fn ndmsg(link: u32, address: IpAddr) -> [u8; 12] {
    const NUD_PERMANENT: u16 = 0x80;
    let mut header = [0; 12];
    fill(&mut header, 0, &[family(address)]);
    fill(&mut header, 4, &link.to_ne_bytes());
    fill(&mut header, 8, &NUD_PERMANENT.to_ne_bytes());
    header
}

fn encode_proxy(batch: &mut Batch, (kind, flag): (u16, u16), link: u32, address: IpAddr) {
    const NTF_PROXY: u8 = 0x08;
    let mut header = ndmsg(link, address);
    fill(&mut header, 10, &[NTF_PROXY]);
    add_ip(&mut batch.message(kind, flag, &header), 1, address);
}

pub(crate) fn fill(header: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = header.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

pub(crate) fn family(address: IpAddr) -> u8 {
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

pub(crate) fn add_ip(message: &mut Message<'_>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => message.bytes(kind, &v4.octets()),
        IpAddr::V6(v6) => message.bytes(kind, &v6.octets()),
    };
}

fn fd_of(netns: &Namespace) -> u32 {
    use std::os::fd::AsFd;
    let fd: RawFd = netns.as_fd().as_raw_fd();
    fd as u32
}

fn encode_veth(batch: &mut Batch, pair: &VethPair<'_>) {
    const VETH_INFO_PEER: u16 = 1;
    let one_queue = |link: &mut Message<'_>| {
        // The kernel makes one per processor and undoes all but one: half of the pair's cost on
        // two processors, and more on more.
        link.u32(ifla::NUM_TX_QUEUES, 1).u32(ifla::NUM_RX_QUEUES, 1);
    };
    let mut m = batch.message(RTM_NEWLINK, flags::CREATE | flags::EXCL, &ifinfo(0, None));
    m.str(ifla::IFNAME, pair.name).bytes(ifla::ADDRESS, &pair.mac.0);
    one_queue(&mut m);
    if let Some(mtu) = pair.mtu {
        m.u32(ifla::MTU, mtu);
    }
    if let Some(master) = pair.master {
        m.u32(ifla::MASTER, master);
    }
    m.nest(ifla::LINKINFO, |info| {
        info.str(ifla::INFO_KIND, "veth").nest(ifla::INFO_DATA, |data| {
            data.nest(VETH_INFO_PEER, |peer| {
                peer.raw(&ifinfo(0, None)).str(ifla::IFNAME, pair.peer);
                one_queue(peer);
                if let Some(mac) = pair.peer_mac {
                    peer.bytes(ifla::ADDRESS, &mac.0);
                }
                if let Some(mtu) = pair.mtu {
                    peer.u32(ifla::MTU, mtu);
                }
                peer.u32(ifla::NET_NS_FD, fd_of(pair.netns));
            });
        });
    });
}

/// One message, and a second one where a port's settings are asked for.
fn encode_link(batch: &mut Batch, change: &LinkChange<'_>) -> usize {
    let mut header = ifinfo(change.index, change.up);
    let mut set = change.up.map_or(0, |up| if up { iff::UP } else { 0 });
    let mut mask = if change.up.is_some() { iff::UP } else { 0 };
    for (flag, wanted) in [(iff::PROMISC, change.promisc), (iff::ALLMULTI, change.allmulti)] {
        if let Some(on) = wanted {
            mask |= flag;
            set |= if on { flag } else { 0 };
        }
    }
    fill(&mut header, 8, &set.to_ne_bytes());
    fill(&mut header, 12, &mask.to_ne_bytes());
    let mut m = batch.message(RTM_NEWLINK, 0, &header);
    if change.index == 0 {
        m.str(ifla::IFNAME, change.name);
    } else if let Some(name) = change.rename {
        m.str(ifla::IFNAME, name);
    }
    for (kind, value) in
        [(ifla::MTU, change.mtu), (ifla::TXQLEN, change.txqlen), (ifla::MASTER, change.master)]
    {
        if let Some(value) = value {
            m.u32(kind, value);
        }
    }
    if let Some(mac) = change.mac {
        m.bytes(ifla::ADDRESS, &mac.0);
    }
    if let Some(alias) = change.alias {
        m.bytes(ifla::IFALIAS, alias.as_bytes());
    }
    if let Some(netns) = change.netns {
        m.u32(ifla::NET_NS_FD, fd_of(netns));
    }
    if change.hairpin.is_some() || change.isolated.is_some() {
        m.nest(ifla::LINKINFO, |info| {
            info.str(ifla::INFO_SLAVE_KIND, "bridge").nest(ifla::INFO_SLAVE_DATA, |data| {
                if let Some(on) = change.hairpin {
                    data.u8(ifla::BRPORT_MODE, u8::from(on));
                }
                if let Some(on) = change.isolated {
                    data.u8(ifla::BRPORT_ISOLATED, u8::from(on));
                }
            });
        });
    }
    if let Some(on) = change.vlan_filtering {
        m.nest(ifla::LINKINFO, |info| {
            info.str(ifla::INFO_KIND, "bridge").nest(ifla::INFO_DATA, |data| {
                data.u8(ifla::BR_VLAN_FILTERING, u8::from(on));
            });
        });
    }
    if change.no_link_local {
        const ADDR_GEN_NONE: u8 = 1;
        m.nest_unflagged(ifla::AF_SPEC, |spec| {
            spec.nest_unflagged(libc::AF_INET6 as u16, |inet6| {
                inet6.u8(ifla::INET6_ADDR_GEN_MODE, ADDR_GEN_NONE);
            });
        });
    }
    1
}

/// `IFA_F_*` (include/uapi/linux/if_addr.h).
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;

fn encode_address(batch: &mut Batch, verb: (u16, u16), link: u32, address: &IpNet, wanted: u32) {
    const IFA_FLAGS: u16 = 8;
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    const IFA_BROADCAST: u16 = 4;
    let mut header = [family(address.addr()), address.prefix_len(), 0, 0, 0, 0, 0, 0];
    fill(&mut header, 4, &link.to_ne_bytes());
    let mut m = batch.message(verb.0, verb.1, &header);
    add_ip(&mut m, IFA_LOCAL, address.addr());
    add_ip(&mut m, IFA_ADDRESS, address.addr());
    if wanted != 0 {
        m.u32(IFA_FLAGS, wanted);
    }
    if let IpNet::V4(v4) = address
        && v4.prefix_len() < 31
    {
        m.bytes(IFA_BROADCAST, &v4.broadcast().octets());
    }
}

fn encode_route(batch: &mut Batch, kind: u16, flag: u16, route: &Route) {
    const RT_TABLE_MAIN: u8 = 254;
    const RTPROT_BOOT: u8 = 3;
    const RTN_UNICAST: u8 = 1;
    const RTN_BLACKHOLE: u8 = 6;
    const RTNH_F_ONLINK: u32 = 4;
    const RT_SCOPE_LINK: u8 = 253;
    const RT_SCOPE_NOWHERE: u8 = 255;
    let deleting = kind == RTM_DELROUTE;
    let scope = route.scope.unwrap_or(match route.gateway {
        _ if deleting => RT_SCOPE_NOWHERE,
        None if route.blackhole => 0,
        None if route.dst.addr().is_ipv4() => RT_SCOPE_LINK,
        _ => 0,
    });
    let table = route.table.unwrap_or(u32::from(RT_TABLE_MAIN));
    let protocol = if route.protocol == 0 && !deleting { RTPROT_BOOT } else { route.protocol };
    let mut header = [0; 12];
    let fields = [family(route.dst.addr()), route.dst.prefix_len(), 0, 0];
    fill(&mut header, 0, &fields);
    let small = u8::try_from(table).unwrap_or(0);
    let destiny = match route.blackhole {
        true => RTN_BLACKHOLE,
        false if deleting => 0,
        false => RTN_UNICAST,
    };
    fill(&mut header, 4, &[small, protocol, scope, destiny]);
    if route.onlink {
        fill(&mut header, 8, &RTNH_F_ONLINK.to_ne_bytes());
    }
    let mut m = batch.message(kind, flag, &header);
    m.u32(15, table);
    if route.dst.prefix_len() > 0 {
        add_ip(&mut m, 1, route.dst.network());
    }
    if let Some(link) = route.link {
        m.u32(4, link);
    }
    if let Some(gateway) = route.gateway {
        add_ip(&mut m, 5, gateway);
    }
    if let Some(priority) = route.priority {
        m.u32(6, priority);
    }
    if route.mtu.is_some() || route.advmss.is_some() {
        m.nest_unflagged(8, |metrics| {
            for (kind, value) in [(2, route.mtu), (8, route.advmss)] {
                if let Some(value) = value {
                    metrics.u32(kind, value);
                }
            }
        });
    }
}

/// `struct bridge_vlan_info` runs in `IFLA_AF_SPEC` of `AF_BRIDGE` (net/bridge/br_netlink.c).
fn encode_vlans(
    batch: &mut Batch,
    link: u32,
    (pvid, without): (Option<u16>, Option<u16>),
    tagged: &[(u16, u16)],
) -> usize {
    const BRIDGE_VLAN_INFO: u16 = 2;
    const PVID: u16 = 1 << 1;
    const UNTAGGED: u16 = 1 << 2;
    const RANGE_BEGIN: u16 = 1 << 3;
    const RANGE_END: u16 = 1 << 4;
    let mut header = ifinfo(link, None);
    fill(&mut header, 0, &[libc::AF_BRIDGE as u8]);
    let info = |m: &mut Message<'_>, flag: u16, id: u16| {
        let [a, b] = flag.to_ne_bytes();
        let [c, d] = id.to_ne_bytes();
        m.bytes(BRIDGE_VLAN_INFO, &[a, b, c, d]);
    };
    let mut sent = 0;
    if let Some(id) = without {
        batch.message(RTM_DELLINK, 0, &header).nest(ifla::AF_SPEC, |m| info(m, 0, id));
        sent += 1;
    }
    if pvid.is_some() || !tagged.is_empty() {
        // Not RTM_NEWLINK, which bridges do not hear.
        batch.message(RTM_SETLINK, 0, &header).nest(ifla::AF_SPEC, |m| {
            for (from, to) in tagged {
                if from == to {
                    info(m, 0, *from);
                } else {
                    info(m, RANGE_BEGIN, *from);
                    info(m, RANGE_END, *to);
                }
            }
            // Last: it may lie in a tagged range.
            if let Some(id) = pvid {
                info(m, PVID | UNTAGGED, id);
            }
        });
        sent += 1;
    }
    sent
}
