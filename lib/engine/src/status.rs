//! Status: whether the next attach to a network could work.

use cleat_kernel::Rtnl;
use cleat_nft::{Backend, Netlink};

use crate::bridge::MAX_PORTS;
use crate::error::{Error, Result};
use crate::plan::{Driver, NetworkPlan};
use crate::{tap, virtual_link};

/// The first reason why an attach would fail.
pub fn status(network: &NetworkPlan) -> Result<()> {
    let mut rtnl = Rtnl::open()?;
    match &network.driver {
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
        Driver::Tap(_) => tap::status()?,
        driver => {
            if let Some(kind) = virtual_link::kind_of(driver) {
                virtual_link::status(&mut rtnl, kind, driver)?;
            }
        }
    }
    match Netlink::open().tables() {
        Err(error) if network.masquerade => Err(error.into()),
        _ => Ok(()),
    }
}
