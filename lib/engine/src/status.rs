//! Status: whether the next attach to a network could work.

use cleat_kernel::Rtnl;
use cleat_nft::{Backend, Netlink};

use crate::bridge::MAX_PORTS;
use crate::error::{Error, Result};
use crate::macvlan;
use crate::plan::{Driver, NetworkPlan};

/// The first reason why an attach would fail.
pub fn status(network: &NetworkPlan) -> Result<()> {
    let mut rtnl = Rtnl::open()?;
    match &network.driver {
        Driver::Ptp => {}
        Driver::Macvlan(driver) if driver.master_in_container => {}
        Driver::Macvlan(driver) => drop(macvlan::master(&mut rtnl, driver)?),
        Driver::Bridge(driver) => {
            if let Some(link) = rtnl.link(&driver.bridge)? {
                if link.kind != "bridge" {
                    let name = driver.bridge.clone();
                    return Err(Error::NotABridge { name, found: link.kind });
                }
                let used = rtnl.ports_of(link.index)?.len();
                if used >= MAX_PORTS {
                    return Err(Error::BridgeFull { bridge: link.name, used });
                }
            }
        }
    }
    match Netlink::open().tables() {
        Err(error) if network.masquerade => Err(error.into()),
        _ => Ok(()),
    }
}
