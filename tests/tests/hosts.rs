//! Hosts that were there before: their routes by router advertisement, their firewalls, their
//! loopback and their other networks stay as they were; and containers stay what they claim to be.

use std::net::IpAddr;

use cleat_tests::{Chain, Lab, Namespace, Transport, ranges};
use serde_json::{Value, json};

fn chain<'l>(lab: &'l Lab, extra: Value) -> Chain<'l> {
    let mut bridge = json!({"type": "bridge", "bridge": "br0", "isDefaultGateway": true,
        "ipMasq": true, "hairpinMode": true, "ipam": ranges(&["10.88.0.0/24", "fd00:88::/64"])});
    for (key, value) in extra.as_object().unwrap() {
        bridge[key] = value.clone();
    }
    lab.chain(json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
        bridge, {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "firewall"}]}))
        .capabilities(json!({"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
            {"hostPort": 8080, "containerPort": 80, "protocol": "udp"}]}))
}

#[test]
fn a_route_by_router_advertisement_stays() {
    let lab = Lab::new();
    if lab.is_reference() {
        // Forwarding makes its host deaf to routers.
        return;
    }
    assert_eq!(lab.host.sysctl("net/ipv6/conf/eth0/accept_ra").unwrap(), "1");
    let container = lab.container();
    chain(&lab, json!({})).attach(&container);
    assert_eq!(lab.host.sysctl("net/ipv6/conf/all/forwarding").unwrap(), "1");
    assert_eq!(lab.host.sysctl("net/ipv6/conf/eth0/accept_ra").unwrap(), "2");
    assert_eq!(lab.host.routes("-6", "default").len(), 1);
}

/// What `ufw enable` comes to.
const UFW: &str = "for t in iptables ip6tables; do \
    $t -P INPUT DROP; $t -P FORWARD DROP; \
    $t -N ufw-user-input; $t -A INPUT -i lo -j ACCEPT; \
    $t -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; \
    $t -A INPUT -j ufw-user-input; $t -A ufw-user-input -p tcp --dport 22 -j ACCEPT; \
    $t -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; done; \
    ip6tables -A INPUT -p ipv6-icmp -j ACCEPT";

#[test]
fn a_host_with_an_iptables_firewall() {
    let lab = Lab::new();
    if lab.is_reference() {
        // It leaves published ports to the host's administrator.
        return;
    }
    lab.host.sh(UFW);
    let rules = lab.host.sh("iptables -S; ip6tables -S");
    let chain = chain(&lab, json!({}));
    let container = lab.container();
    let attached = chain.attach(&container);
    let _server = container.ns.serve(80);
    let _lan = lab.lan.serve(9000);
    for by in [Transport::Tcp, Transport::Udp] {
        container.ns.ask(by, "192.0.2.2:9000").unwrap_or_else(|e| panic!("{by:?} out: {e}"));
        container.ns.ask(by, "[2001:db8::2]:9000").unwrap_or_else(|e| panic!("{by:?} out: {e}"));
        lab.lan.ask(by, "192.0.2.1:8080").unwrap_or_else(|e| panic!("{by:?} in: {e}"));
        lab.lan.ask(by, "[2001:db8::1]:8080").unwrap_or_else(|e| panic!("{by:?} in: {e}"));
    }
    let _secret = lab.host.serve(7000);
    lab.lan.ask(Transport::Tcp, "192.0.2.1:7000").unwrap_err();
    // The administrator's tools still read and write the tables.
    for line in rules.lines() {
        assert!(lab.host.sh("iptables -S; ip6tables -S").contains(line), "{line}");
    }
    lab.host.sh("iptables -A FORWARD -s 10.77.0.0/24 -j DROP");
    lab.host.sh("iptables -D FORWARD -s 10.77.0.0/24 -j DROP");
    chain.detach(&container, &attached);
}

/// A station behind the host that is no container.
fn stranger(lab: &Lab) -> Namespace {
    let stranger = Namespace::create("other");
    lab.host.ip(&format!("link add other type veth peer name eth0 netns {}", stranger.name()));
    lab.host.ip("addr add 10.99.0.1/24 dev other");
    lab.host.ip("link set other up");
    stranger.ip("addr add 10.99.0.2/24 dev eth0");
    stranger.ip("link set eth0 up");
    stranger.ip("link set lo up");
    stranger.ip("route add default via 10.99.0.1");
    lab.route_from_lan("10.99.0.0/24");
    stranger
}

#[test]
fn forwarding_is_switched_on_for_containers_alone() {
    let lab = Lab::new();
    let stranger = stranger(&lab);
    assert!(stranger.ping("10.99.0.1"));
    assert!(!stranger.ping(Lab::LAN[0]));
    let container = lab.container();
    chain(&lab, json!({})).attach(&container);
    assert!(container.ns.ping(Lab::LAN[0]));
    if lab.is_reference() {
        return;
    }
    assert!(!stranger.ping(Lab::LAN[0]), "a host that was no router has become none");
    assert!(!lab.lan.ping("10.99.0.2"));
}

#[test]
fn a_router_stays_one() {
    let lab = Lab::new();
    lab.host.set_sysctl("net/ipv4/ip_forward", "1");
    let stranger = stranger(&lab);
    assert!(stranger.ping(Lab::LAN[0]));
    let chain = chain(&lab, json!({}));
    let container = lab.container();
    let attached = chain.attach(&container);
    assert!(stranger.ping(Lab::LAN[0]));
    chain.detach(&container, &attached);
    assert!(stranger.ping(Lab::LAN[0]));
}

#[test]
fn a_container_cannot_use_anothers_address() {
    let lab = Lab::new();
    if lab.is_reference() {
        // Only with macspoofchk, and for link addresses.
        return;
    }
    lab.route_from_lan("10.88.0.0/24");
    lab.route_from_lan("fd00:88::/64");
    let chain = chain(&lab, json!({"ipMasq": false}));
    let plain = chain.clone().capabilities(json!({}));
    let (thief, owner) = (lab.container(), lab.container());
    plain.attach(&thief);
    let attached = plain.attach(&owner);
    let server = lab.lan.serve(9000);
    // It knows the gateway: its questions for it would carry the stolen address, and be dropped.
    assert!(thief.ns.ping("10.88.0.1") && thief.ns.ping("fd00:88::1"));
    thief.ns.ip(&format!("addr add {}/32 dev eth0", attached.v4()));
    thief.ns.ip(&format!("addr add {}/128 dev eth0 nodad", attached.v6()));
    thief.ns.ip("addr add 10.88.0.200/32 dev eth0");
    thief.ns.ask_as(&attached.v4(), "192.0.2.2:9000").unwrap();
    thief.ns.ask_as(&attached.v6(), "[2001:db8::2]:9000").unwrap();
    // An address that nobody holds is allowed, and shows that the rest had time to arrive.
    thief.ns.ask_as("10.88.0.200", "192.0.2.2:9000").unwrap();
    owner.ns.ask(Transport::Udp, "192.0.2.2:9000").unwrap();
    let askers = server.askers();
    let count = |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        askers.iter().filter(|asker| **asker == address).count()
    };
    assert_eq!(count(&attached.v4()), 1, "the owner's own: {askers:?}");
    assert_eq!(count(&attached.v6()), 0, "{askers:?}");
    assert_eq!(count("10.88.0.200"), 1, "{askers:?}");
}

#[test]
fn a_container_cannot_use_anothers_link_address() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let chain = chain(&lab, json!({})).capabilities(json!({}));
    let (thief, owner) = (lab.container(), lab.container());
    chain.attach(&thief);
    let attached = chain.attach(&owner);
    assert!(thief.ns.ping("10.88.0.1") && owner.ns.ping("10.88.0.1"));
    let mac = attached.result["interfaces"][2]["mac"].as_str().unwrap();
    thief.ns.ip(&format!("link set eth0 address {mac}"));
    assert!(!thief.ns.ping("10.88.0.1"), "its frames are dropped");
    assert!(owner.ns.ping("10.88.0.1"), "the owner's are not drawn away");
}

#[test]
fn strict_checking_allows_ones_own_only() {
    for extra in [json!({"macspoofchk": true}), json!({"antiSpoof": "strict"})] {
        let lab = Lab::new();
        if lab.is_reference() {
            return;
        }
        let before = chain(&lab, extra.clone()).used();
        let chain = chain(&lab, extra).capabilities(json!({}));
        let container = lab.container();
        let attached = chain.attach(&container);
        assert!(container.ns.ping("10.88.0.1"));
        container.ns.ip("link set eth0 address 02:00:00:00:00:99");
        assert!(!container.ns.ping("10.88.0.1"));
        chain.detach(&container, &attached);
        lab.assert_as_before(&before);
    }
}
