//! An overlay network's devices and entries on hosts that are namespaces, on a LAN that is one:
//! what containers reach over them, and what comes back after something was lost. Needs root.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

#[path = "overlay/lab.rs"]
mod lab;

use cleat_engine::overlay::Segment;
use lab::{Container, Hosts, WITH_V4, WITH_V6};

fn reach_each_other(hosts: &Hosts, one: &Container, other: &Container) {
    for (from, to) in [(one, other), (other, one)] {
        for address in &to.addresses {
            assert!(from.reaches(address), "{} to {address}\n{}", from.addresses[0], hosts.show());
        }
    }
}

#[test]
fn containers_reach_those_of_other_hosts_by_either_underlay() {
    for underlay in [WITH_V4, WITH_V6] {
        let hosts = Hosts::new(3, underlay);
        let applied = hosts.apply_all();
        assert!(applied.iter().all(|a| a.made && a.refused.is_empty()), "{applied:?}");
        let containers: Vec<Container> = (0..3).map(|n| hosts.container(n, 5)).collect();
        reach_each_other(&hosts, &containers[0], &containers[1]);
        reach_each_other(&hosts, &containers[1], &containers[2]);
        // In one piece and of full size: the MTU is the LAN's less the headers.
        let mtu = if underlay == WITH_V4 { 1450 } else { 1430 };
        assert_eq!(containers[0].mtu(), mtu);
        assert!(containers[0].reaches_in_one_piece(&containers[1].addresses[0], mtu));
        // The host itself reaches them as well.
        assert!(hosts.of(0).ns.ping(&containers[1].addresses[0]), "{}", hosts.show());
        let again = hosts.apply_all();
        assert!(again.iter().all(|a| a.nothing()), "{again:?}");
    }
}

#[test]
fn the_sender_is_seen_as_it_is_and_the_outside_sees_the_host() {
    let hosts = Hosts::new(2, WITH_V4);
    hosts.apply_all();
    let (one, other) = (hosts.container(0, 5), hosts.container(1, 5));
    let serving = other.ns.serve(7000);
    assert!(one.asks(&other.addresses[0], 7000));
    let outside = hosts.lan.serve(7001);
    assert!(one.asks("192.0.2.250", 7001));
    assert_eq!(serving.askers(), [one.addresses[0].parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(outside.askers(), ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn what_no_host_has_does_not_leave_for_the_default_gateway() {
    let hosts = Hosts::new(2, WITH_V4);
    hosts.of(0).ns.ip("route add default via 192.0.2.250");
    hosts.of(0).ns.ip("-6 route add default via 2001:db8::fa");
    hosts.apply_all();
    let one = hosts.container(0, 5);
    for address in ["10.77.9.5", "fd77:0:0:9::5"] {
        assert!(!one.reaches(address));
        let route = hosts.of(0).try_sh(&format!("ip route get {address}"));
        assert!(!route.contains("eth0"), "{route}");
    }
}

#[test]
fn whatever_is_lost_is_back_with_the_next_look() {
    let hosts = Hosts::new(2, WITH_V4);
    hosts.apply_all();
    let (one, other) = (hosts.container(0, 5), hosts.container(1, 5));
    reach_each_other(&hosts, &one, &other);
    let (vxlan, bridge) = (hosts.vxlan(), hosts.bridge());
    let host = hosts.of(0);
    let peer_mac = hosts.mac(1);
    for damage in [
        format!("ip link set {vxlan} down; ip link set {vxlan} up"),
        format!("ip link set {vxlan} down"),
        format!("ip link set {vxlan} address 02:00:00:00:00:99"),
        format!("ip neigh flush dev {vxlan} nud permanent"),
        format!("bridge fdb del {peer_mac} dev {vxlan}"),
        format!("bridge fdb replace {peer_mac} dev {vxlan} dst 192.0.2.77 self permanent"),
        format!("ip route flush dev {vxlan} proto 88"),
        format!("ip -6 route flush dev {vxlan} proto 88"),
        format!("ip addr flush dev {vxlan}"),
        format!("ip link del {vxlan}"),
        format!("ip link set {vxlan} type vxlan local 192.0.2.99"),
        format!("ip link set {vxlan} mtu 1300"),
        format!("ip link set {bridge} mtu 1300"),
        format!("ip addr del 10.77.1.1/24 dev {bridge}"),
        "ip route del blackhole 10.77.0.0/16 metric 66536".to_owned(),
        "nft flush ruleset".to_owned(),
    ] {
        host.ns.sh(&damage);
        if damage.starts_with("nft") {
            host.rebuild_rules();
        }
        let applied = hosts.apply(0);
        assert!(applied.refused.is_empty(), "{damage}: {applied:?}");
        reach_each_other(&hosts, &one, &other);
        let again = hosts.apply(0);
        assert!(again.nothing(), "{damage}: {again:?}");
    }
}

#[test]
fn the_underlays_link_may_go_and_come() {
    let hosts = Hosts::new(2, WITH_V4);
    hosts.apply_all();
    let (one, other) = (hosts.container(0, 5), hosts.container(1, 5));
    hosts.unplug(0);
    assert!(!one.reaches(&other.addresses[0]));
    assert!(hosts.try_apply(0).unwrap_err().contains("192.0.2.1"));
    hosts.plug(0, "192.0.2.1");
    let applied = hosts.apply(0);
    assert!(!applied.made, "the device outlives the link: {applied:?}");
    reach_each_other(&hosts, &one, &other);
}

#[test]
fn a_host_may_get_another_address() {
    let mut hosts = Hosts::new(3, WITH_V4);
    hosts.apply_all();
    let containers: Vec<Container> = (0..3).map(|n| hosts.container(n, 5)).collect();
    reach_each_other(&hosts, &containers[0], &containers[1]);
    // The new one stays when the old one goes.
    hosts.of(0).ns.set_sysctl("net/ipv4/conf/eth0/promote_secondaries", "1");
    hosts.of(0).ns.ip("addr add 192.0.2.101/24 dev eth0");
    hosts.set_outer(0, "192.0.2.101");
    let applied = hosts.apply(1);
    assert_eq!((applied.added, applied.moved, applied.removed), (0, 1, 0), "{applied:?}");
    hosts.apply(2);
    hosts.apply(0);
    reach_each_other(&hosts, &containers[0], &containers[1]);
    hosts.of(0).ns.ip("addr del 192.0.2.1/24 dev eth0");
    reach_each_other(&hosts, &containers[0], &containers[2]);
}

#[test]
fn a_host_that_is_another_one_now_is_found_at_once() {
    let mut hosts = Hosts::new(2, WITH_V4);
    hosts.apply_all();
    let one = hosts.container(0, 5);
    hosts.set_id(1, "reinstalled");
    let applied = hosts.apply_all();
    assert_eq!((applied[0].added, applied[0].moved, applied[0].removed), (2, 2, 2), "{applied:?}");
    let other = hosts.container(1, 5);
    reach_each_other(&hosts, &one, &other);
}

#[test]
fn the_mtu_is_what_the_way_to_all_peers_carries() {
    let hosts = Hosts::new(3, WITH_V4);
    assert_eq!(hosts.apply(0).mtu, 1450);
    hosts.of(0).ns.ip("link set eth0 mtu 1400");
    assert_eq!(hosts.apply(0).mtu, 1350);
    for link in [hosts.vxlan(), hosts.bridge()] {
        assert_eq!(hosts.of(0).ns.link(&link).unwrap()["mtu"], 1350);
    }
    hosts.of(0).ns.ip("link set eth0 mtu 9000");
    assert_eq!(hosts.apply(0).mtu, 8950);
    // One peer behind a narrower route is enough.
    hosts.of(0).ns.ip("route add 192.0.2.3/32 dev eth0 mtu 1340");
    assert_eq!(hosts.apply(0).mtu, 1290);
    let error = hosts.apply_with(0, |segment| segment.network.mtu = Some(1300)).unwrap_err();
    assert!(error.contains("1300") && error.contains("largest possible is 1290"), "{error}");
    assert_eq!(hosts.apply_with(0, |s| s.network.mtu = Some(1285)).unwrap().mtu, 1285);
    let alone = hosts.apply_with(0, |segment| segment.peers.clear()).unwrap();
    assert_eq!(alone.mtu, 8950);
}

#[test]
fn what_is_somebody_elses_is_named_and_left_alone() {
    let hosts = Hosts::new(2, WITH_V4);
    let (host, vxlan) = (hosts.of(0), hosts.vxlan());
    host.ns.ip(&format!("link add {vxlan} type veth peer name theirs"));
    let error = hosts.try_apply(0).unwrap_err();
    assert!(error.contains(&vxlan) && error.contains("veth"), "{error}");
    assert_eq!(host.ns.link(&vxlan).unwrap()["linkinfo"]["info_kind"], "veth");
    host.ns.ip(&format!("link del {vxlan}"));

    host.ns.ip("link add theirs type vxlan id 4100 dstport 4789 local 192.0.2.1");
    let error = hosts.try_apply(0).unwrap_err();
    assert!(error.contains("theirs") && error.contains("4100"), "{error}");
    host.ns.ip("link del theirs");

    host.ns.ip("link add theirs type vxlan external dstport 4789");
    host.ns.ip("link set theirs up");
    let error = hosts.try_apply(0).unwrap_err();
    assert!(error.contains("UDP port 4789"), "{error}");
    host.ns.ip("link del theirs");
    assert!(hosts.apply(0).refused.is_empty());
}

#[test]
fn another_vni_or_port_makes_the_device_anew() {
    let hosts = Hosts::new(2, WITH_V4);
    hosts.apply_all();
    let port = |n: usize| {
        let applied = hosts.apply_with(n, |s| (s.network.port, s.network.vni) = (4999, 5000));
        applied.unwrap()
    };
    assert!(port(0).made && port(1).made);
    let (one, other) = (hosts.container(0, 5), hosts.container(1, 5));
    reach_each_other(&hosts, &one, &other);
}

#[test]
fn nothing_is_removed_for_want_of_knowledge() {
    let hosts = Hosts::new(3, WITH_V4);
    hosts.apply_all();
    let partial = |complete: bool| {
        let applied = hosts.apply_with(0, |segment| {
            segment.peers.retain(|peer| peer.outer.to_string() != "192.0.2.3");
            segment.complete = complete;
        });
        applied.unwrap()
    };
    assert!(partial(false).nothing());
    // A route, a neighbour entry for each family's block, and one forwarding entry.
    assert_eq!(partial(true).removed, 5);
    let shown = hosts.of(0).ns.sh(&format!("bridge fdb show dev {}", hosts.vxlan()));
    assert!(!shown.contains("192.0.2.3") && shown.contains("192.0.2.2"), "{shown}");
}

#[test]
fn a_single_address_is_reached_wherever_its_container_is() {
    let mut hosts = Hosts::new(2, WITH_V4);
    // One of nobody's block, and one out of the first host's.
    let (named, granted) = (["10.77.0.9", "fd77::9"], ["10.77.1.77", "fd77:0:0:1::77"]);
    hosts.set_statics(1, &[named, granted].concat());
    hosts.apply_all();
    let one = hosts.container(0, 5);
    let beside = hosts.container(1, 5);
    for (owner, addresses) in [named, granted].into_iter().enumerate() {
        let single = hosts.single(1, &format!("s{owner}"), &addresses);
        reach_each_other(&hosts, &one, &single);
        reach_each_other(&hosts, &beside, &single);
    }
    let again = hosts.apply_all();
    assert!(again.iter().all(|a| a.nothing()), "{again:?}");
}

/// Packets that came out of a VXLAN device.
fn received(host: &lab::Host, device: &str) -> u64 {
    let link = host.ns.ip_json(&format!("-s link show dev {device}"));
    link[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
}

#[test]
fn only_peers_are_heard() {
    let hosts = Hosts::new(3, WITH_V4);
    let strange = |segment: &mut Segment| {
        segment.peers.retain(|peer| peer.outer.to_string() != "192.0.2.3");
    };
    hosts.apply_with(0, strange).unwrap();
    hosts.apply(1);
    hosts.apply(2);
    let (one, other, stranger) =
        (hosts.container(0, 5), hosts.container(1, 5), hosts.container(2, 5));
    reach_each_other(&hosts, &one, &other);
    let before = received(hosts.of(0), &hosts.vxlan());
    assert!(!stranger.reaches(&one.addresses[0]));
    assert_eq!(received(hosts.of(0), &hosts.vxlan()), before, "{}", hosts.rules(0));
    let listed = hosts.of(0).ns.nft_json().to_string();
    assert!(listed.contains("overlay_vnis") && listed.contains("192.0.2.2"), "{listed}");
    // What it is not yet told about is not what left.
    let uncertain = |segment: &mut Segment| {
        segment.peers.retain(|peer| peer.outer.to_string() == "192.0.2.3");
        segment.complete = false;
    };
    hosts.apply_with(0, uncertain).unwrap();
    reach_each_other(&hosts, &one, &other);
    reach_each_other(&hosts, &one, &stranger);
    hosts.apply_with(0, strange).unwrap();
    assert!(!stranger.reaches(&one.addresses[0]));
    // Somebody else's VXLAN on the same port is none of our business.
    for (n, peer) in [(0, 3), (2, 1)] {
        hosts.of(n).ns.sh(&format!(
            "ip link add theirs type vxlan id 77 dstport 4789 local 192.0.2.{} remote 192.0.2.{peer}; \
             ip addr add 172.30.0.{}/24 dev theirs; ip link set theirs up",
            n + 1,
            n + 1
        ));
    }
    assert!(hosts.of(2).ns.ping("172.30.0.1"));
}

#[test]
fn other_peoples_firewalls_let_it_through() {
    let hosts = Hosts::new(2, WITH_V4);
    for n in 0..2 {
        hosts
            .of(n)
            .ns
            .sh("iptables -P INPUT DROP; iptables -P FORWARD DROP; ip6tables -P FORWARD DROP; \
             iptables -A INPUT -p tcp --dport 22 -j ACCEPT");
    }
    hosts.apply_all();
    let (one, other) = (hosts.container(0, 5), hosts.container(1, 5));
    reach_each_other(&hosts, &one, &other);
}

#[test]
fn repair_finds_it_as_it_should_be_and_brings_back_what_is_lost() {
    let hosts = Hosts::new(2, WITH_V4);
    hosts.apply_all();
    let (one, other) = (hosts.container(0, 5), hosts.container(1, 5));
    hosts.of(0).ns.ip("link set eth0 mtu 1400");
    assert_eq!(hosts.apply(0).mtu, 1350);
    assert_eq!(hosts.of(0).repair(), Vec::<String>::new());
    let bridge = hosts.bridge();
    for damage in [
        "nft flush ruleset".to_owned(),
        "nft flush set inet cleat overlay4".to_owned(),
        "nft add element inet cleat overlay4 '{ 203.0.113.9 . 4789 }'".to_owned(),
        format!("ip addr del 10.77.1.1/24 dev {bridge}"),
    ] {
        hosts.of(0).ns.sh(&damage);
        assert_ne!(hosts.of(0).repair(), Vec::<String>::new(), "{damage}");
        assert_eq!(hosts.of(0).repair(), Vec::<String>::new(), "{damage}");
        reach_each_other(&hosts, &one, &other);
        assert!(!hosts.rules(0).contains("203.0.113.9"));
    }
    assert_eq!(hosts.of(0).ns.link(&bridge).unwrap()["mtu"], 1350);
}

#[test]
fn what_comes_from_other_nodes_reaches_no_more_of_the_host_than_its_own_containers_do() {
    let hosts = Hosts::new(2, WITH_V4);
    hosts.apply_all();
    let (one, other) = (hosts.container(0, 5), hosts.container(1, 5));
    reach_each_other(&hosts, &one, &other);
    let secret = hosts.of(0).ns.serve(7000);
    assert!(!other.asks("10.77.1.1", 7000) && secret.askers().is_empty());
    assert!(other.reaches("10.77.1.1"));
    // Nor is it led on to where the host could reach.
    hosts
        .of(1)
        .ns
        .ip(&format!("route add 192.0.2.250/32 via 10.77.1.0 dev {} onlink", hosts.vxlan()));
    let outside = hosts.lan.serve(7001);
    assert!(!other.asks("192.0.2.250", 7001) && outside.askers().is_empty());
}

#[test]
fn an_encrypted_network_leaves_and_comes_by_wireguard_alone() {
    let hosts = Hosts::new(2, WITH_V4);
    // Stands in for WireGuard, whose module not every kernel here has.
    hosts.connect("clwg0", ["fd99::1", "fd99::2"]);
    let own = ["fd99::1", "fd99::2"].map(|a| a.parse::<std::net::IpAddr>().unwrap());
    for n in 0..2 {
        let applied = hosts.apply_with(n, |segment| {
            segment.network.encrypted = true;
            segment.local = own[n];
            segment.peers.iter_mut().for_each(|peer| peer.outer = own[1 - n]);
        });
        assert!(applied.unwrap().refused.is_empty());
    }
    let (one, other) = (hosts.container(0, 5), hosts.container(1, 5));
    reach_each_other(&hosts, &one, &other);

    // The tunnel is gone, and the way to the peer leads over the LAN.
    hosts.of(1).ns.sh("nft add table inet t; nft add chain inet t c '{ type filter hook prerouting priority -400; }'; \
        nft add rule inet t c iifname eth0 udp dport 4789 counter");
    let in_clear = || {
        let rules = hosts.of(1).ns.sh("nft list chain inet t c");
        !rules.contains("packets 0 bytes")
    };
    for n in 0..2 {
        hosts.of(n).ns.sh(&format!(
            "ip addr del {0}/64 dev clwg0; ip addr add {0}/128 dev eth0 nodad; \
             ip -6 route add {1}/128 via 2001:db8::{2} dev eth0",
            own[n],
            own[1 - n],
            2 - n
        ));
    }
    assert!(hosts.of(0).ns.ping("fd99::2"), "the underlay does its part");
    assert!(!one.reaches(&other.addresses[0]) && !in_clear(), "{}", hosts.rules(0));
    // Without the rule it would leave, and the other host would still not take it.
    hosts.of(0).ns.sh("nft flush chain inet cleat overlay_output");
    let before = received(hosts.of(1), &hosts.vxlan());
    assert!(!one.reaches(&other.addresses[0]) && in_clear());
    assert_eq!(received(hosts.of(1), &hosts.vxlan()), before);
}

#[test]
fn a_network_that_is_left_leaves_nothing() {
    let hosts = Hosts::new(2, WITH_V4);
    hosts.apply_all();
    assert!(hosts.of(0).traces().contains(&hosts.vxlan()));
    hosts.remove(0);
    assert_eq!(hosts.of(0).traces(), "");
    hosts.remove(0);
}
