//! Published ports: reached from the LAN, from the host, from neighbours and from the container
//! itself; free again after detach, whatever the runtime still knows then.

use cleat_tests::{Attached, Chain, Container, End, Lab, Transport, ranges};
use serde_json::{Value, json};

const BOTH: [Transport; 2] = [Transport::Tcp, Transport::Udp];

/// A dual-stack bridge with published ports, the conflist that most runtimes write.
fn network(extra: Value) -> Value {
    let mut portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    for (key, value) in extra.as_object().unwrap() {
        portmap[key] = value.clone();
    }
    json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
        {"type": "bridge", "bridge": "br0", "isDefaultGateway": true, "ipMasq": true,
            "hairpinMode": true, "ipam": ranges(&["10.88.0.0/24", "fd00:88::/64"])},
        portmap,
    ]})
}

fn mapping(host: u16, container: u16, protocol: &str) -> Value {
    json!({"hostPort": host, "containerPort": container, "protocol": protocol})
}

fn both_protocols(host: u16, container: u16) -> Value {
    json!({"portMappings": [mapping(host, container, "tcp"), mapping(host, container, "udp")]})
}

fn publish<'l>(lab: &'l Lab, capabilities: Value) -> Chain<'l> {
    lab.chain(network(json!({}))).capabilities(capabilities)
}

#[test]
fn from_the_lan_with_the_clients_own_address() {
    let lab = Lab::new();
    let container = lab.container();
    let chain = publish(&lab, both_protocols(8080, 80));
    let attached = chain.attach(&container);
    lab.settle(&[&container]);
    let _server = container.ns.serve(80);
    for by in BOTH {
        let seen = lab.lan.ask(by, "192.0.2.1:8080").unwrap();
        assert_eq!(seen.to_string(), Lab::LAN[0], "{by:?}");
        let seen = lab.lan.ask(by, "[2001:db8::1]:8080").unwrap();
        assert_eq!(seen.to_string(), Lab::LAN[1], "{by:?}");
        lab.lan.ask(by, "192.0.2.1:8081").unwrap_err();
    }
    if !lab.is_reference() {
        // Its CHECK looks for IPv4 rules among those of IPv6.
        chain.check(&container, &attached).unwrap();
    }
    chain.detach(&container, &attached);
    for by in BOTH {
        lab.lan.ask(by, "192.0.2.1:8080").unwrap_err();
    }
}

#[test]
fn from_the_host_by_its_addresses_and_by_localhost() {
    let lab = Lab::new();
    let container = lab.container();
    publish(&lab, both_protocols(8080, 80)).attach(&container);
    lab.settle(&[&container]);
    let _server = container.ns.serve(80);
    for by in BOTH {
        for to in ["192.0.2.1:8080", "127.0.0.1:8080", "10.88.0.1:8080", "[2001:db8::1]:8080"] {
            lab.host.ask(by, to).unwrap_or_else(|e| panic!("{by:?} {to}: {e}"));
        }
    }
}

#[test]
fn from_neighbours_and_from_the_container_itself() {
    let lab = Lab::new();
    let (one, two) = (lab.container(), lab.container());
    let chain = publish(&lab, both_protocols(8080, 80));
    chain.attach(&one);
    lab.chain(network(json!({}))).attach(&two);
    lab.settle(&[&one, &two]);
    let _server = one.ns.serve(80);
    for by in BOTH {
        for to in ["192.0.2.1:8080", "10.88.0.1:8080", "[2001:db8::1]:8080"] {
            two.ns.ask(by, to).unwrap_or_else(|e| panic!("neighbour {by:?} {to}: {e}"));
            one.ns.ask(by, to).unwrap_or_else(|e| panic!("hairpin {by:?} {to}: {e}"));
        }
    }
}

#[test]
fn from_another_network_of_the_host() {
    let lab = Lab::new();
    let (one, two) = (lab.container(), lab.container());
    publish(&lab, both_protocols(8080, 80)).attach(&one);
    let mut other = network(json!({}));
    other["name"] = json!("other");
    other["plugins"][0]["bridge"] = json!("br1");
    other["plugins"][0]["ipam"] = ranges(&["10.89.0.0/24", "fd00:89::/64"]);
    lab.chain(other).attach(&two);
    lab.settle(&[&one, &two]);
    let _server = one.ns.serve(80);
    for by in BOTH {
        for to in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
            two.ns.ask(by, to).unwrap_or_else(|e| panic!("{by:?} {to}: {e}"));
        }
    }
}

#[test]
fn one_host_address_only() {
    let lab = Lab::new();
    lab.host.ip("addr add 192.0.2.7/24 dev eth0");
    let container = lab.container();
    let mappings = json!({"portMappings": [
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "192.0.2.7"},
        {"hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": "0.0.0.0"},
        {"hostPort": 8082, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"},
    ]});
    let chain = publish(&lab, mappings);
    let attached = chain.attach(&container);
    let _server = container.ns.serve(80);
    let asked = |ns: &cleat_tests::Namespace, to: &str| ns.ask(Transport::Tcp, to).is_ok();
    assert!(asked(&lab.lan, "192.0.2.7:8080"));
    assert!(!asked(&lab.lan, "192.0.2.1:8080"));
    assert!(asked(&lab.lan, "192.0.2.7:8081") && asked(&lab.lan, "192.0.2.1:8081"));
    assert!(asked(&lab.host, "127.0.0.1:8082"));
    assert!(!asked(&lab.lan, "192.0.2.1:8082"));
    chain.detach(&container, &attached);
}

#[test]
fn what_runtimes_written_in_go_send() {
    let lab = Lab::new();
    let container = lab.container();
    let chain = publish(
        &lab,
        json!({"portMappings": [
        {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}]}),
    );
    let attached = chain.attach(&container);
    let _server = container.ns.serve(80);
    assert!(lab.lan.ask(Transport::Tcp, "192.0.2.1:8080").is_ok());
    chain.detach(&container, &attached);
}

#[test]
fn many_ports_of_one_container() {
    let lab = Lab::new();
    let container = lab.container();
    let mappings: Vec<Value> = (0..40).map(|i| mapping(8000 + i, 9000 + i % 2, "tcp")).collect();
    let chain = publish(&lab, json!({"portMappings": mappings}));
    let before = chain.used();
    let attached = chain.attach(&container);
    let _even = container.ns.serve(9000);
    for port in [8000, 8014, 8016, 8038] {
        let seen = lab.lan.ask(Transport::Tcp, &format!("192.0.2.1:{port}"));
        assert!(seen.is_ok(), "{port}: {seen:?}");
    }
    lab.lan.ask(Transport::Tcp, "192.0.2.1:8039").unwrap_err();
    chain.detach(&container, &attached);
    lab.assert_as_before(&before);
}

#[test]
fn sctp_is_published_too() {
    let lab = Lab::new();
    let container = lab.container();
    let chain = publish(&lab, json!({"portMappings": [mapping(8123, 80, "sctp")]}));
    let before = chain.used();
    let attached = chain.attach(&container);
    let added = before.added(&lab.snapshot());
    let rule = added.lines().find(|line| line.contains("sctp") && line.contains("8123"));
    // The reference's rule is iptables', which nft shows without the match's arguments.
    assert!(rule.is_some() || lab.is_reference(), "{added}");
    if lab.is_reference() {
        assert!(lab.host.sh("iptables-save -t nat").contains("-p sctp"));
    }
    chain.detach(&container, &attached);
    lab.assert_as_before(&before);
}

#[test]
fn a_port_in_use_is_refused_and_named() {
    let lab = Lab::new();
    if lab.is_reference() {
        // There the last one wins.
        return;
    }
    let (one, two) = (lab.container(), lab.container());
    let chain = publish(&lab, both_protocols(8080, 80));
    let attached = chain.attach(&one);
    let _server = one.ns.serve(80);
    let late = publish(
        &lab,
        json!({"portMappings":
        [mapping(8090, 80, "tcp"), mapping(8080, 81, "tcp")]}),
    );
    let bridge = late.plugins().next().unwrap().clone();
    let portmap = late.plugins().nth(1).unwrap().clone();
    let previous = late.invocation(&bridge, "ADD", &two, None).run().ok();
    let before = lab.snapshot();
    let text = late.invocation(&portmap, "ADD", &two, Some(&previous)).run().error_text();
    assert!(text.contains("8080"), "{text}");
    lab.assert_as_before(&before);
    assert!(lab.lan.ask(Transport::Tcp, "192.0.2.1:8080").is_ok(), "the first still has it");
    lab.lan.ask(Transport::Tcp, "192.0.2.1:8090").unwrap_err();

    // The loser's DEL, which runtimes send, leaves the winner alone.
    late.invocation(&portmap, "DEL", &two, Some(&previous)).run().ok();
    assert!(lab.lan.ask(Transport::Tcp, "192.0.2.1:8080").is_ok());
    // Once free, it may be had.
    chain.detach(&one, &attached);
    late.invocation(&portmap, "ADD", &two, Some(&previous)).run().ok();
}

#[test]
fn the_same_port_of_other_addresses_and_protocols() {
    let lab = Lab::new();
    lab.host.ip("addr add 192.0.2.7/24 dev eth0");
    let containers: Vec<Container> = (0..3).map(|_| lab.container()).collect();
    let mut servers = Vec::new();
    for (container, mapping) in containers.iter().zip([
        json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "192.0.2.1"}),
        json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "192.0.2.7"}),
        json!({"hostPort": 8080, "containerPort": 80, "protocol": "udp"}),
    ]) {
        publish(&lab, json!({"portMappings": [mapping]})).attach(container);
    }
    servers.push(containers[0].ns.serve(80));
    assert!(lab.lan.ask(Transport::Tcp, "192.0.2.1:8080").is_ok());
    lab.lan.ask(Transport::Tcp, "192.0.2.7:8080").unwrap_err();
    servers.push(containers[1].ns.serve(80));
    servers.push(containers[2].ns.serve(80));
    assert!(lab.lan.ask(Transport::Tcp, "192.0.2.7:8080").is_ok());
    assert!(lab.lan.ask(Transport::Udp, "192.0.2.7:8080").is_ok());
}

#[test]
fn a_service_of_the_host_on_the_port_is_no_conflict() {
    let lab = Lab::new();
    // Some runtimes hold the port by a socket of their own.
    let _held = lab.host.serve(8080);
    let container = lab.container();
    publish(&lab, both_protocols(8080, 80)).attach(&container);
    let _server = container.ns.serve(80);
    let seen = lab.lan.ask(Transport::Tcp, "192.0.2.1:8080").unwrap();
    assert_eq!(seen.to_string(), Lab::LAN[0]);
}

#[test]
fn bad_mappings_are_refused() {
    let lab = Lab::new();
    let container = lab.container();
    let plain = lab.chain(network(json!({})));
    let attached = plain.attach(&container);
    let before = lab.snapshot();
    for mapping in [
        mapping(0, 80, "tcp"),
        mapping(8080, 0, "tcp"),
        json!({"hostPort": 70000, "containerPort": 80, "protocol": "tcp"}),
        json!({"hostPort": -1, "containerPort": 80, "protocol": "tcp"}),
        json!({"hostPort": "http", "containerPort": 80, "protocol": "tcp"}),
        json!({"hostPort": 8080, "containerPort": 80, "protocol": "icmp"}),
        json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "somewhere"}),
    ] {
        let chain = publish(&lab, json!({"portMappings": [mapping]}));
        let portmap = chain.plugins().nth(1).unwrap();
        let call = chain.invocation(portmap, "ADD", &container, Some(&attached.result));
        if lab.is_reference() {
            // It looks at few of them.
            continue;
        }
        let outcome = call.run();
        assert!([6, 7].contains(&outcome.error_code()), "{mapping}: {outcome:?}");
        lab.assert_as_before(&before);
    }
}

#[test]
fn without_ports_nothing_is_done() {
    let lab = Lab::new();
    let container = lab.container();
    let chain = lab.chain(network(json!({})));
    let attached = chain.attach(&container);
    assert_eq!(attached.addresses().len(), 2, "the result is passed on");
    chain.check(&container, &attached).unwrap();
    chain.detach(&container, &attached);
}

#[test]
fn an_earlier_result_is_needed() {
    let lab = Lab::new();
    let container = lab.container();
    let chain = publish(&lab, both_protocols(8080, 80));
    let portmap = chain.plugins().nth(1).unwrap();
    let outcome = chain.invocation(portmap, "ADD", &container, None).run();
    let text = outcome.error_text().to_lowercase();
    assert!(text.contains("prev") || text.contains("chain"), "{text}");
}

#[test]
fn detach_frees_the_ports_whatever_the_runtime_knows() {
    for end in End::ALL {
        for knows_ports in [true, false] {
            let lab = Lab::still();
            if lab.is_reference() && (end != End::Usual || !knows_ports) {
                // It keeps the rules of ports that it is not told of.
                continue;
            }
            let chain = publish(&lab, both_protocols(8080, 80));
            let before = chain.used();
            let container = lab.container();
            let attached = chain.attach(&container);
            let late =
                if knows_ports { chain.clone() } else { chain.clone().capabilities(json!({})) };
            late.detach_by(end, &container, &attached);
            late.detach_by(end, &container, &attached);
            let what = format!("{end:?}, ports known: {knows_ports}");
            let difference = lab.changes(&before);
            assert!(difference.is_empty(), "{what}: not as before:\n{difference}");
        }
    }
}

/// The same datagram flow, over and over, goes where the port leads at that time.
#[test]
fn datagram_flows_follow_the_port() {
    let lab = Lab::new();
    let chain = publish(&lab, both_protocols(8080, 80));
    let asks = || lab.lan.ask_from(5000, "192.0.2.1:8080").is_ok();
    chain.used();
    assert!(!asks(), "nobody is there, but a conntrack entry is");
    let (one, two) = (lab.container(), lab.container());
    let first = chain.attach(&one);
    let server = one.ns.serve(80);
    assert!(asks(), "an older flow reaches the new backend");
    drop(server);
    chain.detach(&one, &first);
    let second = chain.attach(&two);
    let _server = two.ns.serve(80);
    assert_ne!(first.v4(), second.v4());
    assert!(asks(), "the flow left the old backend");
}

#[test]
fn other_hosts_ports_are_not_taken() {
    // A mapping is for this host's addresses: traffic through it is not translated.
    let lab = Lab::new();
    let (one, two) = (lab.container(), lab.container());
    publish(&lab, both_protocols(9000, 80)).attach(&one);
    lab.chain(network(json!({}))).attach(&two);
    let _server = one.ns.serve(80);
    let _lan = lab.lan.serve(9000);
    let seen = two.ns.ask(Transport::Tcp, "192.0.2.2:9000").unwrap();
    assert_eq!(seen.to_string(), Lab::HOST[0]);
    let seen = lab.host.ask(Transport::Tcp, "192.0.2.2:9000").unwrap();
    assert_eq!(seen.to_string(), Lab::HOST[0]);
}

#[test]
fn the_hosts_loopback_stays_its_own() {
    let lab = Lab::new();
    let container = lab.container();
    let attached: Attached = publish(&lab, both_protocols(8080, 80)).attach(&container);
    assert!(!attached.addresses().is_empty());
    if lab.is_reference() {
        // route_localnet alone, as it sets it, opens the loopback to containers.
        return;
    }
    let _secret = lab.host.serve_at("127.0.0.1:7000".parse().unwrap());
    container.ns.set_sysctl("net/ipv4/conf/all/route_localnet", "1");
    container.ns.ip("addr flush dev lo");
    container.ns.ip("route add 127.0.0.0/8 via 10.88.0.1");
    for by in BOTH {
        container.ns.ask(by, "127.0.0.1:7000").unwrap_err();
    }
    // Nor does the LAN reach it.
    lab.lan.ip("addr flush dev lo");
    lab.lan.set_sysctl("net/ipv4/conf/all/route_localnet", "1");
    lab.lan.ip("route add 127.0.0.0/8 via 192.0.2.1");
    lab.lan.ask(Transport::Tcp, "127.0.0.1:7000").unwrap_err();
}

#[test]
fn conditions_say_who_is_translated() {
    let lab = Lab::new();
    lab.lan.ip("addr add 192.0.2.3/24 dev eth0");
    let conflist = |extra: Value| {
        lab.chain(network(extra)).capabilities(json!({"portMappings": [mapping(8080, 80, "tcp")]}))
    };
    let from = |address: &str| {
        lab.lan.ip(&format!("route replace 192.0.2.1/32 dev eth0 src {address}"));
        lab.lan.ask(Transport::Tcp, "192.0.2.1:8080").is_ok()
    };
    for words in [json!(["!", "-s", "192.0.2.3"]), json!(["ip", "saddr", "!=", "192.0.2.3"])] {
        let nft = words[0] == "ip";
        if lab.is_reference() && nft {
            // Debian's has no nftables.
            continue;
        }
        let chain = conflist(json!({"conditionsV4": words}));
        let before = chain.used();
        let container = lab.container();
        let attached = chain.attach(&container);
        let _server = container.ns.serve(80);
        assert!(from("192.0.2.2"), "{words}");
        assert!(!from("192.0.2.3"), "{words}");
        chain.detach(&container, &attached);
        lab.assert_as_before(&before);
    }
    if lab.is_reference() {
        return;
    }
    for (extra, word) in [
        (json!({"conditionsV4": ["-p", "tcp"]}), "-p"),
        (json!({"conditionsV4": ["-s", "2001:db8::/64"]}), "2001:db8::/64"),
        (json!({"backend": "nftables", "conditionsV4": ["-s", "192.0.2.0/24"]}), "backend"),
    ] {
        let container = lab.container();
        let refused = conflist(extra.clone()).add(&container).unwrap_err();
        assert!(refused.error_text().contains(word), "{extra}: {refused:?}");
        conflist(extra).del(&container, None).unwrap();
    }
}
