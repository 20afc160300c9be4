//! The addresses that other nodes send to: as configured, or those of the links that the default
//! routes leave by.

use std::net::IpAddr;

use cleat_engine::kernel::Rtnl;

use crate::error::Result;

/// This node's addresses, at most one of each family, IPv4 first. None: it has no way out yet.
pub(super) fn addresses(rtnl: &mut Rtnl, configured: Option<IpAddr>) -> Result<Vec<IpAddr>> {
    if let Some(address) = configured {
        return Ok(vec![address]);
    }
    let mut found = Vec::new();
    for ipv6 in [false, true] {
        let Some(link) = rtnl.default_route(ipv6)?.and_then(|route| route.link) else { continue };
        let usable = |address: &IpAddr| match address {
            IpAddr::V4(v4) => !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        };
        let all = rtnl.addresses(Some(link))?.into_iter().map(|address| address.net.addr());
        found.extend(all.filter(|a| a.is_ipv6() == ipv6).find(usable));
    }
    Ok(found)
}

/// The address that this node sends from, of the family that all the others have: IPv4 before IPv6,
/// and the first of its own where there is no such family. All nodes come to the same.
pub(super) fn local<'h>(
    own: &[IpAddr],
    others: impl Iterator<Item = &'h [IpAddr]>,
) -> Option<IpAddr> {
    let others: Vec<&[IpAddr]> = others.collect();
    let is_common =
        |address: &&IpAddr| others.iter().all(|other| same_family(other, address).is_some());
    own.iter().find(is_common).or(own.first()).copied()
}

/// The one of these addresses that is of an address's family.
pub(super) fn same_family(addresses: &[IpAddr], like: &IpAddr) -> Option<IpAddr> {
    addresses.iter().find(|address| address.is_ipv4() == like.is_ipv4()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_send_in_the_family_that_all_have() {
        let parse = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<_>>();
        let (both, v4, v6) = (["192.0.2.1", "2001:db8::1"], ["192.0.2.2"], ["2001:db8::3"]);
        for (own, others, expected) in [
            (&both[..], vec![&v4[..], &both[..]], Some("192.0.2.1")),
            (&both[..], vec![&v6[..], &both[..]], Some("2001:db8::1")),
            (&both[..], vec![&v6[..], &v4[..]], Some("192.0.2.1")),
            (&v6[..], vec![&v4[..]], Some("2001:db8::3")),
            (&[][..], vec![&v4[..]], None),
        ] {
            let others: Vec<Vec<IpAddr>> = others.into_iter().map(parse).collect();
            let found = local(&parse(own), others.iter().map(Vec::as_slice));
            assert_eq!(found, expected.map(|text| text.parse().unwrap()), "{own:?}");
        }
    }
}
