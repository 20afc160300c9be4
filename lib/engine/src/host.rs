//! The host's own interfaces, for a container that shares the host's namespace.

use cleat_kernel::link::iff;
use cleat_kernel::{Mac, Rtnl};
use ipnet::IpNet;

use crate::error::Result;

/// An interface of the host with its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInterface {
    /// Its name.
    pub name: String,
    /// Its link address.
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its global addresses.
    pub addresses: Vec<IpNet>,
}

/// The interfaces that are up and have global addresses, the loopback excepted.
pub fn interfaces() -> Result<Vec<HostInterface>> {
    let mut rtnl = Rtnl::open()?;
    let addresses = rtnl.addresses(None)?;
    let links = rtnl.links()?.into_iter();
    let usable = links.filter(|link| link.flags & iff::UP != 0 && link.flags & iff::LOOPBACK == 0);
    let with_addresses = usable.map(|link| {
        let own = addresses.iter().filter(|a| a.link == link.index && a.scope == 0);
        HostInterface {
            name: link.name,
            mac: link.mac,
            mtu: link.mtu,
            addresses: own.map(|a| a.net).collect(),
        }
    });
    Ok(with_addresses.filter(|interface| !interface.addresses.is_empty()).collect())
}
