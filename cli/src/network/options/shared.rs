//! Options of every driver.

use super::{Entry, Table, value};

const PER_ATTACHMENT: &str =
    "it belongs to an attachment: use `cleat run --network NAME:ifname=...`";
const ANNOUNCED: &str =
    "addresses are announced once, when the interface comes up, and the announcement is not lost";

pub(super) const TABLE: Table = &[
    ("com.docker.network.driver.mtu", MTU),
    ("mtu", MTU),
    ("metric", Entry::Set(|s, v| value::metric(v).map(|n| s.metric = Some(n)))),
    ("no_default_route", Entry::Set(|s, v| value::bool(v).map(|b| s.default_route = !b))),
    (
        "com.docker.network.container_iface_prefix",
        Entry::Set(|s, v| value::prefix(v).map(|p| s.interface_prefix = Some(p))),
    ),
    ("com.docker.network.enable_ipv4", Entry::Set(|s, v| value::bool(v).map(|b| s.ipv4 = b))),
    ("com.docker.network.enable_ipv6", Entry::Set(|s, v| value::bool(v).map(|b| s.ipv6 = b))),
    (
        "com.docker.network.endpoint.sysctls",
        Entry::Set(|s, v| value::sysctls(v).map(|all| s.sysctls.extend(all))),
    ),
    (
        "txQLen",
        Entry::Set(|s, v| {
            let length = v.parse().map_err(|_| "a queue length in packets")?;
            s.txqlen = Some(length);
            Ok(())
        }),
    ),
    ("embeddedDNS", Entry::Set(|s, v| value::bool(v).map(|b| s.names = b))),
    ("com.docker.network.endpoint.ifname", Entry::Refused(PER_ATTACHMENT)),
    (
        "host_interface_name",
        Entry::Refused("host ends are named after their attachment, so that a lost one is found"),
    ),
    ("com.docker.network.advertise_addr_nmsgs", Entry::Refused(ANNOUNCED)),
    ("com.docker.network.advertise_addr_ms", Entry::Refused(ANNOUNCED)),
    ("com.docker.network.endpoint.advertise_addr_nmsgs", Entry::Refused(ANNOUNCED)),
    ("com.docker.network.endpoint.advertise_addr_ms", Entry::Refused(ANNOUNCED)),
    (
        "vrf",
        Entry::Refused(
            "links are not put into a VRF; make the bridge in it and use mode=unmanaged",
        ),
    ),
    ("ipvlan_mode", Entry::Refused(IPVLAN)),
    ("ipvlan_flag", Entry::Refused(IPVLAN)),
];

const IPVLAN: &str = "there is no ipvlan driver; macvlan is the nearest";
const MTU: Entry = Entry::Set(|s, v| value::mtu(v).map(|mtu| s.mtu = mtu));
