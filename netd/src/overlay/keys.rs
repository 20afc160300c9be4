//! The keys of the store, without the prefix that an engine puts in front:
//!
//! | key | value | how long it stays |
//! |---|---|---|
//! | `network/NAME` | the network | until it is removed |
//! | `vni/NUMBER` | which network has the VNI | with its network |
//! | `claim/NETWORK/FAMILY/ADDRESS/LENGTH` | which node owns the block | until it is released, or the node forgotten |
//! | `ask/NETWORK/FAMILY/ADDRESS` | which node wants an address of another's block | until it is answered |
//! | `host/NODE` | a node: addresses, version, keys | until it is forgotten |
//! | `live/NODE` | which boot and process of the node is in charge | seconds, by a lease |
//! | `drain/NODE` | the node is to give up its blocks | until it has |
//! | `name/NETWORK/NODE/RECORD` | the names of an attachment | with the attachment |
//! | `epoch` | how often the store was found to have gone back | for good |
//!
//! NETWORK is a network's id, FAMILY 4 or 6, ADDRESS all digits of an address in hexadecimal. So
//! addresses are in order, and all claims that begin inside a block are one range of keys.
//!
//! `host` has no lease, unlike what tells that a node is alive: a node that starts while another
//! is down must reach that one's containers as soon as it is back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::store::Range;

/// How often the store was found to have gone back.
pub const EPOCH: &str = "epoch";

/// A key, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'k> {
    /// A network, by name.
    Network(&'k str),
    /// A VNI.
    Vni(u32),
    /// A claim.
    Claim {
        /// The network's id.
        network: &'k str,
        /// What is claimed.
        block: IpNet,
    },
    /// A wish for an address of another node's block.
    Ask {
        /// The network's id.
        network: &'k str,
        /// The address.
        address: IpAddr,
    },
    /// A node.
    Host(&'k str),
    /// A node that is alive.
    Live(&'k str),
    /// A node that is to give up its blocks.
    Drain(&'k str),
    /// The names of an attachment.
    Name {
        /// The network's id.
        network: &'k str,
        /// The node.
        node: &'k str,
        /// The attachment's record.
        record: &'k str,
    },
    /// The epoch.
    Epoch,
}

impl<'k> Key<'k> {
    /// `None`: a key that this version knows nothing of.
    pub fn parse(key: &'k str) -> Option<Self> {
        if key == EPOCH {
            return Some(Self::Epoch);
        }
        let (kind, rest) = key.split_once('/')?;
        let mut parts = rest.split('/');
        let mut part = || parts.next().filter(|part| !part.is_empty());
        let parsed = match kind {
            "network" => Self::Network(part()?),
            "vni" => Self::Vni(part()?.parse().ok()?),
            "host" => Self::Host(part()?),
            "live" => Self::Live(part()?),
            "drain" => Self::Drain(part()?),
            "claim" => {
                let network = part()?;
                let address = parse_address(part()?, part()?)?;
                Self::Claim { network, block: IpNet::new(address, part()?.parse().ok()?).ok()? }
            }
            "ask" => Self::Ask { network: part()?, address: parse_address(part()?, part()?)? },
            "name" => Self::Name { network: part()?, node: part()?, record: part()? },
            _ => return None,
        };
        parts.next().is_none().then_some(parsed)
    }
}

/// A network's key.
pub fn network(name: &str) -> String {
    format!("network/{name}")
}

/// All networks.
pub fn networks() -> Range {
    Range::under("network/")
}

/// A VNI's key.
pub fn vni(number: u32) -> String {
    format!("vni/{number}")
}

/// All VNIs that are taken.
pub fn vnis() -> Range {
    Range::under("vni/")
}

/// The key of a claim of a block.
pub fn claim(network: &str, block: &IpNet) -> String {
    format!("claim/{network}/{}/{}", address(block.network()), block.prefix_len())
}

/// All claims of a network.
pub fn claims(network: &str) -> Range {
    Range::under(format!("claim/{network}/"))
}

/// All claims that begin inside a block: those that it covers, and those of the same first
/// address that cover it.
pub fn claims_within(network: &str, block: &IpNet) -> Range {
    let first = format!("claim/{network}/{}/", address(block.network()));
    let last = format!("claim/{network}/{}/", address(block.broadcast()));
    Range { start: first, end: Range::under(last).end }
}

/// The keys that a claim of a block inside a subnet would have if it covered this one and began
/// before it.
pub fn claims_above(network: &str, subnet: &IpNet, block: &IpNet) -> Vec<String> {
    covering(subnet, block)
        .filter(|above| above.network() != block.network())
        .map(|above| claim(network, &above))
        .collect()
}

/// The blocks of a subnet that hold a block, the subnet first, itself not.
pub fn covering(subnet: &IpNet, block: &IpNet) -> impl Iterator<Item = IpNet> {
    let first = block.network();
    let lengths = subnet.prefix_len()..block.prefix_len();
    lengths.filter_map(move |length| Some(IpNet::new(first, length).ok()?.trunc()))
}

/// The key of a wish for an address.
pub fn ask(network: &str, wanted: IpAddr) -> String {
    format!("ask/{network}/{}", address(wanted))
}

/// All wishes of a network.
pub fn asks(network: &str) -> Range {
    Range::under(format!("ask/{network}/"))
}

/// A node's key.
pub fn host(node: &str) -> String {
    format!("host/{node}")
}

/// All nodes.
pub fn hosts() -> Range {
    Range::under("host/")
}

/// The key that is there while a node is alive.
pub fn live(node: &str) -> String {
    format!("live/{node}")
}

/// The key that tells a node to give up its blocks.
pub fn drain(node: &str) -> String {
    format!("drain/{node}")
}

/// The key of an attachment's names.
pub fn name(network: &str, node: &str, record: &str) -> String {
    format!("name/{network}/{node}/{record}")
}

/// All names of a network.
pub fn names(network: &str) -> Range {
    Range::under(format!("name/{network}/"))
}

/// All names of a network on a node.
pub fn names_of(network: &str, node: &str) -> Range {
    Range::under(format!("name/{network}/{node}/"))
}

fn address(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("4/{:08x}", v4.to_bits()),
        IpAddr::V6(v6) => format!("6/{:032x}", v6.to_bits()),
    }
}

fn parse_address(family: &str, digits: &str) -> Option<IpAddr> {
    // Numbers may also have a sign.
    if !digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    match (family, digits.len()) {
        ("4", 8) => Some(Ipv4Addr::from_bits(u32::from_str_radix(digits, 16).ok()?).into()),
        ("6", 32) => Some(Ipv6Addr::from_bits(u128::from_str_radix(digits, 16).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block() -> impl Strategy<Value = IpNet> {
        let v4 = (any::<u32>(), 8..=32_u8)
            .prop_map(|(bits, length)| IpNet::new(Ipv4Addr::from_bits(bits).into(), length));
        let v6 = (any::<u128>(), 32..=128_u8)
            .prop_map(|(bits, length)| IpNet::new(Ipv6Addr::from_bits(bits).into(), length));
        prop_oneof![v4, v6].prop_map(|net| net.unwrap().trunc())
    }

    /// Two that are likely to have to do with each other.
    fn pair() -> impl Strategy<Value = (IpNet, IpNet)> {
        (block(), block(), any::<bool>(), 0..=128_u8).prop_map(|(a, b, near, length)| {
            if !near {
                return (a, b);
            }
            let most = a.max_prefix_len();
            (a, IpNet::new(a.broadcast(), length.clamp(most / 4, most)).unwrap().trunc())
        })
    }

    fn whole(block: &IpNet) -> IpNet {
        let any: IpNet = if block.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" }.parse().unwrap();
        any
    }

    proptest! {
        #[test]
        fn a_key_is_read_as_what_it_was_made_of(block in block()) {
            let key = claim("0123456789abcdef", &block);
            let parsed = Key::parse(&key);
            prop_assert_eq!(parsed, Some(Key::Claim { network: "0123456789abcdef", block }));
        }

        #[test]
        fn a_range_and_the_keys_above_it_are_what_overlaps((a, b) in pair()) {
            let key = claim("n", &b);
            let found = claims_within("n", &a).contains(&key)
                || claims_above("n", &whole(&a), &a).contains(&key);
            prop_assert_eq!(found, a.contains(&b) || b.contains(&a));
        }

        #[test]
        fn keys_are_in_the_order_of_addresses((a, b) in pair()) {
            prop_assume!(a.addr().is_ipv4() == b.addr().is_ipv4() && a.addr() != b.addr());
            prop_assert_eq!(a.addr() < b.addr(), claim("n", &a) < claim("n", &b));
        }
    }

    #[test]
    fn keys_of_others_are_none_of_ours() {
        for key in [
            "",
            "epoch/",
            "network",
            "network/",
            "network/a/b",
            "vni/x",
            "claim/n/4/0a00/8",
            "claim/n/4/0a000000/33",
            "claim/n/6/0a000000/8",
            "claim/n/4/0a000000",
            "other/a",
            "name/n/a",
            "name/n/a/b/c",
            "ask/n/4/+a000000",
        ] {
            assert_eq!(Key::parse(key), None, "{key:?}");
        }
        assert_eq!(Key::parse("vni/4096"), Some(Key::Vni(4096)));
        assert_eq!(Key::parse("live/a"), Some(Key::Live("a")));
    }

    #[test]
    fn a_claim_is_one_transaction_however_long_it_is() {
        let subnet: IpNet = "fd00::/16".parse().unwrap();
        let one: IpNet = "fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128".parse().unwrap();
        assert!(claims_above("n", &subnet, &one).len() < crate::overlay::store::MAX_OPS - 4);
    }
}
