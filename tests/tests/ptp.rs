//! The ptp plugin: containers that the host routes to.

use cleat_tests::{Attached, End, Lab, Programs, Transport, ranges};
use serde_json::{Value, json};

const V4: &str = "10.88.0.0/24";
const V6: &str = "fd00:88::/64";

fn network(extra: Value) -> Value {
    let mut plugin = json!({"type": "ptp", "ipam": ranges(&[V4, V6])});
    plugin["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    for (key, value) in extra.as_object().unwrap() {
        plugin[key] = value.clone();
    }
    json!({"cniVersion": "1.0.0", "name": "net", "plugins": [plugin]})
}

fn host_end(attached: &Attached) -> String {
    attached.result["interfaces"][0]["name"].as_str().unwrap().to_owned()
}

#[test]
fn containers_reach_the_host_each_other_and_the_lan() {
    let lab = Lab::new();
    let chain = lab.chain(network(json!({})));
    let (one, two) = (lab.container(), lab.container());
    let first = chain.attach(&one);
    let second = chain.attach(&two);
    lab.settle(&[&one, &two]);
    lab.route_from_lan(V4);
    lab.route_from_lan(V6);
    for (index, address) in second.addresses().iter().enumerate() {
        let gateway = first.result["ips"][index]["gateway"].as_str().unwrap();
        assert!(one.ns.ping(gateway), "gateway {gateway}");
        assert!(one.ns.ping(address), "neighbour {address}");
        assert!(lab.host.ping(address), "{address} from the host");
        assert!(one.ns.ping(Lab::LAN[index]), "the LAN");
        assert!(lab.lan.ping(address), "{address} from the LAN");
    }
    let _lan = lab.lan.serve(9000);
    for (address, server) in first.addresses().iter().zip(["192.0.2.2:9000", "[2001:db8::2]:9000"])
    {
        let seen = one.ns.ask(Transport::Udp, server).unwrap();
        assert_eq!(seen.to_string(), *address, "without masquerading");
    }
    chain.check(&one, &first).unwrap();
    chain.detach(&one, &first);
    assert!(one.ns.link("eth0").is_none());
    assert!(lab.host.ping(&second.v4()) && lab.host.ping(&second.v6()));
}

#[test]
fn results_and_routes_are_the_references() {
    let only_v4 = ranges(&[V4]);
    let variants = [
        json!({}),
        json!({"ipam": only_v4}),
        json!({"ipMasq": true}),
        json!({"mtu": 1400}),
        json!({"dns": {"nameservers": ["192.0.2.2"]}}),
    ];
    for extra in &variants {
        let made_by = |programs: &Programs| {
            let lab = Lab::still();
            let mut conflist = network(extra.clone());
            // One family: the reference waits seconds for duplicate address detection.
            conflist["plugins"][0]["ipam"]["ranges"].as_array_mut().unwrap().truncate(1);
            let default = json!([{"dst": "0.0.0.0/0"}]);
            if extra["ipam"].is_null() {
                conflist["plugins"][0]["ipam"]["routes"] = default;
            }
            let container = lab.container();
            let attached = lab.chain(conflist).by(programs).attach(&container);
            let mut routes: Vec<String> = Vec::new();
            for route in container.ns.ip_json("-4 route show").as_array().unwrap() {
                routes.push(format!("{} via {}", route["dst"], route["gateway"]));
            }
            routes.sort();
            let inside = container.ns.addresses("eth0");
            let outside = lab.host.addresses(&host_end(&attached));
            (attached.without_names(&container), routes, inside, outside)
        };
        let ours = made_by(&Programs::under_test());
        assert_eq!(ours, made_by(&Programs::reference()), "{extra}");
    }
}

#[test]
fn masquerading_is_towards_others_only() {
    let lab = Lab::new();
    let chain = lab.chain(network(json!({"ipMasq": true})));
    let (one, two) = (lab.container(), lab.container());
    let first = chain.attach(&one);
    let second = chain.attach(&two);
    lab.settle(&[&one, &two]);
    let _lan = lab.lan.serve(9000);
    let _two = two.ns.serve(9000);
    for (address, server) in Lab::HOST.iter().zip(["192.0.2.2:9000", "[2001:db8::2]:9000"]) {
        assert_eq!(one.ns.ask(Transport::Tcp, server).unwrap().to_string(), *address);
    }
    for (from, to) in [
        (first.v4(), format!("{}:9000", second.v4())),
        (first.v6(), format!("[{}]:9000", second.v6())),
    ] {
        assert_eq!(one.ns.ask(Transport::Tcp, &to).unwrap().to_string(), from);
    }
}

#[test]
fn ports_are_published_and_policies_kept() {
    let lab = Lab::new();
    let mut conflist = network(json!({"ipMasq": true}));
    let plugins = conflist["plugins"].as_array_mut().unwrap();
    plugins.push(json!({"type": "portmap", "capabilities": {"portMappings": true}}));
    plugins.push(json!({"type": "firewall", "ingressPolicy": "same-bridge"}));
    let ports =
        json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    let chain = lab.chain(conflist).capabilities(ports);
    let before = chain.used();
    let container = lab.container();
    let attached = chain.attach(&container);
    lab.settle(&[&container]);
    let _site = container.ns.serve(80);
    assert_eq!(lab.lan.ask(Transport::Tcp, "192.0.2.1:8080").unwrap().to_string(), Lab::LAN[0]);
    assert!(lab.host.ask(Transport::Tcp, "127.0.0.1:8080").is_ok());
    if lab.is_reference() {
        return;
    }
    chain.check(&container, &attached).unwrap();
    chain.detach(&container, &attached);
    lab.assert_as_before(&before);
}

#[test]
fn mtu_reaches_both_ends() {
    let lab = Lab::still();
    let container = lab.container();
    let attached = lab.chain(network(json!({"mtu": 1400}))).attach(&container);
    assert_eq!(container.ns.link("eth0").unwrap()["mtu"], 1400);
    assert_eq!(lab.host.link(&host_end(&attached)).unwrap()["mtu"], 1400);
}

#[test]
fn bad_configurations_are_refused_before_anything_is_made() {
    let lab = Lab::still();
    let before = lab.snapshot();
    let fixed = |address: &str| {
        json!({"ipam": {"type": "static", "addresses": [
        {"address": address, "gateway": "10.88.0.1"}]}})
    };
    for (extra, text) in [
        (json!({"mtu": 12}), "mtu"),
        (json!({"ipMasqBackend": "ebtables"}), "ebtables"),
        (json!({"ipam": {}}), "ipam"),
        (fixed("10.88.0.1/24"), "10.88.0.1"),
    ] {
        if lab.is_reference() {
            return;
        }
        let container = lab.container();
        let outcome = lab.chain(network(extra.clone())).add(&container).unwrap_err();
        assert!(outcome.error_text().contains(text), "{extra}: {outcome:?}");
        lab.assert_as_before(&before);
        assert!(container.ns.link("eth0").is_none(), "{extra}");
    }
}

#[test]
fn detach_leaves_nothing_however_the_container_ended() {
    for masquerade in [false, true] {
        for end in End::ALL {
            let lab = Lab::still();
            if lab.is_reference() && !matches!(end, End::Usual) {
                continue;
            }
            let chain = lab.chain(network(json!({"ipMasq": masquerade})));
            let before = chain.used();
            chain.comes_and_goes(end, &before);
            assert!(lab.leased("net").is_empty(), "{end:?}");
        }
    }
}

#[test]
fn a_failed_attach_leaves_nothing() {
    let lab = Lab::still();
    let chain = lab.chain(network(json!({"ipMasq": true})));
    let before = chain.used();
    for line in ["link add eth0 type veth peer name other", "link set lo down"] {
        let container = lab.container();
        container.ns.ip(line);
        if line.contains("veth") {
            let outcome = chain.add(&container).unwrap_err();
            assert!(outcome.error_text().contains("eth0"), "{outcome:?}");
            if !lab.is_reference() {
                lab.assert_as_before(&before);
            }
        }
    }
    // The host has the container's first free address as a route already.
    let probe = lab.container();
    let attached = chain.attach(&probe);
    chain.detach(&probe, &attached);
    if lab.is_reference() {
        return;
    }
    let next: std::net::Ipv4Addr = attached.v4().parse().unwrap();
    let next = std::net::Ipv4Addr::from(u32::from(next) + 1);
    lab.host.ip(&format!("route add {next}/32 dev eth0"));
    let before = lab.snapshot();
    let container = lab.container();
    let outcome = chain.add(&container).unwrap_err();
    assert!(outcome.error_text().contains(&next.to_string()), "{outcome:?}");
    lab.assert_as_before(&before);
    assert!(container.ns.link("eth0").is_none());
    assert!(lab.leased("net").is_empty());
}

#[test]
fn check_names_what_differs() {
    let lab = Lab::still();
    let chain = lab.chain(network(json!({})));
    let container = lab.container();
    let attached = chain.attach(&container);
    lab.settle(&[&container]);
    chain.check(&container, &attached).unwrap();
    lab.host.ip(&format!("route del {}", attached.v4()));
    if !lab.is_reference() {
        let text = chain.check(&container, &attached).unwrap_err().error_text();
        assert!(text.contains(&attached.v4()), "{text}");
    }
    lab.host.ip(&format!("link del {}", host_end(&attached)));
    chain.check(&container, &attached).unwrap_err().error();
}

#[test]
fn collection_removes_what_is_no_longer_valid() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let mut conflist = network(json!({"ipMasq": true}));
    conflist["cniVersion"] = json!("1.1.0");
    let chain = lab.chain(conflist);
    let (kept, lost) = (lab.container(), lab.container());
    let first = chain.attach(&kept);
    let before = lab.snapshot();
    chain.attach(&lost);
    chain.gc(&[&kept]).unwrap();
    lab.assert_as_before(&before);
    assert!(lab.host.ping(&first.v4()) && lab.host.ping(&first.v6()));
}
