//! What the rules do to packets, and what the kernel allows whom.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};

use cleat_nft::expr::{dnat_map, match_dport, reject, verdict, vmap};
use cleat_nft::{
    Backend, Base, Element, Family, Hook, Key, Kind, Netlink, Reject, Rule, Select, Set, Table,
    Transaction, Type, Verdict,
};
use rustix::thread::{CapabilitySet, CapabilitySets};

const T: Table = Table::new(Family::Inet, "x");

#[test]
fn a_connection_follows_the_map_in_both_families() {
    support::enter_fresh_netns();
    support::run("ip", &["link", "set", "lo", "up"]);
    let mut t = Transaction::new();
    t.add_table(T);
    let out = Base { kind: Kind::Nat, hook: Hook::Output, priority: -100, drop: false };
    t.add_chain(T, "out", Some(out));
    let cases = [
        (Family::Ip, Type::Ipv4, Select::IpDaddr, "127.0.0.1:80"),
        (Family::Ip6, Type::Ipv6, Select::Ip6Daddr, "[::1]:80"),
    ];
    let mut listeners = Vec::new();
    for (family, kind, daddr, from) in cases {
        let from: SocketAddr = from.parse().unwrap();
        let listener = TcpListener::bind(SocketAddr::new(from.ip(), 0)).unwrap();
        let to = listener.local_addr().unwrap();
        let key = [kind, Type::Proto, Type::Service];
        t.add_set(T, Set::map(family.name(), &key, &[kind, Type::Service]));
        let selects = [daddr, Select::L4proto, Select::Dport];
        t.add_rule(T, "out", Rule::new([dnat_map(family, &selects, family.name())]));
        let key = Key::new().ip(from.ip()).proto(6).port(from.port());
        let one = Element::map(key, Key::new().ip(to.ip()).port(to.port()));
        t.add_elements(T, family.name(), vec![one]);
        listeners.push((from, listener));
    }
    for (from, _) in &listeners {
        assert!(TcpStream::connect(from).is_err());
    }
    Netlink::open().commit(&t).unwrap();
    for (from, listener) in &listeners {
        let stream = TcpStream::connect(from).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(stream.local_addr().unwrap(), peer);
    }
}

#[test]
fn a_verdict_map_decides() {
    support::enter_fresh_netns();
    support::run("ip", &["link", "set", "lo", "up"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let mut t = Transaction::new();
    let input = Base { kind: Kind::Filter, hook: Hook::Input, priority: 0, drop: false };
    t.add_table(T).add_chain(T, "in", Some(input)).add_chain(T, "no", None);
    t.add_rule(T, "no", Rule::new([match_dport(6, to.port()), reject(Reject::PortUnreachable)]));
    t.add_rule(T, "no", Rule::new([verdict(Verdict::Return)]));
    t.add_set(T, Set::map("v", &[Type::IfName], &[Type::Verdict]));
    t.add_rule(T, "in", Rule::new([vmap(&[Select::Iifname], "v")]));
    let mut nft = Netlink::open();
    nft.commit(&t).unwrap();
    TcpStream::connect(to).unwrap();
    let lo = Element::verdict(Key::new().ifname("lo"), Verdict::Jump("no".to_owned()));
    let mut t = Transaction::new();
    t.add_elements(T, "v", vec![lo]);
    nft.commit(&t).unwrap();
    assert!(TcpStream::connect(to).is_err());
}

#[test]
fn without_the_capability_the_error_says_so() {
    support::enter_fresh_netns();
    let mut nft = Netlink::open();
    nft.socket().unwrap();
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).unwrap();
    let mut t = Transaction::new();
    t.add_table(T);
    let error = nft.commit(&t).unwrap_err();
    assert!(error.is_permission());
    assert_eq!(error.to_string(), "commit nf_tables transaction: Operation not permitted");
}

#[test]
fn an_owned_table_is_closed_to_others_and_goes_with_its_socket() {
    support::enter_fresh_netns();
    let (mut owner, mut other) = (Netlink::open(), Netlink::open());
    let mut t = Transaction::new();
    t.add_owned_table(T);
    owner.commit(&t).unwrap();
    let mut change = Transaction::new();
    change.add_chain(T, "c", None);
    assert!(other.commit(&change).unwrap_err().is_permission());
    support::run("nft", &["flush", "ruleset"]);
    owner.commit(&change).unwrap();
    drop(owner.into_socket());
    assert!(!other.table_exists(T).unwrap());
}
