//! The loopback of a container.

use std::path::Path;

use cleat_kernel::link::iff;
use cleat_kernel::{Change, LinkChange, Namespace, Rtnl};
use ipnet::IpNet;

use crate::error::{Error, Result};

/// Switches it on. Its addresses.
pub fn up(netns: &Path) -> Result<Vec<IpNet>> {
    let mut rtnl = open(netns)?;
    set(&mut rtnl, true)?;
    let index = rtnl.link("lo")?.map(|link| link.index);
    let addresses = rtnl.addresses(index)?;
    for address in &addresses {
        if !address.net.addr().is_loopback() {
            let why = "the loopback must not have an address other than a loopback address";
            return Err(Error::Address { address: address.net.addr(), why });
        }
    }
    Ok(addresses.into_iter().map(|address| address.net).collect())
}

/// Switches it off.
pub fn down(netns: &Path) -> Result<()> {
    set(&mut open(netns)?, false)
}

/// It is on.
pub fn is_up(netns: &Path) -> Result<bool> {
    Ok(open(netns)?.link("lo")?.is_some_and(|link| link.flags & iff::UP != 0))
}

fn open(netns: &Path) -> Result<Rtnl> {
    let fail = |source| Error::Netns { path: netns.to_owned(), source };
    let namespace = Namespace::open(netns).map_err(fail)?;
    Ok(Rtnl::open_in(&namespace)?)
}

fn set(rtnl: &mut Rtnl, up: bool) -> Result<()> {
    let change = LinkChange { name: "lo", up: Some(up), ..LinkChange::default() };
    rtnl.apply(&[Change::Link(change)]).map_err(|refused| refused.error.into())
}
