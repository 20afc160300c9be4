//! Expressions from what is meant. Each gives a run of expressions that stands alone, so that a
//! rule is a list of them. Header matches bring their guard.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Ct, Expr, Reject, Select};
use crate::key::{self, Key};
use crate::set::Verdict;
use crate::table::Family;

/// A connection's state, as the bits of [`ct_state`].
pub mod state {
    /// Belongs to no connection that could be.
    pub const INVALID: u32 = 1;
    /// Seen in both directions.
    pub const ESTABLISHED: u32 = 2;
    /// Opened by another one.
    pub const RELATED: u32 = 4;
    /// Not seen before.
    pub const NEW: u32 = 8;
    /// Not tracked on purpose.
    pub const UNTRACKED: u32 = 64;
}

/// `IPS_SRC_NAT`.
const STATUS_SNAT: u32 = 0x10;
/// `IPS_DST_NAT`.
const STATUS_DNAT: u32 = 0x20;
/// Where a fixed port is loaded: the 16-byte register after the address's, as nft does.
const PORT_WORD: u8 = 4;
/// `RTN_LOCAL`.
const ADDRESS_LOCAL: u32 = 2;

/// The selector has these bytes.
pub fn eq(select: Select, value: &[u8]) -> Vec<Expr> {
    compare(select, true, value)
}

/// The selector has other bytes.
pub fn ne(select: Select, value: &[u8]) -> Vec<Expr> {
    compare(select, false, value)
}

/// The source is in the network.
pub fn match_ip_saddr(net: IpNet) -> Vec<Expr> {
    address(net, true, [Select::IpSaddr, Select::Ip6Saddr])
}

/// The source is not in the network (and is of its family).
pub fn match_ip_saddr_not(net: IpNet) -> Vec<Expr> {
    address(net, false, [Select::IpSaddr, Select::Ip6Saddr])
}

/// The destination is in the network.
pub fn match_ip_daddr(net: IpNet) -> Vec<Expr> {
    address(net, true, [Select::IpDaddr, Select::Ip6Daddr])
}

/// The destination is not in the network (and is of its family).
pub fn match_ip_daddr_not(net: IpNet) -> Vec<Expr> {
    address(net, false, [Select::IpDaddr, Select::Ip6Daddr])
}

/// It came in by this interface.
pub fn match_iifname(name: &str) -> Vec<Expr> {
    eq(Select::Iifname, &key::ifname(name))
}

/// It did not come in by this interface.
pub fn match_iifname_not(name: &str) -> Vec<Expr> {
    ne(Select::Iifname, &key::ifname(name))
}

/// It goes out by this interface.
pub fn match_oifname(name: &str) -> Vec<Expr> {
    eq(Select::Oifname, &key::ifname(name))
}

/// It does not go out by this interface.
pub fn match_oifname_not(name: &str) -> Vec<Expr> {
    ne(Select::Oifname, &key::ifname(name))
}

/// It came in by a port of this bridge; in bridge tables. `EOPNOTSUPP` where the kernel was built
/// without `CONFIG_NFT_BRIDGE_META`.
pub fn match_ibrname(name: &str) -> Vec<Expr> {
    eq(Select::Ibrname, &key::ifname(name))
}

/// It is of this transport protocol, by IP number.
pub fn match_l4proto(number: u8) -> Vec<Expr> {
    eq(Select::L4proto, &[number])
}

/// It is of this address family, `Ip` or `Ip6`; not in bridge tables.
pub fn match_nfproto(family: Family) -> Vec<Expr> {
    eq(Select::Nfproto, &[family.number()])
}

/// It goes to this port of the protocol, by IP number.
pub fn match_dport(proto: u8, port: u16) -> Vec<Expr> {
    let mut exprs = match_l4proto(proto);
    exprs.extend(eq(Select::Dport, &port.to_be_bytes()));
    exprs
}

/// It comes from this port of the protocol, by IP number.
pub fn match_sport(proto: u8, port: u16) -> Vec<Expr> {
    let mut exprs = match_l4proto(proto);
    exprs.extend(eq(Select::Sport, &port.to_be_bytes()));
    exprs
}

/// It is an ICMPv6 message of this type.
pub fn match_icmp6_type(number: u8) -> Vec<Expr> {
    eq(Select::Icmp6Type, &[number])
}

/// The frame has this type, as `0x0806`.
pub fn match_ether_type(number: u16) -> Vec<Expr> {
    eq(Select::EtherType, &number.to_be_bytes())
}

/// The selectors, end to end, are a key of the set.
pub fn match_in(selects: &[Select], set: &str) -> Vec<Expr> {
    load(selects, Expr::InSet { set: set.to_owned(), is: true })
}

/// The selectors, end to end, are not a key of the set.
pub fn match_not_in(selects: &[Select], set: &str) -> Vec<Expr> {
    load(selects, Expr::InSet { set: set.to_owned(), is: false })
}

/// Takes the verdict that the map has for the selectors; without one goes on after the rule.
pub fn vmap(selects: &[Select], map: &str) -> Vec<Expr> {
    load(selects, Expr::VerdictMap { map: map.to_owned() })
}

/// Translates the destination to the address and port (`family`: `Ip` or `Ip6`) that the map has
/// for the selectors.
pub fn dnat_map(family: Family, selects: &[Select], map: &str) -> Vec<Expr> {
    let mut exprs = load(selects, Expr::Map { map: map.to_owned() });
    let after = if family == Family::Ip { 1 } else { 4 };
    exprs.push(Expr::Nat { destination: true, family, port: Some(after) });
    exprs
}

/// Translates the destination to this address, and to this port if given.
pub fn dnat(to: IpAddr, port: Option<u16>) -> Vec<Expr> {
    translate(true, to, port)
}

/// Translates the source to this address, and to this port if given.
pub fn snat(to: IpAddr, port: Option<u16>) -> Vec<Expr> {
    translate(false, to, port)
}

/// Translates the source to the output interface's address.
pub fn masquerade() -> Vec<Expr> {
    vec![Expr::Masquerade { random: false }]
}

/// The same with random ports (`random,fully-random`).
pub fn masquerade_random() -> Vec<Expr> {
    vec![Expr::Masquerade { random: true }]
}

/// Translates the destination to the host itself, and to this port if given.
pub fn redirect(port: Option<u16>) -> Vec<Expr> {
    let load = port.map(|p| immediate(0, Key::new().port(p)));
    load.into_iter().chain([Expr::Redirect { port: port.is_some() }]).collect()
}

/// The connection's destination was translated.
pub fn ct_status_dnat() -> Vec<Expr> {
    any_bit(Ct::Status, STATUS_DNAT)
}

/// The connection's source was translated.
pub fn ct_status_snat() -> Vec<Expr> {
    any_bit(Ct::Status, STATUS_SNAT)
}

/// The connection is in one of these states, bits of [`state`].
pub fn ct_state(states: u32) -> Vec<Expr> {
    any_bit(Ct::State, states)
}

/// The packet goes in the connection's original direction, or in that of the replies.
pub fn ct_direction(reply: bool) -> Vec<Expr> {
    vec![
        Expr::Ct { key: Ct::Direction, to: 0 },
        Expr::Cmp { equal: true, value: vec![u8::from(reply)] },
    ]
}

/// The destination is an address of the host. Only before routing, on input and on output.
pub fn fib_daddr_local() -> Vec<Expr> {
    let value = ADDRESS_LOCAL.to_ne_bytes().to_vec();
    vec![Expr::FibDaddrType { to: 0 }, Expr::Cmp { equal: true, value }]
}

/// Sets these bits of the mark.
pub fn mark_set_bit(bits: u32) -> Vec<Expr> {
    mark(bits, bits)
}

/// Clears these bits of the mark.
pub fn mark_clear_bit(bits: u32) -> Vec<Expr> {
    mark(bits, 0)
}

/// The mark has all of these bits: the one form that iptables-nft lists and compares rightly.
pub fn mark_has_bit(bits: u32) -> Vec<Expr> {
    vec![
        Select::Mark.load(0),
        mask(&bits.to_ne_bytes()),
        Expr::Cmp { equal: true, value: bits.to_ne_bytes().to_vec() },
    ]
}

/// The mark has none of these bits.
pub fn mark_lacks_bit(bits: u32) -> Vec<Expr> {
    vec![
        Select::Mark.load(0),
        mask(&bits.to_ne_bytes()),
        Expr::Cmp { equal: true, value: vec![0; 4] },
    ]
}

/// Drops and answers with ICMP or ICMPv6.
pub fn reject(with: Reject) -> Vec<Expr> {
    vec![Expr::Reject(with)]
}

/// Counts packets and bytes.
pub fn counter() -> Vec<Expr> {
    vec![Expr::Counter]
}

/// Accepts.
pub fn accept() -> Vec<Expr> {
    verdict(Verdict::Accept)
}

/// Drops.
pub fn drop_packet() -> Vec<Expr> {
    verdict(Verdict::Drop)
}

/// Goes to a chain and comes back.
pub fn jump(chain: &str) -> Vec<Expr> {
    verdict(Verdict::Jump(chain.to_owned()))
}

/// Ends the rule with this.
pub fn verdict(verdict: Verdict) -> Vec<Expr> {
    vec![Expr::Verdict(verdict)]
}

/// The selectors' guards, the selectors in consecutive registers, then `use`.
fn load(selects: &[Select], used: Expr) -> Vec<Expr> {
    let guards = selects.iter().filter_map(|s| s.guard()).map(Expr::Guard);
    let mut exprs: Vec<_> = guards.collect();
    let mut word = 0;
    for select in selects {
        exprs.push(select.load(word));
        word += select.words();
    }
    exprs.push(used);
    exprs
}

fn compare(select: Select, equal: bool, value: &[u8]) -> Vec<Expr> {
    load(&[select], Expr::Cmp { equal, value: value.to_vec() })
}

fn address(net: IpNet, equal: bool, [v4, v6]: [Select; 2]) -> Vec<Expr> {
    let select = if net.addr().is_ipv4() { v4 } else { v6 };
    let value = Key::new().ip(net.network()).bytes().to_vec();
    let mut exprs = compare(select, equal, &value);
    if net.prefix_len() < net.max_prefix_len() {
        let bits = Key::new().ip(net.netmask());
        exprs.insert(exprs.len() - 1, mask(bits.bytes()));
    }
    exprs
}

fn mask(bits: &[u8]) -> Expr {
    Expr::Bitwise { mask: bits.to_vec(), xor: vec![0; bits.len()] }
}

fn mark(cleared: u32, set: u32) -> Vec<Expr> {
    let (mask, xor) = ((!cleared).to_ne_bytes().to_vec(), set.to_ne_bytes().to_vec());
    vec![Select::Mark.load(0), Expr::Bitwise { mask, xor }, Expr::MarkSet { from: 0 }]
}

fn any_bit(key: Ct, bits: u32) -> Vec<Expr> {
    let differs = Expr::Cmp { equal: false, value: vec![0; 4] };
    vec![Expr::Ct { key, to: 0 }, mask(&bits.to_ne_bytes()), differs]
}

fn translate(destination: bool, to: IpAddr, port: Option<u16>) -> Vec<Expr> {
    let family = if to.is_ipv4() { Family::Ip } else { Family::Ip6 };
    let mut exprs = vec![immediate(0, Key::new().ip(to))];
    exprs.extend(port.map(|p| immediate(PORT_WORD, Key::new().port(p))));
    exprs.push(Expr::Nat { destination, family, port: port.map(|_| PORT_WORD) });
    exprs
}

fn immediate(to: u8, value: Key) -> Expr {
    Expr::Immediate { to, value: value.bytes().to_vec() }
}
