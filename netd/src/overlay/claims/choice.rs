//! Which block a node tries for: one that nobody has, near a place that its id gives it, so that
//! nodes which look at once rarely want the same.

use std::collections::BTreeMap;

use cleat_engine::identity::hashed_name;
use cleat_engine::overlay::OverlayNetwork;
use ipnet::IpNet;

/// A free block of a subnet; `None`: there is none. Never the first one, whose addresses are
/// claimed one by one.
pub(super) fn free_block(
    network: &OverlayNetwork,
    subnet: &IpNet,
    taken: impl Iterator<Item = IpNet>,
    node: &str,
) -> Option<IpNet> {
    let length = network.block_length(subnet);
    let count = 1_u128.checked_shl(u32::from(length.checked_sub(subnet.prefix_len())?))?;
    let shift = u32::from(subnet.max_prefix_len() - length);
    let base = bits(subnet) >> shift;
    let index = |bits: u128| (bits >> shift).saturating_sub(base);
    // First and last index of what overlaps the subnet.
    let mut spans: BTreeMap<u128, u128> = BTreeMap::new();
    for net in taken.filter(|net| subnet.contains(net) || net.contains(subnet)) {
        let (first, last) = if net.contains(subnet) {
            (0, count - 1)
        } else {
            (index(bits(&net)), index(last_bits(&net)))
        };
        let end = spans.entry(first).or_insert(last);
        *end = (*end).max(last);
    }
    let start = 1 + place(node, &network.id) % (count - 1).max(1);
    let found = next_free(&spans, start, count).or_else(|| next_free(&spans, 1, start))?;
    block_at(subnet, length, found)
}

/// The first index from one up to, and without, another that no span covers.
fn next_free(spans: &BTreeMap<u128, u128>, from: u128, to: u128) -> Option<u128> {
    let before = spans.range(..from).map(|(_, last)| last + 1).max().unwrap_or(from);
    let mut at = from.max(before);
    for (first, last) in spans.range(from..) {
        if *first > at {
            break;
        }
        at = at.max(last + 1);
    }
    (at < to).then_some(at)
}

fn place(node: &str, network: &str) -> u128 {
    u128::from_str_radix(&hashed_name(&format!("{node} {network}"), 16), 16).unwrap_or(0)
}

fn block_at(subnet: &IpNet, length: u8, index: u128) -> Option<IpNet> {
    let offset = index << u32::from(subnet.max_prefix_len() - length);
    let bits = bits(subnet).checked_add(offset)?;
    let address = if subnet.addr().is_ipv4() {
        std::net::Ipv4Addr::from_bits(u32::try_from(bits).ok()?).into()
    } else {
        std::net::Ipv6Addr::from_bits(bits).into()
    };
    IpNet::new(address, length).ok()
}

fn bits(net: &IpNet) -> u128 {
    match net {
        IpNet::V4(v4) => v4.network().to_bits().into(),
        IpNet::V6(v6) => v6.network().to_bits(),
    }
}

fn last_bits(net: &IpNet) -> u128 {
    match net {
        IpNet::V4(v4) => v4.broadcast().to_bits().into(),
        IpNet::V6(v6) => v6.broadcast().to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::overlay::NetworkRequest;

    fn network(subnet: &str, block: u8) -> (OverlayNetwork, IpNet) {
        let mut request = NetworkRequest::new("n");
        request.subnets = vec![subnet.parse().unwrap()];
        (request.block_v4, request.block_v6) = (Some(block), Some(block));
        let network = request.resolve(&[], "id", 1, 0).unwrap();
        let subnet = network.subnets[0];
        (network, subnet)
    }

    #[test]
    fn all_blocks_are_found_once_and_the_first_is_nobodys() {
        for (subnet, block, count) in
            [("10.1.0.0/24", 28, 15), ("fd00:0:0:1::/64", 72, 255), ("10.1.0.0/24", 25, 1)]
        {
            let (network, subnet) = network(subnet, block);
            let mut taken = BTreeSet::new();
            while let Some(block) = free_block(&network, &subnet, taken.iter().copied(), "node") {
                assert!(subnet.contains(&block) && taken.insert(block), "{block}");
                assert_ne!(Some(block), network.static_range(&subnet));
            }
            assert_eq!(taken.len(), count, "{subnet}");
        }
    }

    #[test]
    fn nodes_begin_at_different_places() {
        let (network, subnet) = network("10.0.0.0/8", 24);
        let places: BTreeSet<IpNet> = (0..100)
            .filter_map(|n| free_block(&network, &subnet, std::iter::empty(), &format!("node{n}")))
            .collect();
        assert!(places.len() > 95, "{}", places.len());
    }

    proptest! {
        #[test]
        fn what_is_found_overlaps_nothing(
            taken in proptest::collection::vec((any::<u16>(), 17..=32_u8), 0..40),
            node in "[a-f0-9]{8}",
        ) {
            let (network, subnet) = network("10.1.0.0/16", 20);
            let taken: Vec<IpNet> = taken
                .into_iter()
                .map(|(low, length)| {
                    let address = std::net::Ipv4Addr::from_bits(0x0a01_0000 | u32::from(low));
                    IpNet::new(address.into(), length).unwrap().trunc()
                })
                .collect();
            let overlaps = |block: &IpNet| taken.iter().any(|t| t.contains(block) || block.contains(t));
            match free_block(&network, &subnet, taken.iter().copied(), &node) {
                Some(block) => prop_assert!(!overlaps(&block), "{block}"),
                None => prop_assert!(subnet.subnets(20).unwrap().skip(1).all(|block| overlaps(&block))),
            }
        }
    }
}
