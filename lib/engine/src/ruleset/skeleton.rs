//! The chains and rules, once per host.
//!
//! `inet cleat`: published ports by maps behind `fib daddr type local`; masquerading by a set of
//! addresses; a forward chain that asks per link, by verdict maps, what may pass, marks what
//! does and drops the rest. The mark tells iptables' chains, which run later, to accept; it is
//! cleared after them. `bridge cleat`: what a container may send as its own.

use cleat_nft::expr::{self, state};
use cleat_nft::{Base, Expr, Family, Hook, Kind, Rule, Select, Set, Table, Transaction, Type};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::conditions::{self, Conditions};
use super::links::LinkRules;
use super::sources::{self, Sources};
use crate::forwarding::Before;

/// The table for routed traffic.
pub const INET: Table = Table::new(Family::Inet, "cleat");
/// The table for frames.
pub const BRIDGE: Table = Table::new(Family::Bridge, "cleat");

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;

/// What the chains depend on.
pub(crate) struct Shape<'s> {
    /// The bit of the packet mark that says: let through by us.
    pub(crate) mark: u32,
    /// What was off before we switched forwarding on.
    pub(crate) before: Option<&'s Before>,
    /// All links.
    pub(crate) links: &'s [LinkRules],
    /// All conditions for published ports.
    pub(crate) conditions: &'s [Conditions],
    /// Where overlay networks' packets come from.
    pub(crate) sources: &'s [Sources],
}

/// Appends both tables. Rules are made anew; an administrator's chains are left as they are.
pub(crate) fn lay(tx: &mut Transaction, shape: &Shape<'_>) {
    lay_inet(tx, shape);
    lay_bridge(tx);
}

/// Appends the table for routed traffic.
pub(crate) fn lay_inet(tx: &mut Transaction, shape: &Shape<'_>) {
    let links = shape.links;
    tx.add_table(INET);
    inet_sets(tx);
    for (name, base) in [
        ("raw", base(Kind::Filter, Hook::Prerouting, -300)),
        ("prerouting", base(Kind::Nat, Hook::Prerouting, -100)),
        ("output", base(Kind::Nat, Hook::Output, -100)),
        ("postrouting", base(Kind::Nat, Hook::Postrouting, 100)),
        ("forward", base(Kind::Filter, Hook::Forward, -10)),
        ("unmark", base(Kind::Filter, Hook::Forward, 10)),
        ("input", base(Kind::Filter, Hook::Input, -10)),
        ("unmark_input", base(Kind::Filter, Hook::Input, 10)),
    ] {
        tx.add_chain(INET, name, Some(base)).flush_chain(INET, name);
    }
    for name in PLAIN {
        tx.add_chain(INET, name, None).flush_chain(INET, name);
    }
    for name in links.iter().flat_map(|l| &l.admin_chains) {
        tx.add_chain(INET, name, None);
    }
    drop_localhost(tx, INET, "raw");
    nat_rules(tx);
    forward_rules(tx, links, shape.mark);
    stranger_rules(tx, shape);
    conditions::lay(tx, shape.conditions);
    if !shape.sources.is_empty() {
        sources::input_rules(tx, shape.mark);
    }
    input_rules(tx, shape.mark);
    if shape.sources.iter().any(|sources| sources.encrypted) {
        let before_all = base(Kind::Filter, Hook::Output, -10);
        tx.add_chain(INET, "overlay_output", Some(before_all)).flush_chain(INET, "overlay_output");
        sources::output_rules(tx, "overlay_output");
    }
}

const PLAIN: [&str; 11] = [
    "published",
    "conditioned",
    "into_open",
    "into_published",
    "into_internal",
    "outof_open",
    "outof_internal",
    "outof_same_bridge",
    "outof_isolated",
    "strangers",
    "in_internal",
];

fn base(kind: Kind, hook: Hook, priority: i32) -> Base {
    Base { kind, hook, priority, drop: false }
}

fn inet_sets(tx: &mut Transaction) {
    use Type::{IfName, Ipv4, Ipv6, Proto, Service, Verdict};
    for set in [
        Set::map("exact4", &[Ipv4, Proto, Service], &[Ipv4, Service]),
        Set::map("exact6", &[Ipv6, Proto, Service], &[Ipv6, Service]),
        Set::map("any4", &[Proto, Service], &[Ipv4, Service]),
        Set::map("any6", &[Proto, Service], &[Ipv6, Service]),
        Set::map("intercept4", &[IfName, Proto, Service], &[Ipv4, Service]),
        Set::map("intercept6", &[IfName, Proto, Service], &[Ipv6, Service]),
        Set::new("specific4", &[Proto, Service]),
        Set::new("specific6", &[Proto, Service]),
        Set::new("snat4", &[Ipv4]),
        Set::new("snat6", &[Ipv6]),
        Set::new("snatall4", &[Ipv4]),
        Set::new("snatall6", &[Ipv6]),
        Set::new("masq4", &[Ipv4]),
        Set::new("masq6", &[Ipv6]),
        Set::new("self", &[IfName, IfName]),
        Set::new("links", &[IfName]),
        Set::new("served", &[IfName, Proto, Service]),
        Set::new("policied", &[IfName]),
        Set::new("hostlinks", &[IfName]),
        Set::map("into", &[IfName], &[Verdict]),
        Set::map("outof", &[IfName], &[Verdict]),
        Set::map("inputs", &[IfName], &[Verdict]),
    ]
    .into_iter()
    .chain(sources::sets())
    {
        let name = set.name.clone();
        tx.add_set(INET, set).flush_set(INET, &name);
    }
}

fn rule(tx: &mut Transaction, table: Table, chain: &str, parts: Vec<Vec<Expr>>) {
    tx.add_rule(table, chain, Rule::new(parts));
}

fn same_link() -> Vec<Expr> {
    expr::match_in(&[Select::Iifname, Select::Oifname], "self")
}

fn loopback4() -> IpNet {
    Ipv4Net::new_assert([127, 0, 0, 0].into(), 8).into()
}

fn loopback6() -> IpNet {
    IpNet::from(std::net::IpAddr::from(std::net::Ipv6Addr::LOCALHOST))
}

fn multicast() -> [IpNet; 2] {
    [
        Ipv4Net::new_assert([224, 0, 0, 0].into(), 4).into(),
        Ipv6Net::new_assert([0xff00, 0, 0, 0, 0, 0, 0, 0].into(), 8).into(),
    ]
}

/// `route_localnet` on a bridge lets a container's packet to 127.0.0.1 in: not here. The table has
/// a set of the links that lead to containers.
pub(crate) fn drop_localhost(tx: &mut Transaction, table: Table, chain: &str) {
    for side in [expr::match_ip_daddr(loopback4()), expr::match_ip_saddr(loopback4())] {
        let parts = vec![expr::match_in(&[Select::Iifname], "links"), side, expr::drop_packet()];
        rule(tx, table, chain, parts);
    }
}

fn nat_rules(tx: &mut Transaction) {
    for (family, map) in [(Family::Ip, "intercept4"), (Family::Ip6, "intercept6")] {
        let by_link = [Select::Iifname, Select::L4proto, Select::Dport];
        let parts = vec![expr::match_nfproto(family), expr::dnat_map(family, &by_link, map)];
        rule(tx, INET, "prerouting", parts);
    }
    // The kernel keeps ::1 on the loopback: translated it would be lost, and netd relays it.
    let parts = vec![expr::match_ip_daddr(loopback6()), expr::verdict(cleat_nft::Verdict::Return)];
    rule(tx, INET, "output", parts);
    for chain in ["prerouting", "output"] {
        rule(tx, INET, chain, vec![expr::fib_daddr_local(), expr::jump("published")]);
    }
    rule(tx, INET, "published", vec![expr::jump("conditioned")]);
    use Select::{Dport, Ip6Daddr, Ip6Saddr, IpDaddr, IpSaddr, L4proto};
    let families = [(Family::Ip, "4", IpDaddr, IpSaddr), (Family::Ip6, "6", Ip6Daddr, Ip6Saddr)];
    for (family, digit, daddr, _) in families {
        let exact = expr::dnat_map(family, &[daddr, L4proto, Dport], &format!("exact{digit}"));
        rule(tx, INET, "published", vec![exact]);
        let any = expr::dnat_map(family, &[L4proto, Dport], &format!("any{digit}"));
        rule(tx, INET, "published", vec![expr::match_nfproto(family), any]);
    }
    for (_, digit, daddr, saddr) in families {
        let to = |set: &str| expr::match_in(&[daddr], &format!("{set}{digit}"));
        let post = "postrouting";
        if digit == "4" {
            let parts = vec![
                expr::ct_status_dnat(),
                expr::match_ip_saddr(loopback4()),
                to("snat"),
                expr::masquerade(),
            ];
            rule(tx, INET, post, parts);
        }
        let parts = vec![expr::ct_status_dnat(), same_link(), to("snat"), expr::masquerade()];
        rule(tx, INET, post, parts);
        // A container to itself, seen by br_netfilter: bridged, so without a way in.
        let from = expr::match_in(&[saddr], &format!("snat{digit}"));
        let parts = vec![expr::ct_status_dnat(), from, to("snat"), expr::masquerade()];
        rule(tx, INET, post, parts);
        rule(tx, INET, post, vec![expr::ct_status_dnat(), to("snatall"), expr::masquerade()]);
    }
    // Between containers addresses stay as they are. Asked of the way out alone: a bridged packet
    // that br_netfilter shows has no way in here.
    let inwards = expr::match_in(&[Select::Oifname], "links");
    rule(tx, INET, "postrouting", vec![inwards, expr::verdict(cleat_nft::Verdict::Return)]);
    for net in multicast() {
        let parts = vec![expr::match_ip_daddr(net), expr::verdict(cleat_nft::Verdict::Return)];
        rule(tx, INET, "postrouting", parts);
    }
    for (_, digit, _, saddr) in families {
        let from = expr::match_in(&[saddr], &format!("masq{digit}"));
        rule(tx, INET, "postrouting", vec![from, expr::masquerade()]);
    }
}

fn forward_rules(tx: &mut Transaction, links: &[LinkRules], mark: u32) {
    let pass = || vec![expr::mark_set_bit(mark), expr::verdict(cleat_nft::Verdict::Return)];
    let when = |condition: Vec<Expr>| std::iter::once(condition).chain(pass()).collect();
    let mut admin: Vec<&String> = links.iter().flat_map(|l| &l.admin_chains).collect();
    admin.sort();
    admin.dedup();
    for chain in admin {
        rule(tx, INET, "forward", vec![expr::jump(chain)]);
    }
    rule(tx, INET, "forward", vec![expr::vmap(&[Select::Oifname], "into")]);
    rule(tx, INET, "forward", vec![expr::vmap(&[Select::Iifname], "outof")]);
    rule(tx, INET, "forward", vec![expr::jump("strangers")]);
    unmark(tx, "unmark", mark);

    let established = || expr::ct_state(state::ESTABLISHED | state::RELATED);
    rule(tx, INET, "into_open", pass());
    for condition in [same_link(), established(), expr::ct_status_dnat()] {
        rule(tx, INET, "into_published", when(condition));
    }
    rule(tx, INET, "into_published", vec![expr::drop_packet()]);
    rule(tx, INET, "into_internal", when(same_link()));
    rule(tx, INET, "into_internal", vec![expr::drop_packet()]);

    rule(tx, INET, "outof_open", pass());
    rule(tx, INET, "outof_internal", when(same_link()));
    rule(tx, INET, "outof_internal", vec![expr::drop_packet()]);
    rule(tx, INET, "outof_same_bridge", when(same_link()));
    let to_policied = || vec![expr::match_in(&[Select::Oifname], "policied"), expr::drop_packet()];
    rule(tx, INET, "outof_same_bridge", to_policied());
    rule(tx, INET, "outof_same_bridge", pass());
    rule(tx, INET, "outof_isolated", to_policied());
    rule(tx, INET, "outof_isolated", pass());
}

/// The mark is ours alone between our chain and this one.
fn unmark(tx: &mut Transaction, chain: &str, mark: u32) {
    rule(tx, INET, chain, vec![expr::mark_has_bit(mark), expr::mark_clear_bit(mark)]);
}

/// The host was no router before: it does not become one between the links it had.
fn stranger_rules(tx: &mut Transaction, shape: &Shape<'_>) {
    let Some(before) = shape.before else { return };
    for (off, family) in [(before.v4_off, Family::Ip), (before.v6_off, Family::Ip6)] {
        if !off {
            continue;
        }
        let parts = vec![
            expr::match_nfproto(family),
            expr::match_in(&[Select::Iifname], "hostlinks"),
            expr::match_in(&[Select::Oifname], "hostlinks"),
            expr::mark_lacks_bit(shape.mark),
            expr::ct_state(state::NEW),
            expr::drop_packet(),
        ];
        rule(tx, INET, "strangers", parts);
    }
}

/// To containers of an internal network the host answers names, ping and neighbour discovery, and
/// on every link what it serves there.
fn input_rules(tx: &mut Transaction, mark: u32) {
    let served = || expr::match_in(&[Select::Iifname, Select::L4proto, Select::Dport], "served");
    rule(tx, INET, "input", vec![expr::vmap(&[Select::Iifname], "inputs")]);
    rule(tx, INET, "input", vec![served(), expr::mark_set_bit(mark)]);
    unmark(tx, "unmark_input", mark);
    let accept = |condition: Vec<Expr>| vec![condition, expr::verdict(cleat_nft::Verdict::Return)];
    let chain = "in_internal";
    rule(tx, INET, chain, accept(expr::ct_state(state::ESTABLISHED | state::RELATED)));
    // Led from port 53 to whoever answers names.
    rule(tx, INET, chain, accept(expr::ct_status_dnat()));
    rule(tx, INET, chain, accept(served()));
    rule(tx, INET, chain, accept(expr::match_dport(UDP, 53)));
    rule(tx, INET, chain, accept(expr::match_dport(TCP, 53)));
    rule(tx, INET, chain, accept(expr::match_l4proto(ICMP)));
    // Echo request, router solicitation to redirect (RFC 4443, RFC 4861).
    for kind in [128, 133, 134, 135, 136, 137] {
        rule(tx, INET, chain, accept(expr::match_icmp6_type(kind)));
    }
    rule(tx, INET, chain, vec![expr::drop_packet()]);
}

fn lay_bridge(tx: &mut Transaction) {
    use Type::{Ether, IfName, Ipv4, Ipv6};
    tx.add_table(BRIDGE);
    for set in [
        Set::new("ports", &[IfName]),
        Set::new("strict", &[IfName]),
        Set::new("own_mac", &[IfName, Ether]),
        Set::new("held_mac", &[Ether]),
        Set::new("own4", &[IfName, Ipv4]),
        Set::new("held4", &[Ipv4]),
        Set::new("own6", &[IfName, Ipv6]),
        Set::new("held6", &[Ipv6]),
    ] {
        let name = set.name.clone();
        tx.add_set(BRIDGE, set).flush_set(BRIDGE, &name);
    }
    let before_all = base(Kind::Filter, Hook::Prerouting, -310);
    tx.add_chain(BRIDGE, "prerouting", Some(before_all)).flush_chain(BRIDGE, "prerouting");
    for name in ["senders", "addresses"] {
        tx.add_chain(BRIDGE, name, None).flush_chain(BRIDGE, name);
    }
    let is_port = expr::match_in(&[Select::Iifname], "ports");
    rule(tx, BRIDGE, "prerouting", vec![is_port, expr::jump("senders")]);
    sender_rules(tx);
    address_rules(tx);
}

fn own(select: Select, set: &str) -> Vec<Expr> {
    expr::match_in(&[Select::Iifname, select], set)
}

/// Held by anybody on this host: `meta ibrname`, to tell bridges apart, is missing from many
/// kernels (CONFIG_NFT_BRIDGE_META), and whose own it is was looked up before.
fn held(select: Select, set: &str) -> Vec<Expr> {
    expr::match_in(&[select], set)
}

fn sender_rules(tx: &mut Transaction) {
    let to_addresses = || expr::verdict(cleat_nft::Verdict::Goto("addresses".to_owned()));
    let chain = "senders";
    rule(tx, BRIDGE, chain, vec![own(Select::EtherSaddr, "own_mac"), to_addresses()]);
    let is_strict = expr::match_in(&[Select::Iifname], "strict");
    rule(tx, BRIDGE, chain, vec![is_strict, expr::drop_packet()]);
    rule(tx, BRIDGE, chain, vec![held(Select::EtherSaddr, "held_mac"), expr::drop_packet()]);
    rule(tx, BRIDGE, chain, vec![to_addresses()]);
}

fn address_rules(tx: &mut Transaction) {
    const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    let chain = "addresses";
    let ok = || expr::verdict(cleat_nft::Verdict::Return);
    let strict = || expr::match_in(&[Select::Iifname], "strict");
    let any4: IpNet = Ipv4Net::new_assert([0, 0, 0, 0].into(), 32).into();
    let any6: IpNet = Ipv6Net::new_assert([0; 8].into(), 128).into();
    let link_local: IpNet = Ipv6Net::new_assert([0xfe80, 0, 0, 0, 0, 0, 0, 0].into(), 10).into();
    // An advertisement speaks for its target, whatever its source.
    let advert = || expr::match_icmp6_type(NEIGHBOUR_ADVERTISEMENT);
    let not_own = expr::match_not_in(&[Select::Iifname, Select::NdTarget], "own6");
    let held_target = held(Select::NdTarget, "held6");
    rule(tx, BRIDGE, chain, vec![advert(), not_own, held_target, expr::drop_packet()]);
    for (select, digit) in
        [(Select::IpSaddr, "4"), (Select::ArpSaddr, "4"), (Select::Ip6Saddr, "6")]
    {
        rule(tx, BRIDGE, chain, vec![own(select, &format!("own{digit}")), ok()]);
        rule(tx, BRIDGE, chain, vec![held(select, &format!("held{digit}")), expr::drop_packet()]);
    }
    // Probes, DHCP, duplicate address detection, neighbour discovery.
    rule(tx, BRIDGE, chain, vec![expr::match_ip_saddr(any4), ok()]);
    rule(tx, BRIDGE, chain, vec![expr::eq(Select::ArpSaddr, &[0; 4]), ok()]);
    rule(tx, BRIDGE, chain, vec![expr::match_ip_saddr(any6), ok()]);
    rule(tx, BRIDGE, chain, vec![expr::match_ip_saddr(link_local), ok()]);
    for ethertype in [0x0800, 0x0806, 0x86dd] {
        rule(
            tx,
            BRIDGE,
            chain,
            vec![strict(), expr::match_ether_type(ethertype), expr::drop_packet()],
        );
    }
}
