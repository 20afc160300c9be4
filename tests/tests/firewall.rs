//! The firewall plugin: who reaches a container under each inbound policy, and under a host's own
//! firewall that drops what is forwarded.

use cleat_tests::{Chain, Container, End, Lab, Transport, ranges};
use serde_json::{Value, json};

fn network(name: &str, number: u8, extra: Value) -> Value {
    let mut firewall = json!({"type": "firewall"});
    for (key, value) in extra.as_object().unwrap() {
        firewall[key] = value.clone();
    }
    json!({"cniVersion": "1.0.0", "name": name, "plugins": [
        {"type": "bridge", "bridge": format!("br{number}"), "isDefaultGateway": true,
            "ipam": ranges(&[&format!("10.88.{number}.0/24"), &format!("fd00:88:{number}::/64")])},
        firewall,
    ]})
}

fn chain<'l>(lab: &'l Lab, number: u8, extra: Value) -> Chain<'l> {
    lab.route_from_lan(&format!("10.88.{number}.0/24"));
    lab.route_from_lan(&format!("fd00:88:{number}::/64"));
    lab.chain(network(&format!("net{number}"), number, extra))
}

/// The host forwards nothing but what somebody lets through.
fn drop_forwarding(lab: &Lab) {
    lab.host.sh("iptables -P FORWARD DROP; ip6tables -P FORWARD DROP");
}

fn reaches(from: &Container, to: &[String]) -> Vec<bool> {
    to.iter().map(|address| from.ns.ping(address)).collect()
}

#[test]
fn open_passes_a_host_that_drops_forwarding() {
    let lab = Lab::new();
    drop_forwarding(&lab);
    let (one, stranger) = (lab.container(), lab.container());
    let chain = chain(&lab, 1, json!({"ingressPolicy": "open"}));
    let attached = chain.attach(&one);
    lab.settle(&[&one]);
    for (family, own) in attached.addresses().iter().enumerate() {
        assert!(one.ns.ping(Lab::LAN[family]), "out to {}", Lab::LAN[family]);
        // The reference lets only answers in past a host that drops.
        assert!(lab.is_reference() || lab.lan.ping(own), "in to {own}");
    }
    chain.check(&one, &attached).unwrap();
    // The host's own policy still holds for others, and its tools still read it.
    assert!(lab.host.sh("iptables -S FORWARD").contains("-P FORWARD DROP"));
    stranger
        .ns
        .ip(&format!("link add eth0 type veth peer name stranger netns {}", lab.host.name()));
    lab.host.ip("link set stranger up");
    lab.host.ip("addr add 10.99.0.1/24 dev stranger");
    stranger.ns.ip("link set eth0 up");
    stranger.ns.ip("addr add 10.99.0.2/24 dev eth0");
    stranger.ns.ip("route add default via 10.99.0.1");
    lab.route_from_lan("10.99.0.0/24");
    assert!(stranger.ns.ping("10.99.0.1"));
    assert!(!stranger.ns.ping(Lab::LAN[0]), "no container: still dropped");
    chain.detach(&one, &attached);
}

#[test]
fn open_is_what_is_meant_by_nothing() {
    let lab = Lab::new();
    let (one, two) = (lab.container(), lab.container());
    let (first, second) = (chain(&lab, 1, json!({})), chain(&lab, 2, json!({})));
    let attached_one = first.attach(&one);
    let attached_two = second.attach(&two);
    lab.settle(&[&one, &two]);
    assert_eq!(reaches(&one, &attached_two.addresses()), [true, true]);
    assert_eq!(reaches(&two, &attached_one.addresses()), [true, true]);
    assert_eq!(attached_one.addresses().len(), 2, "the result is passed on");
}

#[test]
fn same_bridge_keeps_other_bridges_out() {
    let lab = Lab::new();
    drop_forwarding(&lab);
    let policy = json!({"ingressPolicy": "same-bridge"});
    let (one, two, other) = (lab.container(), lab.container(), lab.container());
    let (first, second) = (chain(&lab, 1, policy.clone()), chain(&lab, 2, policy));
    let attached_one = first.attach(&one);
    let attached_two = first.attach(&two);
    let attached_other = second.attach(&other);
    lab.settle(&[&one, &two, &other]);
    assert_eq!(reaches(&one, &attached_two.addresses()), [true, true], "a neighbour");
    assert_eq!(reaches(&other, &attached_one.addresses()), [false, false], "another bridge");
    assert_eq!(reaches(&one, &attached_other.addresses()), [false, false], "another bridge");
    assert!(one.ns.ping(Lab::LAN[0]) && one.ns.ping(Lab::LAN[1]), "outwards");
    first.check(&one, &attached_one).unwrap();
    // A container leaves; those that stay are kept apart as before.
    first.detach(&two, &attached_two);
    assert_eq!(reaches(&other, &attached_one.addresses()), [false, false]);
}

#[test]
fn isolated_keeps_neighbours_out_too() {
    let lab = Lab::new();
    if lab.is_reference() {
        // Debian's is older than the policy.
        return;
    }
    let policy = json!({"ingressPolicy": "isolated"});
    let (one, two, other) = (lab.container(), lab.container(), lab.container());
    let (first, second) = (chain(&lab, 1, policy.clone()), chain(&lab, 2, policy));
    first.attach(&one);
    let attached_two = first.attach(&two);
    second.attach(&other);
    assert_eq!(reaches(&one, &attached_two.addresses()), [false, false], "a neighbour");
    assert_eq!(reaches(&other, &attached_two.addresses()), [false, false], "another bridge");
    for address in ["10.88.1.1", "fd00:88:1::1", Lab::LAN[0], Lab::LAN[1]] {
        assert!(one.ns.ping(address), "outwards to {address}");
    }
}

#[test]
fn an_unknown_policy_is_refused() {
    let lab = Lab::new();
    let container = lab.container();
    let chain = chain(&lab, 1, json!({"ingressPolicy": "closed"}));
    let text = chain.add(&container).unwrap_err().error_text();
    assert!(text.contains("closed"), "{text}");
}

#[test]
fn published_ports_pass_every_policy() {
    for policy in ["open", "same-bridge", "isolated"] {
        let lab = Lab::new();
        if lab.is_reference() && policy == "isolated" {
            continue;
        }
        if !lab.is_reference() {
            // Its published ports do not pass this.
            drop_forwarding(&lab);
        }
        let mut conflist = network("net", 1, json!({"ingressPolicy": policy}));
        conflist["plugins"]
            .as_array_mut()
            .unwrap()
            .insert(1, json!({"type": "portmap", "capabilities": {"portMappings": true}}));
        let chain = lab.chain(conflist).capabilities(json!({"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}));
        let container = lab.container();
        let attached = chain.attach(&container);
        let _server = container.ns.serve(80);
        let seen = lab.lan.ask(Transport::Tcp, "192.0.2.1:8080");
        assert!(seen.is_ok(), "{policy}: {seen:?}");
        chain.detach(&container, &attached);
    }
}

#[test]
fn detach_leaves_nothing_however_the_container_ended() {
    for policy in ["open", "same-bridge", "isolated"] {
        for end in End::ALL {
            let lab = Lab::still();
            if lab.is_reference() && (end != End::Usual || policy == "isolated") {
                // Without a result it removes nothing.
                continue;
            }
            let chain = chain(&lab, 1, json!({"ingressPolicy": policy}));
            let before = chain.used();
            chain.comes_and_goes(end, &before);
        }
    }
}

#[test]
fn backends_of_the_reference_are_accepted() {
    let lab = Lab::new();
    drop_forwarding(&lab);
    let container = lab.container();
    let chain =
        chain(&lab, 1, json!({"backend": "iptables", "iptablesAdminChainName": "LAB-ADMIN"}));
    let attached = chain.attach(&container);
    assert!(container.ns.ping(Lab::LAN[0]));
    chain.detach(&container, &attached);
}

#[test]
fn an_earlier_result_is_needed() {
    let lab = Lab::new();
    let container = lab.container();
    let chain = chain(&lab, 1, json!({}));
    let firewall = chain.plugins().nth(1).unwrap();
    let outcome = chain.invocation(firewall, "ADD", &container, None).run();
    let text = outcome.error_text().to_lowercase();
    assert!(text.contains("prev") || text.contains("chain"), "{text}");
}
