//! The plugins ipvlan, vlan and dummy, and macvlan on a VLAN, in a kernel that has them.
//@ vm-modules: ipvlan 8021q dummy macvlan
//@ vm-tools: /usr/lib/cni/ipvlan /usr/lib/cni/vlan /usr/lib/cni/host-local

use cleat_tests::{Container, End, Lab, Programs, Transport};
use serde_json::{Value, json};

/// Addresses on the LAN, beyond those that are in use there.
fn pool() -> Value {
    json!({"type": "host-local", "ranges": [
        [{"subnet": "192.0.2.0/24", "rangeStart": "192.0.2.100", "gateway": "192.0.2.2"}],
        [{"subnet": "2001:db8::/64", "rangeStart": "2001:db8::100", "gateway": "2001:db8::2"}],
    ]})
}

/// Every plugin with what it needs.
fn sections() -> [Value; 3] {
    [
        json!({"type": "ipvlan", "master": "eth0", "ipam": pool()}),
        json!({"type": "vlan", "master": "eth0", "vlanId": 5, "ipam": pool()}),
        json!({"type": "dummy", "ipam": pool()}),
    ]
}

fn with(section: &Value, extra: Value) -> Value {
    let mut section = section.clone();
    for (key, value) in extra.as_object().unwrap() {
        section[key] = value.clone();
    }
    section
}

fn network(section: Value) -> Value {
    json!({"cniVersion": "1.0.0", "name": "net", "plugins": [section]})
}

fn info(container: &Container, key: &str) -> Value {
    container.ns.link("eth0").unwrap()["linkinfo"]["info_data"][key].clone()
}

#[test]
fn ipvlans_reach_the_lan_and_each_other() {
    let lab = Lab::new();
    let chain = lab.chain(network(sections()[0].clone()));
    let (one, two) = (lab.container(), lab.container());
    let first = chain.attach(&one);
    let second = chain.attach(&two);
    for address in Lab::LAN {
        assert!(one.ns.ping(address), "the LAN's {address}");
    }
    for address in second.addresses() {
        assert!(one.ns.ping(&address), "neighbour {address}");
        assert!(lab.lan.ping(&address), "{address} from the LAN");
    }
    let master = lab.host.link("eth0").unwrap()["address"].clone();
    assert_eq!(one.ns.link("eth0").unwrap()["address"], master, "it has the master's address");
    chain.check(&one, &first).unwrap();
    chain.detach(&one, &first);
    assert!(two.ns.ping(Lab::LAN[0]));
}

#[test]
fn ipvlan_modes_are_the_kernels() {
    let lab = Lab::new();
    lab.route_from_lan("192.0.2.100/30");
    for mode in ["l2", "l3", "l3s"] {
        // A master has one mode at a time.
        let chain = lab.chain(network(with(&sections()[0], json!({"mode": mode}))));
        let container = lab.container();
        let attached = chain.attach(&container);
        assert_eq!(info(&container, "mode"), mode);
        chain.check(&container, &attached).unwrap();
        chain.detach(&container, &attached);
    }
}

#[test]
fn an_ipvlan_takes_master_and_addresses_of_an_earlier_result() {
    let lab = Lab::new();
    let section = json!({"type": "ipvlan"});
    let chain = lab.chain(network(section.clone()));
    let container = lab.container();
    let earlier = json!({"cniVersion": "1.0.0", "interfaces": [{"name": "eth0"}],
        "ips": [{"address": "192.0.2.77/24", "interface": 0}]});
    let result = chain.invocation(&section, "ADD", &container, Some(&earlier)).run().ok();
    assert_eq!(result["ips"][0]["address"], "192.0.2.77/24");
    assert!(lab.lan.ping("192.0.2.77"));
    chain.invocation(&section, "DEL", &container, Some(&result)).run().ok();
    assert!(container.ns.link("eth0").is_none());
    let several = json!({"cniVersion": "1.0.0", "interfaces": [{"name": "a"}, {"name": "b"}],
        "ips": [{"address": "192.0.2.77/24"}]});
    let outcome = chain.invocation(&section, "ADD", &container, Some(&several)).run();
    assert!(outcome.error_text().contains("master"), "{outcome:?}");
}

#[test]
fn vlans_are_reached_by_their_tag_only() {
    let lab = Lab::new();
    lab.lan.ip("link add link eth0 name eth0.5 type vlan id 5");
    lab.lan.ip("addr add 10.5.0.1/24 dev eth0.5");
    lab.lan.ip("link set eth0.5 up");
    let own = json!({"type": "host-local", "ranges": [[{"subnet": "10.5.0.0/24", "gateway": "10.5.0.1"}]]});
    for (id, reached) in [(5, true), (6, false)] {
        let section = with(&sections()[1], json!({"vlanId": id, "ipam": own, "mtu": 1400}));
        let chain = lab.chain(network(section));
        let container = lab.container();
        let attached = chain.attach(&container);
        assert_eq!(container.ns.ping("10.5.0.1"), reached, "VLAN {id}");
        assert_eq!(
            (info(&container, "id"), container.ns.link("eth0").unwrap()["mtu"].clone()),
            (json!(id), json!(1400))
        );
        chain.check(&container, &attached).unwrap();
        let second = lab.container();
        let outcome = chain.add(&second).unwrap_err();
        assert!(outcome.error_text().contains("vlan"), "one VLAN, one interface: {outcome:?}");
        chain.detach(&container, &attached);
    }
}

#[test]
fn a_macvlan_may_be_on_a_vlan() {
    let lab = Lab::new();
    for namespace in [&lab.lan, &lab.host] {
        namespace.ip("link add link eth0 name eth0.7 type vlan id 7");
        namespace.ip("link set eth0.7 up");
    }
    lab.lan.ip("addr add 10.7.0.1/24 dev eth0.7");
    let own = json!({"type": "host-local", "ranges": [[{"subnet": "10.7.0.0/24", "gateway": "10.7.0.1"}]]});
    let chain = lab.chain(network(json!({"type": "macvlan", "master": "eth0.7", "ipam": own})));
    let (one, two) = (lab.container(), lab.container());
    let first = chain.attach(&one);
    let second = chain.attach(&two);
    assert!(one.ns.ping("10.7.0.1") && one.ns.ping(&second.v4()));
    let _lan = lab.lan.serve(9000);
    let seen = one.ns.ask(Transport::Tcp, "10.7.0.1:9000").unwrap();
    assert_eq!(seen.to_string(), first.v4());
    chain.detach(&one, &first);
    chain.detach(&two, &second);
}

#[test]
fn a_dummy_holds_addresses() {
    let lab = Lab::still();
    let chain = lab.chain(network(sections()[2].clone()));
    let container = lab.container();
    let attached = chain.attach(&container);
    assert_eq!(container.ns.addresses("eth0").len(), 2);
    container.ns.ip("link set lo up");
    for address in attached.addresses() {
        assert!(container.ns.ping(&address), "{address}");
    }
    chain.check(&container, &attached).unwrap();
    container.ns.ip("link set eth0 down");
    let text = chain.check(&container, &attached).unwrap_err().error_text();
    assert!(text.contains("eth0"), "{text}");
}

#[test]
fn results_are_the_references() {
    for section in &sections()[..2] {
        for extra in
            [json!({}), json!({"mtu": 1400}), json!({"dns": {"nameservers": ["192.0.2.2"]}})]
        {
            let made_by = |programs: &Programs| {
                let lab = Lab::still();
                let mut section = with(section, extra.clone());
                // One family: the reference waits seconds for duplicate address detection.
                section["ipam"]["ranges"].as_array_mut().unwrap().truncate(1);
                let container = lab.container();
                let chain = lab.chain(network(section)).by(programs);
                let attached = chain.attach(&container);
                (attached.without_names(&container), container.ns.addresses("eth0"))
            };
            let ours = made_by(&Programs::under_test());
            assert_eq!(ours, made_by(&Programs::reference()), "{section} {extra}");
        }
    }
}

#[test]
fn the_master_may_be_in_the_container() {
    for section in &sections()[..2] {
        let lab = Lab::still();
        let container = lab.container();
        container.ns.ip("link add inner type dummy");
        container.ns.ip("link set inner up");
        let section = with(section, json!({"master": "inner", "linkInContainer": true}));
        let chain = lab.chain(network(section));
        let attached = chain.attach(&container);
        assert_eq!(container.ns.link("eth0").unwrap()["link"], "inner");
        chain.check(&container, &attached).unwrap();
        chain.detach(&container, &attached);
        assert!(container.ns.link("eth0").is_none() && container.ns.link("inner").is_some());
    }
}

#[test]
fn detach_leaves_nothing_however_the_container_ended() {
    for section in sections() {
        let lab = Lab::still();
        let chain = lab.chain(network(section.clone()));
        let before = chain.used();
        for end in End::ALL {
            chain.comes_and_goes(end, &before);
            assert!(lab.leased("net").is_empty(), "{section} {end:?}");
        }
    }
}

#[test]
fn detach_needs_no_master_and_knows_what_the_reference_made() {
    for section in &sections()[..2] {
        let lab = Lab::still();
        let mut plain = section.clone();
        plain["ipam"]["ranges"].as_array_mut().unwrap().truncate(1);
        let chain = lab.chain(network(plain.clone()));
        let foreign = lab.container();
        let made = chain.clone().by(&Programs::reference()).attach(&foreign);
        chain.check(&foreign, &made).unwrap();
        chain.detach(&foreign, &made);
        assert!(foreign.ns.link("eth0").is_none());
        let container = lab.container();
        let attached = chain.attach(&container);
        lab.host.ip("link del eth0");
        chain.detach(&container, &attached);
        let without = lab.chain(network(with(&plain, json!({"master": null}))));
        without.del_without_namespace(&container).unwrap();
        assert!(lab.leased("net").is_empty(), "{section}");
    }
}

#[test]
fn a_failed_attach_leaves_nothing() {
    for section in sections() {
        let lab = Lab::still();
        let chain = lab.chain(network(section.clone()));
        let before = chain.used();
        let taken = lab.container();
        taken.ns.ip("link add eth0 type dummy");
        let outcome = chain.add(&taken).unwrap_err();
        assert!(outcome.error_text().contains("eth0"), "{outcome:?}");
        lab.assert_as_before(&before);
        assert_eq!(taken.ns.link("eth0").unwrap()["linkinfo"]["info_kind"], "dummy");
        let mut bad = vec![(json!({"ipam": {"type": "nowhere"}}), "nowhere")];
        if section["type"] != "dummy" {
            bad.push((json!({"mtu": 9000}), "9000"));
            bad.push((json!({"master": "eth7"}), "eth7"));
        }
        for (extra, text) in bad {
            let container = lab.container();
            let outcome = lab.chain(network(with(&section, extra))).add(&container).unwrap_err();
            assert!(outcome.error_text().contains(text), "{outcome:?}");
            lab.assert_as_before(&before);
            let links = container.ns.ip_json("link");
            assert_eq!(links.as_array().unwrap().len(), 1, "{links}");
        }
    }
}

#[test]
fn check_and_collection() {
    for section in sections() {
        let lab = Lab::still();
        let mut conflist = network(section.clone());
        conflist["cniVersion"] = json!("1.1.0");
        let chain = lab.chain(conflist);
        let before = chain.used();
        let (kept, lost) = (lab.container(), lab.container());
        if section["type"] == "vlan" {
            let attached = chain.attach(&lost);
            lost.ns.ip("link del eth0");
            lost.ns.ip("link add eth0 type dummy");
            let text = chain.check(&lost, &attached).unwrap_err().error_text();
            assert!(text.contains("dummy"), "{text}");
            lost.ns.ip("link del eth0");
        } else {
            chain.attach(&kept);
            chain.attach(&lost);
            chain.gc(&[&kept]).unwrap();
            assert!(kept.ns.link("eth0").is_some() && lost.ns.link("eth0").is_none());
        }
        chain.gc(&[]).unwrap();
        lab.assert_as_before(&before);
    }
}
