//! What is made here, as `nft` lists it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use cleat_nft::expr;
use cleat_nft::{
    Backend, Base, Element, Expr, Family, Hook, Key, Kind, Netlink, Rule, Set, Table, Transaction,
    Type, Verdict,
};

const INET: Table = Table::new(Family::Inet, "x");
const BRIDGE: Table = Table::new(Family::Bridge, "x");

fn base(kind: Kind, hook: Hook, priority: i32) -> Option<Base> {
    Some(Base { kind, hook, priority, drop: false })
}

fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

/// Puts each rule into the chain and compares the listing.
fn assert_listed(table: Table, chain: Option<Base>, cases: Vec<(Vec<Vec<Expr>>, &str)>) {
    let mut nft = Netlink::open();
    let mut t = Transaction::new();
    t.add_table(table).add_chain(table, "c", chain).add_chain(table, "other", None);
    t.add_set(table, Set::new("names", &[Type::IfName]));
    t.add_set(table, Set::new("pairs", &[Type::IfName, Type::Ether, Type::Ipv4]));
    t.add_set(table, Set::new("segments", &[Type::Service, Type::Mark]));
    t.add_elements(table, "segments", vec![Element::new(Key::new().port(4789).vni(4100))]);
    t.add_set(table, Set::map("v", &[Type::IfName], &[Type::Verdict]));
    let (rules, want): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    for rule in rules {
        t.add_rule(table, "c", Rule::new(rule));
    }
    nft.commit(&t).unwrap();
    let got = support::rules(&format!("{} {}", table.family, table.name), "c");
    assert_eq!(got, want);
}

#[test]
fn filter_rules_read_as_meant() {
    support::enter_fresh_netns();
    use expr::*;
    assert_listed(
        INET,
        base(Kind::Filter, Hook::Forward, -5),
        vec![
            (vec![match_iifname("eth0"), accept()], "iifname \"eth0\" accept"),
            (
                vec![match_iifname_not("lo"), match_ip_daddr(net("127.0.0.0/8")), drop_packet()],
                "iifname != \"lo\" ip daddr 127.0.0.0/8 drop",
            ),
            (
                vec![match_ip_saddr(net("10.1.2.3/32")), match_ip_daddr_not(net("10.1.0.0/21"))],
                "ip saddr 10.1.2.3 ip daddr != 10.1.0.0/21",
            ),
            (
                vec![
                    match_ip_saddr(net("fd00::/64")),
                    match_oifname_not("br0"),
                    mark_clear_bit(0x1000),
                ],
                "ip6 saddr fd00::/64 oifname != \"br0\" meta mark set meta mark & 0xffffefff",
            ),
            (vec![mark_set_bit(0x1000)], "meta mark set meta mark | 0x00001000"),
            (vec![mark_has_bit(0x1000), accept()], "meta mark & 0x00001000 == 0x00001000 accept"),
            (vec![mark_lacks_bit(0x1000), accept()], "meta mark & 0x00001000 == 0x00000000 accept"),
            (
                vec![ct_state(state::ESTABLISHED | state::RELATED), accept()],
                "ct state established,related accept",
            ),
            (
                vec![ct_status_dnat(), counter(), accept()],
                "ct status dnat counter packets 0 bytes 0 accept",
            ),
            (vec![ct_direction(true), accept()], "ct direction reply accept"),
            (vec![match_dport(6, 80), jump("other")], "tcp dport 80 jump other"),
            (
                vec![match_sport(17, 53), verdict(Verdict::Goto("other".into()))],
                "udp sport 53 goto other",
            ),
            (
                vec![match_icmp6_type(135), verdict(Verdict::Return)],
                "icmpv6 type nd-neighbor-solicit return",
            ),
            (
                vec![match_nfproto(Family::Ip6), reject(Reject::AdminProhibited)],
                "meta nfproto ipv6 reject with icmpx admin-prohibited",
            ),
            (vec![reject(Reject::PortUnreachable)], "reject"),
            (vec![match_in(&[Select::Iifname], "names"), accept()], "iifname @names accept"),
            (vec![match_not_in(&[Select::Oifname], "names"), accept()], "oifname != @names accept"),
            (vec![vmap(&[Select::Oifname], "v")], "oifname vmap @v"),
            (vec![ne(Select::Iifname, b"clwg"), drop_packet()], "iifname != \"clwg*\" drop"),
            (
                vec![match_l4proto(17), match_in(&[Select::Dport, Select::Vni], "segments")],
                "udp dport . @th,96,32 @segments",
            ),
        ],
    );
}

#[test]
fn bridge_rules_read_as_meant() {
    support::enter_fresh_netns();
    use expr::*;
    assert_listed(
        BRIDGE,
        base(Kind::Filter, Hook::Prerouting, -310),
        vec![
            (vec![match_ip_saddr(net("10.0.0.0/8")), drop_packet()], "ip saddr 10.0.0.0/8 drop"),
            (vec![match_ether_type(0x0806), accept()], "ether type arp accept"),
            (
                vec![
                    match_not_in(&[Select::Iifname, Select::EtherSaddr, Select::IpSaddr], "pairs"),
                    drop_packet(),
                ],
                "iifname . ether saddr . ip saddr != @pairs drop",
            ),
            (
                vec![
                    match_not_in(&[Select::Iifname, Select::ArpSmac, Select::ArpSaddr], "pairs"),
                    drop_packet(),
                ],
                "iifname . arp saddr ether . arp saddr ip != @pairs drop",
            ),
            (
                vec![match_icmp6_type(136), eq(Select::NdTarget, &[0xfd; 16]), drop_packet()],
                "icmpv6 type nd-neighbor-advert @th,64,128 0xfdfdfdfdfdfdfdfdfdfdfdfdfdfdfdfd drop",
            ),
            (vec![vmap(&[Select::Iifname], "v")], "iifname vmap @v"),
        ],
    );
}

#[test]
fn nat_rules_read_as_meant() {
    support::enter_fresh_netns();
    use expr::*;
    assert_listed(
        INET,
        base(Kind::Nat, Hook::Postrouting, 100),
        vec![
            (vec![masquerade()], "masquerade"),
            (vec![masquerade_random()], "masquerade random,fully-random"),
            (vec![snat([10, 0, 0, 1].into(), None)], "snat ip to 10.0.0.1"),
            (vec![snat("fd00::1".parse().unwrap(), Some(9))], "snat ip6 to [fd00::1]:9"),
        ],
    );
}

#[test]
fn a_published_port_is_a_map_element() {
    support::enter_fresh_netns();
    use expr::*;
    let key = [Type::Ipv4, Type::Proto, Type::Service];
    let mut t = Transaction::new();
    t.add_table(INET);
    t.add_chain(INET, "pre", base(Kind::Nat, Hook::Prerouting, -100));
    let mut set = Set::map("exact4", &key, &[Type::Ipv4, Type::Service]);
    set.comment = Some("published ports".to_owned());
    t.add_set(INET, set);
    t.add_set(INET, Set::map("any6", &key[1..], &[Type::Ipv6, Type::Service]));
    let to = [Select::IpDaddr, Select::L4proto, Select::Dport];
    let rule = Rule::new([fib_daddr_local(), dnat_map(Family::Ip, &to, "exact4")]);
    t.add_rule(INET, "pre", rule.comment("to containers"));
    let rule = Rule::new([match_nfproto(Family::Ip6), dnat_map(Family::Ip6, &to[1..], "any6")]);
    t.add_rule(INET, "pre", rule);
    t.add_rule(
        INET,
        "pre",
        Rule::new([match_dport(17, 53), dnat([10, 0, 0, 9].into(), Some(5353))]),
    );
    t.add_rule(INET, "pre", Rule::new([match_dport(6, 53), redirect(Some(5353))]));
    let port = Element::map(
        Key::new().ip([192, 0, 2, 1].into()).proto(6).port(8080),
        Key::new().ip([10, 1, 0, 2].into()).port(80),
    );
    t.add_elements(INET, "exact4", vec![port.comment("web/eth0")]);
    Netlink::open().commit(&t).unwrap();
    let want = r#"table inet x {
	map exact4 {
		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
		comment "published ports"
		elements = { 192.0.2.1 . tcp . 8080 comment "web/eth0" : 10.1.0.2 . 80 }
	}

	map any6 {
		type inet_proto . inet_service : ipv6_addr . inet_service
	}

	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @exact4 comment "to containers"
		meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @any6
		udp dport 53 dnat ip to 10.0.0.9:5353
		tcp dport 53 redirect to :5353
	}
}
"#;
    assert_eq!(support::run("nft", &["list", "table", "inet", "x"]), want);
}

#[test]
fn elements_of_every_type_list_in_their_own_notation() {
    support::enter_fresh_netns();
    let mut t = Transaction::new();
    t.add_table(INET).add_chain(INET, "other", None);
    let cases = [
        (Type::Ipv4, Key::new().ip([10, 0, 0, 1].into()), "10.0.0.1"),
        (Type::Ipv6, Key::new().ip("fd00::1".parse().unwrap()), "fd00::1"),
        (Type::Ether, Key::new().mac([2, 0, 0, 0, 0, 1]), "02:00:00:00:00:01"),
        (Type::Proto, Key::new().proto(17), "udp"),
        (Type::Service, Key::new().port(53), "53"),
        (Type::Mark, Key::new().mark(0x1000), "0x00001000"),
        (Type::IfName, Key::new().ifname("eth0"), "\"eth0\""),
    ];
    for (kind, key, _) in &cases {
        let name = format!("of_{}", kind.name());
        t.add_set(INET, Set::new(name.as_str(), &[*kind]));
        t.add_elements(INET, &name, vec![Element::new(key.clone())]);
    }
    t.add_set(INET, Set::map("v", &[Type::Mark], &[Type::Verdict]));
    t.add_elements(
        INET,
        "v",
        vec![Element::verdict(Key::new().mark(7), Verdict::Jump("other".to_owned()))],
    );
    let mut nft = Netlink::open();
    nft.commit(&t).unwrap();
    for (kind, key, text) in cases {
        let name = format!("of_{}", kind.name());
        let listed = support::run("nft", &["list", "set", "inet", "x", &name]);
        assert!(listed.contains(&format!("elements = {{ {text} }}")), "{listed}");
        assert_eq!(nft.elements(INET, &name).unwrap(), [Element::new(key)]);
    }
    let listed = support::run("nft", &["list", "map", "inet", "x", "v"]);
    assert!(listed.contains("elements = { 0x00000007 : jump other }"), "{listed}");
}
