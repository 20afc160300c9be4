//! Which subnets a network gets: those asked for, checked against each other, their gateways and
//! ranges; or free ones out of the pools.

use std::net::{IpAddr, Ipv6Addr};

use cleat_engine::ipam::Range;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::known::{Known, Subnet};
use crate::error::{Error, Result};

/// Where automatic IPv4 subnets come from, /24 by /24. The same as Podman's, clear of Docker's.
pub(crate) const POOLS: [&str; 3] = ["10.89.0.0/16", "10.90.0.0/15", "10.92.0.0/14"];
const LENGTH: u8 = 24;

/// What may not be overlapped, with words for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) net: IpNet,
    pub(crate) by: String,
}

/// Subnets of the networks there are.
pub(crate) fn of_networks(known: &Known) -> Vec<Used> {
    let named = known.networks.iter().flat_map(|network| {
        let by = format!("network {}", network.name);
        network.subnets.iter().map(move |s| Used { net: s.subnet, by: by.clone() })
    });
    named.collect()
}

/// The first thing that a subnet overlaps.
pub(crate) fn overlap<'u>(subnet: &IpNet, used: &'u [Used]) -> Option<&'u Used> {
    used.iter().find(|u| u.net.contains(&subnet.network()) || subnet.contains(&u.net.network()))
}

/// The first /24 of the pools that overlaps nothing.
pub(crate) fn free_v4(used: &[Used]) -> Result<IpNet> {
    let pools = POOLS.iter().filter_map(|pool| pool.parse::<Ipv4Net>().ok());
    let candidates = pools.filter_map(|pool| pool.subnets(LENGTH).ok()).flatten();
    candidates
        .map(IpNet::V4)
        .find(|subnet| overlap(subnet, used).is_none())
        .ok_or_else(|| Error::NoSubnet { pool: POOLS.join(", ") })
}

/// The first /64 of this host's unique local /48 that overlaps nothing. `seed` is the host's.
pub(crate) fn free_v6(seed: [u8; 5], used: &[Used]) -> Result<IpNet> {
    let prefix = host_prefix(seed);
    let candidates = prefix.subnets(64).into_iter().flatten();
    candidates
        .map(IpNet::V6)
        .find(|subnet| overlap(subnet, used).is_none())
        .ok_or_else(|| Error::NoSubnet { pool: prefix.to_string() })
}

/// RFC 4193: fd, then 40 bits that others will not have.
fn host_prefix(seed: [u8; 5]) -> Ipv6Net {
    let [a, b, c, d, e] = seed;
    let address = Ipv6Addr::from([0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    Ipv6Net::new_assert(address, 48)
}

/// What the user said of subnets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) subnets: &'a [IpNet],
    pub(crate) gateways: &'a [IpAddr],
    pub(crate) ranges: &'a [IpNet],
}

/// Puts each gateway and range to its subnet. Subnets overlap neither each other nor `used`.
pub(crate) fn assemble(asked: &Asked<'_>, used: &[Used]) -> Result<Vec<Subnet>> {
    let mut taken = used.to_vec();
    let mut found = Vec::new();
    for subnet in asked.subnets {
        let subnet = checked(subnet)?;
        if let Some(other) = overlap(&subnet, &taken) {
            let with = format!("{} of {}", other.net, other.by);
            return Err(Error::Overlap { subnet: subnet.to_string(), with });
        }
        taken.push(Used { net: subnet, by: "this network".into() });
        let gateway = asked.gateways.iter().find(|g| subnet.contains(*g)).copied();
        let range = asked.ranges.iter().find(|r| subnet.contains(*r));
        let (start, end) = match range {
            Some(range) => bounds(&subnet, range),
            None => (None, None),
        };
        Range::new(subnet, start, end, gateway)?;
        found.push(Subnet { subnet, gateway, range_start: start, range_end: end });
    }
    all_placed("--gateway", asked.gateways.iter().map(|g| IpNet::from(*g)), &found)?;
    all_placed("--ip-range", asked.ranges.iter().copied(), &found)?;
    Ok(found)
}

/// Every one lies in a subnet, and no two in one.
fn all_placed(
    argument: &'static str,
    given: impl Iterator<Item = IpNet>,
    subnets: &[Subnet],
) -> Result<()> {
    let mut filled: Vec<IpNet> = Vec::new();
    for one in given {
        let home = subnets.iter().find(|s| s.subnet.contains(&one)).map(|s| s.subnet);
        let bare = one.prefix_len() == one.max_prefix_len();
        let value = if bare { one.addr().to_string() } else { one.to_string() };
        let fail = |problem: String| Error::Argument { argument, value: value.clone(), problem };
        let Some(home) = home else {
            return Err(fail("lies in none of the subnets given by --subnet".into()));
        };
        if filled.contains(&home) {
            return Err(fail(format!("is the second one for subnet {home}")));
        }
        filled.push(home);
    }
    Ok(())
}

fn checked(subnet: &IpNet) -> Result<IpNet> {
    if *subnet == subnet.trunc() {
        return Ok(*subnet);
    }
    Err(Error::Argument {
        argument: "--subnet",
        value: subnet.to_string(),
        problem: format!("has host bits set; did you mean {}?", subnet.trunc()),
    })
}

/// A range's addresses, less the subnet's network and broadcast addresses.
fn bounds(subnet: &IpNet, range: &IpNet) -> (Option<IpAddr>, Option<IpAddr>) {
    let (first, last) = (range.network(), range.broadcast());
    let start = (first != subnet.network()).then_some(first);
    let end = (last != subnet.broadcast()).then_some(last);
    (start, end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn used(nets: &[&str]) -> Vec<Used> {
        nets.iter().map(|n| Used { net: n.parse().unwrap(), by: "x".into() }).collect()
    }

    #[test]
    fn the_first_free_subnet() {
        for (taken, expected) in [
            (&[][..], "10.89.0.0/24"),
            (&["10.89.0.0/24"], "10.89.1.0/24"),
            (&["10.89.0.7/32"], "10.89.1.0/24"),
            (&["10.89.0.0/16"], "10.90.0.0/24"),
            (&["10.88.0.0/14"], "10.92.0.0/24"),
            (&["fd00::/8", "10.89.0.0/23"], "10.89.2.0/24"),
        ] {
            assert_eq!(free_v4(&used(taken)).unwrap().to_string(), expected, "{taken:?}");
        }
        let error = free_v4(&used(&["10.0.0.0/8"])).unwrap_err().to_string();
        assert!(error.contains("10.89.0.0/16") && error.contains("--subnet"), "{error}");
        let seed = [1, 2, 3, 4, 5];
        assert_eq!(free_v6(seed, &[]).unwrap().to_string(), "fd01:203:405::/64");
        let second = free_v6(seed, &used(&["fd01:203:405::/64"])).unwrap();
        assert_eq!(second.to_string(), "fd01:203:405:1::/64");
    }

    #[test]
    fn gateways_and_ranges_find_their_subnets() {
        let nets =
            |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<IpNet>>();
        let ips =
            |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<IpAddr>>();
        type Outcome<'a> = std::result::Result<&'a str, &'a str>;
        type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str], Outcome<'a>);
        let cases: [Case<'_>; 10] = [
            (&["10.1.0.0/24"], &[], &[], Ok("10.1.0.0/24 None None None")),
            (
                &["10.1.0.0/24", "fd00::/64"],
                &["fd00::9", "10.1.0.254"],
                &["10.1.0.128/25"],
                Ok("10.1.0.0/24 Some(10.1.0.254) Some(10.1.0.128) None\n\
                    fd00::/64 Some(fd00::9) None None"),
            ),
            (
                &["10.1.0.0/24"],
                &[],
                &["10.1.0.16/28"],
                Ok("10.1.0.0/24 None Some(10.1.0.16) Some(10.1.0.31)"),
            ),
            (&["10.1.0.1/24"], &[], &[], Err("did you mean 10.1.0.0/24?")),
            (
                &["10.1.0.0/24", "10.1.0.0/25"],
                &[],
                &[],
                Err("overlaps 10.1.0.0/24 of this network"),
            ),
            (&["10.9.0.0/24"], &[], &[], Err("overlaps 10.9.0.0/16 of x")),
            (&["10.1.0.0/24"], &["10.2.0.1"], &[], Err("--gateway \"10.2.0.1\": lies in none")),
            (&["10.1.0.0/24"], &["10.1.0.1", "10.1.0.2"], &[], Err("is the second one")),
            (&["10.1.0.0/24"], &[], &["10.2.0.0/25"], Err("--ip-range \"10.2.0.0/25\"")),
            (&["10.1.0.0/31"], &[], &[], Err("/30")),
        ];
        for (subnets, gateways, ranges, expected) in cases {
            let (subnets, gateways, ranges) = (nets(subnets), ips(gateways), nets(ranges));
            let asked = Asked { subnets: &subnets, gateways: &gateways, ranges: &ranges };
            let outcome = assemble(&asked, &used(&["10.9.0.0/16"]));
            match (outcome, expected) {
                (Ok(found), Ok(text)) => {
                    let lines: Vec<String> = found
                        .iter()
                        .map(|s| {
                            let Subnet { subnet, gateway, range_start, range_end } = s;
                            format!("{subnet} {gateway:?} {range_start:?} {range_end:?}")
                        })
                        .collect();
                    assert_eq!(lines.join("\n"), text);
                }
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{error}");
                }
                (outcome, _) => panic!("{subnets:?}: {outcome:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn a_free_subnet_overlaps_nothing(nets in prop::collection::vec((0_u32..1024, 16_u8..=32), 0..40)) {
            let used: Vec<Used> = nets
                .into_iter()
                .map(|(n, length)| {
                    let address = std::net::Ipv4Addr::from(0x0a59_0000 + n * 256);
                    let net = Ipv4Net::new(address, length).unwrap().trunc();
                    Used { net: net.into(), by: String::new() }
                })
                .collect();
            if let Ok(found) = free_v4(&used) {
                prop_assert!(overlap(&found, &used).is_none());
                prop_assert_eq!(found.prefix_len(), 24);
            }
        }
    }
}
