//! The bridge plugin as a runtime and a user see it: addresses, routes and reach for every kind of
//! network, each key's effect, and that nothing is left by detach or by a failed attach.

use std::collections::BTreeSet;

use cleat_tests::{Attached, Container, End, Lab, Programs, Transport, at_once, ranges};
use serde_json::{Value, json};

const V4: &str = "10.88.0.0/24";
const V6: &str = "fd00:88::/64";

/// A network of one bridge plugin, with more keys or other values.
fn network(extra: Value) -> Value {
    let mut plugin = json!({
        "type": "bridge",
        "bridge": "br0",
        "isGateway": true,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": V4}]]},
    });
    for (key, value) in extra.as_object().unwrap() {
        plugin[key] = value.clone();
    }
    json!({"cniVersion": "1.0.0", "name": "net", "plugins": [plugin]})
}

fn interface(attached: &Attached, index: usize) -> &Value {
    &attached.result["interfaces"][index]
}

fn host_end(attached: &Attached) -> String {
    interface(attached, 1)["name"].as_str().unwrap().to_owned()
}

#[test]
fn containers_reach_the_gateway_and_each_other() {
    for subnets in [vec![V4], vec![V6], vec![V4, V6]] {
        let lab = Lab::still();
        let chain = lab.chain(network(json!({"ipam": ranges(&subnets)})));
        let (one, two) = (lab.container(), lab.container());
        let first = chain.attach(&one);
        let second = chain.attach(&two);
        lab.settle(&[&one, &two]);
        assert_eq!(one.ns.addresses("eth0").len(), subnets.len(), "{subnets:?}");
        for (index, address) in second.addresses().iter().enumerate() {
            let gateway = first.result["ips"][index]["gateway"].as_str().unwrap();
            assert!(one.ns.ping(gateway), "{subnets:?}: gateway {gateway}");
            assert!(one.ns.ping(address), "{subnets:?}: neighbour {address}");
            assert!(lab.host.ping(address), "{subnets:?}: {address} from the host");
        }
        chain.check(&one, &first).unwrap_or_else(|o| panic!("{subnets:?}: {o:?}"));
        chain.detach(&one, &first);
        chain.detach(&two, &second);
        assert!(one.ns.link("eth0").is_none());
        assert!(lab.leased("net").is_empty());
    }
}

#[test]
fn result_names_bridge_host_end_and_container() {
    let lab = Lab::new();
    let chain = lab.chain(network(json!({"isDefaultGateway": true})));
    let container = lab.container();
    let attached = chain.attach(&container);
    let result = &attached.result;
    assert_eq!(result["cniVersion"], "1.0.0");
    assert_eq!(result["interfaces"].as_array().unwrap().len(), 3);
    assert_eq!(interface(&attached, 0)["name"], "br0");
    let end = lab.host.link(&host_end(&attached)).expect("the host end");
    assert_eq!(end["master"], "br0");
    assert_eq!(end["address"], interface(&attached, 1)["mac"]);
    let inside = container.ns.link("eth0").expect("eth0");
    assert_eq!(inside["address"], interface(&attached, 2)["mac"]);
    assert_eq!(interface(&attached, 2)["name"], "eth0");
    assert_eq!(interface(&attached, 2)["sandbox"], json!(container.ns.path()));
    assert_eq!(lab.host.link("br0").unwrap()["address"], interface(&attached, 0)["mac"]);
    assert_eq!(
        result["ips"],
        json!([{"interface": 2, "address": "10.88.0.2/24", "gateway": "10.88.0.1"}])
    );
    assert_eq!(result["routes"], json!([{"dst": "0.0.0.0/0", "gw": "10.88.0.1"}]));
    assert_eq!(lab.host.addresses("br0"), ["10.88.0.1/24"]);
}

#[test]
fn results_are_the_references() {
    let variants = [
        json!({}),
        json!({"isGateway": false}),
        json!({"isDefaultGateway": true}),
        json!({"isDefaultGateway": true, "ipam": ranges(&[V4, V6])}),
        json!({"ipam": {"type": "host-local", "ranges": [[{"subnet": V4}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "172.31.0.0/16", "gw": "10.88.0.9"}]}}),
        json!({"dns": {"nameservers": ["10.88.0.1"], "domain": "lab", "search": ["a.lab"]}}),
        json!({"isGateway": false, "ipam": {}}),
    ];
    for version in ["0.2.0", "0.3.1", "0.4.0", "1.0.0"] {
        for extra in &variants {
            let result_of = |programs: &Programs| {
                let lab = Lab::still();
                let mut conflist = network(extra.clone());
                conflist["cniVersion"] = json!(version);
                let container = lab.container();
                match lab.chain(conflist).by(programs).add(&container) {
                    Ok(attached) => attached.without_names(&container),
                    // 0.2.0 cannot say a result without addresses; how it fails is not compared.
                    Err(outcome) => {
                        outcome.error();
                        json!("error")
                    }
                }
            };
            assert_eq!(
                result_of(&Programs::under_test()),
                result_of(&Programs::reference()),
                "{version} {extra}"
            );
        }
    }
}

#[test]
fn layer_2_only_gives_a_link_without_addresses() {
    let lab = Lab::new();
    let chain = lab.chain(network(json!({"isGateway": false, "ipam": {}})));
    let container = lab.container();
    let attached = chain.attach(&container);
    assert!(attached.addresses().is_empty());
    assert!(container.ns.addresses("eth0").is_empty());
    assert_eq!(container.ns.link("eth0").unwrap()["operstate"], "UP");
    if !lab.is_reference() {
        // The reference's CHECK looks for an IPAM plugin here.
        chain.check(&container, &attached).unwrap();
    }
    chain.detach(&container, &attached);
    assert!(lab.host.link(&host_end(&attached)).is_none());
}

#[test]
fn default_gateway_routes_each_family() {
    let lab = Lab::still();
    let chain = lab.chain(network(json!({"isDefaultGateway": true, "ipam": ranges(&[V4, V6])})));
    let container = lab.container();
    chain.attach(&container);
    assert_eq!(container.ns.routes("-4", "default")[0]["gateway"], "10.88.0.1");
    assert_eq!(container.ns.routes("-6", "default")[0]["gateway"], "fd00:88::1");
    assert_eq!(lab.host.sysctl("net/ipv4/ip_forward").unwrap(), "1");
    assert_eq!(lab.host.sysctl("net/ipv6/conf/all/forwarding").unwrap(), "1");
}

#[test]
fn another_bridge_address_is_refused_unless_forced() {
    let lab = Lab::new();
    lab.host.ip("link add br0 type bridge");
    lab.host.ip("addr add 10.88.0.77/24 dev br0");
    lab.host.ip("link set br0 up");
    let before = lab.snapshot();
    let chain = lab.chain(network(json!({})));
    let container = lab.container();
    let text = chain.add(&container).unwrap_err().error_text();
    assert!(text.contains("br0") && text.contains("already has an IP address"), "{text}");
    if !lab.is_reference() {
        lab.assert_as_before(&before);
        assert!(container.ns.link("eth0").is_none());
    }

    let forced = lab.chain(network(json!({"forceAddress": true})));
    let container = lab.container();
    let attached = forced.attach(&container);
    assert_eq!(lab.host.addresses("br0"), ["10.88.0.1/24"]);
    assert!(container.ns.ping("10.88.0.1"));
    forced.detach(&container, &attached);
}

#[test]
fn a_bridge_name_of_another_link_is_refused() {
    let lab = Lab::new();
    lab.host.ip("link add br0 type ifb");
    let before = lab.snapshot();
    let container = lab.container();
    let text = lab.chain(network(json!({}))).add(&container).unwrap_err().error_text();
    assert!(text.contains("br0"), "{text}");
    if !lab.is_reference() {
        lab.assert_as_before(&before);
    }
}

/// The port's attribute as `ip -d` shows it.
fn port_flag(lab: &Lab, attached: &Attached, flag: &str) -> Value {
    let end = lab.host.link(&host_end(attached)).unwrap();
    end["linkinfo"]["info_slave_data"][flag].clone()
}

#[test]
fn hairpin_and_promiscuous_mode() {
    let lab = Lab::still();
    let chain = lab.chain(network(json!({"hairpinMode": true})));
    let container = lab.container();
    let attached = chain.attach(&container);
    assert_eq!(port_flag(&lab, &attached, "hairpin"), true);

    let lab = Lab::still();
    let chain = lab.chain(network(json!({"promiscMode": true})));
    let container = lab.container();
    let attached = chain.attach(&container);
    assert_eq!(port_flag(&lab, &attached, "hairpin"), false);
    let bridge = lab.host.link("br0").unwrap();
    assert!(bridge["flags"].as_array().unwrap().contains(&json!("PROMISC")), "{bridge}");

    let both = lab.chain(network(json!({"hairpinMode": true, "promiscMode": true})));
    let before = lab.snapshot();
    both.add(&lab.container()).unwrap_err().error();
    lab.assert_as_before(&before);
}

#[test]
fn mtu_reaches_bridge_and_both_ends() {
    let lab = Lab::still();
    let chain = lab.chain(network(json!({"mtu": 1400})));
    let container = lab.container();
    let attached = chain.attach(&container);
    assert_eq!(lab.host.link("br0").unwrap()["mtu"], 1400);
    assert_eq!(lab.host.link(&host_end(&attached)).unwrap()["mtu"], 1400);
    assert_eq!(container.ns.link("eth0").unwrap()["mtu"], 1400);
}

#[test]
fn link_address_by_capability_then_args_then_environment() {
    let (capability, args, environment) =
        ("02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03");
    let with_args = json!({"capabilities": {"mac": true}, "args": {"cni": {"mac": args}}});
    let plain = json!({"capabilities": {"mac": true}});
    for (extra, asked, want) in [
        (&with_args, json!({"mac": capability}), capability),
        (&with_args, json!({}), args),
        (&plain, json!({"mac": capability}), capability),
        (&plain, json!({}), environment),
    ] {
        let lab = Lab::still();
        let container = lab.container();
        let chain = lab
            .chain(network(extra.clone()))
            .capabilities(asked)
            .args(&format!("IgnoreUnknown=1;MAC={environment}"));
        let attached = chain.attach(&container);
        assert_eq!(container.ns.link("eth0").unwrap()["address"], want, "{extra}");
        assert_eq!(interface(&attached, 2)["mac"], want, "{extra}");
    }
}

#[test]
fn a_bad_link_address_is_refused_before_anything_is_made() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let before = lab.snapshot();
    for mac in ["02:00:00:00:00", "zz:00:00:00:00:01", "01:00:5e:00:00:01"] {
        let container = lab.container();
        let chain = lab
            .chain(network(json!({"capabilities": {"mac": true}})))
            .capabilities(json!({"mac": mac}));
        let text = chain.add(&container).unwrap_err().error_text();
        assert!(text.contains(mac), "{text}");
        lab.assert_as_before(&before);
    }
}

#[test]
fn isolated_ports_reach_the_gateway_only() {
    let lab = Lab::new();
    if lab.is_reference() {
        // Debian's is older than the key.
        return;
    }
    let chain = lab.chain(network(json!({"portIsolation": true})));
    let (one, two) = (lab.container(), lab.container());
    let first = chain.attach(&one);
    let second = chain.attach(&two);
    assert_eq!(port_flag(&lab, &first, "isolated"), true);
    assert!(one.ns.ping("10.88.0.1"));
    assert!(!one.ns.ping(&second.v4()));
}

#[test]
fn a_vlan_without_the_kernels_filtering_is_a_clear_error() {
    let lab = Lab::still();
    let before = lab.snapshot();
    for extra in [json!({"vlan": 100}), json!({"vlanTrunk": [{"id": 5}, {"minID": 7, "maxID": 9}]})]
    {
        if lab.is_reference() && extra["vlan"].is_null() {
            continue;
        }
        let container = lab.container();
        let outcome = lab.chain(network(extra.clone())).add(&container).unwrap_err();
        let text = outcome.error_text();
        if !lab.is_reference() {
            assert!(text.to_lowercase().contains("vlan"), "{extra}: {text}");
            lab.assert_as_before(&before);
            assert!(container.ns.link("eth0").is_none());
        }
    }
}

#[test]
fn vlans_out_of_range_are_refused() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let before = lab.snapshot();
    for extra in [
        json!({"vlan": 4095}),
        json!({"vlan": -1}),
        json!({"vlanTrunk": [{"minID": 9, "maxID": 7}]}),
        json!({"vlanTrunk": [{"id": 0}]}),
    ] {
        let outcome = lab.chain(network(extra.clone())).add(&lab.container()).unwrap_err();
        assert_eq!(outcome.error_code(), 7, "{extra}: {outcome:?}");
    }
    lab.assert_as_before(&before);
}

#[test]
fn a_disabled_container_interface_stays_down() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let chain = lab
        .chain(network(json!({"disableContainerInterface": true, "isGateway": false, "ipam": {}})));
    let container = lab.container();
    let attached = chain.attach(&container);
    let link = container.ns.link("eth0").unwrap();
    assert!(!link["flags"].as_array().unwrap().contains(&json!("UP")), "{link}");
    chain.detach(&container, &attached);

    let before = lab.snapshot();
    let with_ipam = lab.chain(network(json!({"disableContainerInterface": true})));
    with_ipam.add(&lab.container()).unwrap_err().error();
    lab.assert_as_before(&before);
}

#[test]
fn masquerading_is_towards_others_only() {
    let lab = Lab::new();
    let chain = lab.chain(network(
        json!({"isDefaultGateway": true, "ipMasq": true, "ipam": ranges(&[V4, V6])}),
    ));
    let (one, two) = (lab.container(), lab.container());
    let first = chain.attach(&one);
    let second = chain.attach(&two);
    lab.settle(&[&one, &two]);
    let _lan = lab.lan.serve(9000);
    let _two = two.ns.serve(9000);
    let neighbours = [(first.v4(), second.v4()), (first.v6(), format!("[{}]", second.v6()))];
    let stations = [Lab::LAN[0].to_owned(), format!("[{}]", Lab::LAN[1])];
    for (family, (own, neighbour)) in neighbours.iter().enumerate() {
        for by in [Transport::Tcp, Transport::Udp] {
            let seen = one.ns.ask(by, &format!("{}:9000", stations[family])).unwrap();
            assert_eq!(seen.to_string(), Lab::HOST[family], "{by:?} to the LAN");
            let seen = one.ns.ask(by, &format!("{neighbour}:9000")).unwrap();
            assert_eq!(&seen.to_string(), own, "{by:?} to a neighbour");
        }
    }
}

#[test]
fn without_masquerading_the_lan_sees_the_container() {
    let lab = Lab::new();
    lab.route_from_lan(V4);
    lab.route_from_lan(V6);
    let chain = lab.chain(network(json!({"isDefaultGateway": true, "ipam": ranges(&[V4, V6])})));
    let container = lab.container();
    let attached = chain.attach(&container);
    lab.settle(&[&container]);
    let _lan = lab.lan.serve(9000);
    let seen = container.ns.ask(Transport::Tcp, "192.0.2.2:9000").unwrap();
    assert_eq!(seen.to_string(), attached.v4());
    let seen = container.ns.ask(Transport::Tcp, "[2001:db8::2]:9000").unwrap();
    assert_eq!(seen.to_string(), attached.v6());
    assert!(lab.lan.ping(&attached.v4()), "routed traffic reaches the container");
    assert!(lab.lan.ping(&attached.v6()), "routed traffic reaches the container");
}

#[test]
fn detach_leaves_nothing_however_the_container_ended() {
    for masquerade in [false, true] {
        for end in End::ALL {
            let lab = Lab::still();
            if lab.is_reference() && !matches!(end, End::Usual) {
                // It keeps its masquerading rules without a namespace.
                continue;
            }
            let chain = lab.chain(network(
                json!({"ipMasq": masquerade, "hairpinMode": true, "ipam": ranges(&[V4, V6])}),
            ));
            let before = chain.used();
            chain.comes_and_goes(end, &before);
            assert!(lab.leased("net").is_empty(), "{end:?}, masquerade {masquerade}");
        }
    }
}

#[test]
fn detach_of_what_never_was_succeeds() {
    let lab = Lab::new();
    let chain = lab.chain(network(json!({"ipMasq": true})));
    let before = chain.used();
    let stranger = lab.container();
    chain.del(&stranger, None).unwrap();
    chain.del_without_namespace(&stranger).unwrap();
    lab.assert_as_before(&before);
}

#[test]
fn detach_of_one_leaves_the_others() {
    let lab = Lab::new();
    let chain = lab.chain(network(json!({"isDefaultGateway": true, "ipMasq": true})));
    let (stays, goes) = (lab.container(), lab.container());
    let kept = chain.attach(&stays);
    let gone = chain.attach(&goes);
    chain.detach(&goes, &gone);
    let _lan = lab.lan.serve(9000);
    let seen = stays.ns.ask(Transport::Tcp, "192.0.2.2:9000").unwrap();
    assert_eq!(seen.to_string(), Lab::HOST[0]);
    chain.check(&stays, &kept).unwrap();
    assert_eq!(lab.leased("net"), kept.addresses());
}

#[test]
fn a_failed_attach_leaves_nothing() {
    let lab = Lab::new();
    if lab.is_reference() {
        // It leaves eth0 in the container.
        return;
    }
    // The pool holds one address.
    let ipam = json!({"type": "host-local", "ranges": [[
        {"subnet": V4, "rangeStart": "10.88.0.5", "rangeEnd": "10.88.0.5"}]]});
    let chain = lab.chain(network(json!({"ipMasq": true, "ipam": ipam})));
    let holder = lab.container();
    chain.attach(&holder);
    let before = lab.snapshot();
    let late = lab.container();
    let text = chain.add(&late).unwrap_err().error_text();
    assert!(text.contains("10.88.0.5"), "the range is named: {text}");
    lab.assert_as_before(&before);
    assert!(late.ns.link("eth0").is_none());

    // The interface's name is taken.
    let lab = Lab::new();
    let chain = lab.chain(network(json!({"ipMasq": true})));
    let before = chain.used();
    let taken = lab.container();
    taken.ns.ip("link add eth0 type ifb");
    let text = chain.add(&taken).unwrap_err().error_text();
    assert!(text.contains("eth0"), "{text}");
    lab.assert_as_before(&before);
    assert_eq!(taken.ns.link("eth0").unwrap()["linkinfo"]["info_kind"], "ifb");
}

#[test]
fn attaching_twice_is_refused_and_leaves_the_first() {
    let lab = Lab::new();
    let chain = lab.chain(network(json!({})));
    let container = lab.container();
    let attached = chain.attach(&container);
    let before = lab.snapshot();
    chain.add(&container).unwrap_err().error();
    if !lab.is_reference() {
        lab.assert_as_before(&before);
        assert!(container.ns.ping("10.88.0.1"));
        chain.check(&container, &attached).unwrap();
    }
}

#[test]
fn two_networks_of_one_container() {
    let lab = Lab::new();
    let first = lab.chain(network(json!({"isDefaultGateway": true})));
    let mut conflist = network(json!({"bridge": "br1", "ipam": ranges(&["10.89.0.0/24"])}));
    conflist["name"] = json!("other");
    let second = lab.chain(conflist).ifname("eth1");
    let container = lab.container();
    let on_first = first.attach(&container);
    let on_second = second.attach(&container);
    assert!(container.ns.ping("10.88.0.1") && container.ns.ping("10.89.0.1"));
    second.detach(&container, &on_second);
    assert!(container.ns.link("eth1").is_none());
    assert!(container.ns.ping("10.88.0.1"));
    first.detach(&container, &on_first);
}

#[test]
fn check_names_what_differs() {
    let lab = Lab::new();
    let chain = lab.chain(network(json!({"isDefaultGateway": true})));
    for (damage, named) in [
        ("addr del 10.88.0.2/24 dev eth0", "10.88.0.2"),
        ("link del eth0", "eth0"),
        ("route del default", "0.0.0.0/0"),
    ] {
        let container = lab.container();
        let attached = chain.attach(&container);
        chain.check(&container, &attached).unwrap();
        container.ns.ip(&damage.replace("10.88.0.2", &attached.v4()));
        let text = chain.check(&container, &attached).unwrap_err().error_text();
        if !lab.is_reference() {
            let named = named.replace("10.88.0.2", &attached.v4());
            assert!(text.contains(&named) || text.contains("default"), "{damage}: {text}");
        }
        chain.detach(&container, &attached);
    }
}

#[test]
fn collection_removes_what_is_no_longer_valid() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let mut conflist = network(json!({"ipMasq": true, "ipam": ranges(&[V4, V6])}));
    conflist["cniVersion"] = json!("1.1.0");
    let chain = lab.chain(conflist);
    let stays = lab.container();
    let kept = chain.attach(&stays);
    let before = lab.snapshot();
    let goes = lab.container();
    chain.attach(&goes);
    chain.gc(&[&stays]).unwrap();
    lab.assert_as_before(&before);
    assert!(stays.ns.ping("10.88.0.1"));
    chain.check(&stays, &kept).unwrap();
}

#[test]
fn status_says_why_the_next_attach_would_fail() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let ipam = json!({"type": "host-local", "ranges": [[
        {"subnet": V4, "rangeStart": "10.88.0.5", "rangeEnd": "10.88.0.5"}]]});
    let mut conflist = network(json!({"ipam": ipam}));
    conflist["cniVersion"] = json!("1.1.0");
    let mut config = conflist["plugins"][0].clone();
    config["cniVersion"] = json!("1.1.0");
    config["name"] = json!("net");
    let status = || lab.plugin("bridge").command("STATUS").config(&config).run();
    assert_eq!(status().ok(), Value::Null);
    let holder = lab.container();
    lab.chain(conflist).attach(&holder);
    let error = status().error();
    assert!(error["code"] == 50 || error["code"] == 51, "{error}");
}

/// As many containers at once as say so: all succeed, no address is given twice, nothing is left.
fn crowd(size: usize) {
    let lab = Lab::new();
    let chain = lab.chain(network(json!({"isDefaultGateway": true, "ipMasq": true})));
    let before = chain.used();
    let containers: Vec<Container> = (0..size).map(|_| lab.container()).collect();
    let attached: Vec<Attached> = at_once(&containers, |_, c| chain.attach(c));
    let addresses: BTreeSet<String> = attached.iter().map(Attached::v4).collect();
    assert_eq!(addresses.len(), size, "every address once");
    assert_eq!(lab.leased("net").len(), size);
    assert!(containers[0].ns.ping(&attached[size - 1].v4()));
    at_once(&containers, |index, c| chain.detach(c, &attached[index]));
    lab.assert_as_before(&before);
    assert!(lab.leased("net").is_empty());
}

#[test]
fn fifty_at_once() {
    crowd(50);
}

#[test]
#[ignore = "takes long"]
fn two_hundred_at_once() {
    crowd(200);
}
