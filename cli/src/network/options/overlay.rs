//! Options of overlay networks: Docker's names for what `network create` has arguments for.

use super::{Entry, Table, value};

pub(super) const TABLE: Table = &[
    ("com.docker.network.driver.mtu", MTU),
    ("mtu", MTU),
    (
        "encrypted",
        Entry::Set(|s, v| {
            // Docker takes the word alone.
            let wanted = if v.is_empty() { Ok(true) } else { value::bool(v) };
            wanted.map(|b| s.overlay.encrypted = b)
        }),
    ),
    (
        "com.docker.network.driver.overlay.vxlanid_list",
        Entry::Set(|s, v| {
            let vni = v.parse().map_err(|_| "one VXLAN identifier, 1 to 16777215")?;
            s.overlay.vni = Some(vni);
            Ok(())
        }),
    ),
    ("embeddedDNS", Entry::Set(|s, v| value::bool(v).map(|b| s.names = b))),
    ("com.docker.network.enable_ipv4", Entry::Set(|s, v| value::bool(v).map(|b| s.ipv4 = b))),
    ("com.docker.network.enable_ipv6", Entry::Set(|s, v| value::bool(v).map(|b| s.ipv6 = b))),
];

const MTU: Entry = Entry::Set(|s, v| value::mtu(v).map(|mtu| s.mtu = mtu));
