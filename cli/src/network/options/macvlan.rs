//! Options of macvlan networks.

use super::{Entry, Table, value};

pub(super) const TABLE: Table = &[
    ("parent", PARENT),
    ("master", PARENT),
    ("macvlan_mode", MODE),
    ("mode", MODE),
    (
        "bcqueuelen",
        Entry::Set(|s, v| {
            let length = v.parse().map_err(|_| "a queue length in packets")?;
            s.macvlan.broadcast_queue = Some(length);
            Ok(())
        }),
    ),
    ("hostAccess", Entry::Set(|s, v| value::bool(v).map(|b| s.macvlan.host_access = b))),
    (
        "bclim",
        Entry::Refused("the kernel's broadcast cut-off is not set; bcqueuelen is the nearest"),
    ),
];

const PARENT: Entry = Entry::Set(|s, v| value::link(v).map(|name| s.link = Some(name)));
const MODE: Entry = Entry::Set(|s, v| {
    if v == "source" {
        return Err("bridge, private, vepa or passthru: mode source needs a list of addresses, \
             which nobody here keeps");
    }
    let modes = ["bridge", "private", "vepa", "passthru"];
    value::word(v, &modes, "bridge, private, vepa or passthru").map(|mode| s.macvlan.mode = mode)
});
