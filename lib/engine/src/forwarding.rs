//! Forwarding between links. Where it was off before we came, the host must not become a router
//! between the links that it had: the ruleset drops what goes from one of those to another.

use cleat_kernel::link::iff;
use cleat_kernel::{Rtnl, sysctl};
use cleat_records::{Document, Durability, Store};
use serde::{Deserialize, Serialize};

use crate::Node;
use crate::error::Result;

/// What was off when we came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// IPv4 forwarding was off.
    pub v4_off: bool,
    /// IPv6 forwarding was off.
    pub v6_off: bool,
    /// The links that the host had then.
    pub links: Vec<String>,
}

impl Document for Before {
    const SCHEMA: u32 = 1;
}

const NAME: &str = "forwarding";

/// What was off when we came; `None` where we switched nothing on.
pub fn before(node: &Node) -> Result<Option<Before>> {
    Ok(store(node).read(NAME)?)
}

/// Switches forwarding on for the families of a network, which is on this bridge. The new state of affairs, where
/// that changed anything.
pub(crate) fn enable(
    node: &Node,
    rtnl: &mut Rtnl,
    bridge: &str,
    (v4, v6): (bool, bool),
) -> Result<Option<Before>> {
    let v4_off = v4 && sysctl::read("ipv4/ip_forward").is_ok_and(|v| v == "0");
    let v6_off = v6 && sysctl::read("ipv6/conf/all/forwarding").is_ok_and(|v| v == "0");
    if !v4_off && !v6_off {
        return Ok(None);
    }
    let mut before = store(node).read(NAME)?.unwrap_or_default();
    for link in rtnl.links()? {
        let host = link.flags & iff::LOOPBACK == 0 && link.name != bridge;
        if host && !before.links.contains(&link.name) {
            before.links.push(link.name);
        }
    }
    before.v4_off |= v4_off;
    before.v6_off |= v6_off;
    // Noted first: whoever comes after a crash in between must still know.
    store(node).replace(NAME, &before)?;
    let outcome = match (v4_off, v6_off) {
        (true, _) => sysctl::enable_forwarding_v4(),
        _ => Ok(true),
    }
    .and_then(|_| if v6_off { sysctl::enable_forwarding_v6() } else { Ok(true) });
    match outcome {
        Ok(_) => Ok(Some(before)),
        Err(error) if error.is_permission() => {
            node.warn(&format!("forwarding stays off: {error}"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Forgets what was before, once nothing of ours is left.
pub(crate) fn forget(node: &Node) -> Result<()> {
    store(node).remove(NAME)?;
    Ok(())
}

fn store(node: &Node) -> Store<Before> {
    Store::open(node.dirs().run.clone(), Durability::Runtime)
}
