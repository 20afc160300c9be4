//! The macvlan plugin: containers as stations of the host's own LAN.

use cleat_tests::{Container, End, Lab, Outcome, Programs, Transport};
use serde_json::{Value, json};

/// A network on the lab's LAN, beyond the addresses that are in use there.
fn network(extra: Value) -> Value {
    let mut plugin = json!({
        "type": "macvlan",
        "master": "eth0",
        "ipam": {"type": "host-local", "ranges": [
            [{"subnet": "192.0.2.0/24", "rangeStart": "192.0.2.100", "gateway": "192.0.2.2"}],
            [{"subnet": "2001:db8::/64", "rangeStart": "2001:db8::100", "gateway": "2001:db8::2"}],
        ]},
    });
    for (key, value) in extra.as_object().unwrap() {
        plugin[key] = value.clone();
    }
    json!({"cniVersion": "1.0.0", "name": "net", "plugins": [plugin]})
}

fn info(container: &Container, key: &str) -> Value {
    container.ns.link("eth0").unwrap()["linkinfo"]["info_data"][key].clone()
}

#[test]
fn containers_reach_the_lan_and_each_other() {
    let lab = Lab::new();
    let chain = lab.chain(network(json!({})));
    let (one, two) = (lab.container(), lab.container());
    let first = chain.attach(&one);
    let second = chain.attach(&two);
    lab.settle(&[&one, &two]);
    for address in Lab::LAN {
        assert!(one.ns.ping(address), "the LAN's {address}");
    }
    for address in second.addresses() {
        assert!(one.ns.ping(&address), "neighbour {address}");
        assert!(lab.lan.ping(&address), "{address} from the LAN");
    }
    let _lan = lab.lan.serve(9000);
    let seen = one.ns.ask(Transport::Tcp, "192.0.2.2:9000").unwrap();
    assert_eq!(seen.to_string(), first.v4());
    chain.check(&one, &first).unwrap();
    chain.detach(&one, &first);
    assert!(one.ns.link("eth0").is_none());
    assert!(two.ns.ping(Lab::LAN[0]));
    chain.detach(&two, &second);
    assert!(lab.leased("net").is_empty());
}

#[test]
fn results_are_the_references() {
    let variants = [
        json!({}),
        json!({"master": ""}),
        json!({"mode": "vepa"}),
        json!({"ipam": {}}),
        json!({"dns": {"nameservers": ["192.0.2.2"]}}),
    ];
    for version in ["0.3.1", "0.4.0", "1.0.0"] {
        for extra in &variants {
            let result_of = |programs: &Programs| {
                let lab = Lab::still();
                let mut conflist = network(extra.clone());
                conflist["cniVersion"] = json!(version);
                // One family: the reference waits seconds for duplicate address detection.
                if let Some(ranges) = conflist["plugins"][0]["ipam"]["ranges"].as_array_mut() {
                    ranges.truncate(1);
                }
                let container = lab.container();
                lab.chain(conflist).by(programs).attach(&container).without_names(&container)
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
fn modes_are_the_kernels() {
    for mode in ["bridge", "private", "vepa", "passthru"] {
        let lab = Lab::still();
        let chain = lab.chain(network(json!({"mode": mode})));
        let container = lab.container();
        let attached = chain.attach(&container);
        assert_eq!(info(&container, "mode"), mode);
        chain.check(&container, &attached).unwrap();
        chain.detach(&container, &attached);
    }
    let lab = Lab::still();
    let before = lab.snapshot();
    let container = lab.container();
    let outcome = lab.chain(network(json!({"mode": "bridged"}))).add(&container).unwrap_err();
    assert!(outcome.error_text().contains("bridged"), "{outcome:?}");
    lab.assert_as_before(&before);
}

#[test]
fn private_containers_reach_the_lan_only() {
    let lab = Lab::new();
    let chain = lab.chain(network(json!({"mode": "private"})));
    let (one, two) = (lab.container(), lab.container());
    chain.attach(&one);
    let second = chain.attach(&two);
    assert!(one.ns.ping(Lab::LAN[0]));
    assert!(!one.ns.ping(&second.v4()));
}

#[test]
fn mtu_is_at_most_the_masters() {
    let lab = Lab::still();
    let container = lab.container();
    lab.chain(network(json!({"mtu": 1400}))).attach(&container);
    assert_eq!(container.ns.link("eth0").unwrap()["mtu"], 1400);

    let lab = Lab::still();
    let before = lab.snapshot();
    let container = lab.container();
    let outcome = lab.chain(network(json!({"mtu": 9000}))).add(&container).unwrap_err();
    let text = outcome.error_text();
    assert!(text.contains("9000") && text.contains("1500"), "{text}");
    if !lab.is_reference() {
        lab.assert_as_before(&before);
    }
    assert!(container.ns.link("eth0").is_none());
}

#[test]
fn link_address_by_capability_then_environment_then_config() {
    let (capability, environment, config) =
        ("02:00:00:00:00:01", "02:00:00:00:00:03", "02:00:00:00:00:04");
    for (asked, args, want) in [
        (json!({"mac": capability}), format!("MAC={environment}"), capability),
        (json!({}), format!("MAC={environment}"), environment),
        (json!({}), String::new(), config),
    ] {
        let lab = Lab::still();
        let container = lab.container();
        let chain = lab
            .chain(network(json!({"mac": config, "capabilities": {"mac": true}})))
            .capabilities(asked)
            .args(format!("IgnoreUnknown=1;{args}").trim_end_matches(';'));
        let attached = chain.attach(&container);
        assert_eq!(container.ns.link("eth0").unwrap()["address"], want);
        assert_eq!(attached.result["interfaces"][0]["mac"], want);
    }
}

#[test]
fn the_master_may_be_in_the_container() {
    let lab = Lab::new();
    if lab.is_reference() {
        // Debian's is older than the key.
        return;
    }
    let container = lab.container();
    container.ns.ip("link add up0 type veth peer name up1");
    container.ns.ip("link set up0 up");
    container.ns.ip("link set up1 up");
    let chain = lab.chain(network(json!({"master": "up0", "linkInContainer": true})));
    let before = lab.snapshot();
    let attached = chain.attach(&container);
    assert_eq!(info(&container, "mode"), "bridge");
    chain.check(&container, &attached).unwrap();
    chain.detach(&container, &attached);
    assert!(container.ns.link("eth0").is_none());
    assert!(container.ns.link("up0").is_some());
    lab.assert_as_before(&before);
}

#[test]
fn broadcast_queue_length() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let container = lab.container();
    lab.chain(network(json!({"bcqueuelen": 2000}))).attach(&container);
    assert_eq!(info(&container, "bcqueuelen"), 2000);
}

#[test]
fn detach_leaves_nothing_however_the_container_ended() {
    for end in End::ALL {
        let lab = Lab::still();
        if lab.is_reference() && matches!(end, End::NoNamespace | End::NotANamespace) {
            // It leaves the link while the namespace lives, and fails on what is none.
            continue;
        }
        let chain = lab.chain(network(json!({})));
        let before = chain.used();
        chain.comes_and_goes(end, &before);
        assert!(lab.leased("net").is_empty(), "{end:?}");
    }
}

#[test]
fn a_failed_attach_leaves_nothing() {
    let lab = Lab::new();
    if lab.is_reference() {
        // It leaves eth0 in the container.
        return;
    }
    let full = json!({"type": "host-local", "ranges": [[{"subnet": "192.0.2.0/24",
        "rangeStart": "192.0.2.100", "rangeEnd": "192.0.2.100"}]]});
    let chain = lab.chain(network(json!({"ipam": full})));
    let holder = lab.container();
    chain.attach(&holder);
    let before = lab.snapshot();
    let late = lab.container();
    let text = chain.add(&late).unwrap_err().error_text();
    assert!(text.contains("192.0.2.100"), "the range is named: {text}");
    lab.assert_as_before(&before);
    assert!(late.ns.link("eth0").is_none());
}

#[test]
fn a_missing_master_is_named() {
    let lab = Lab::new();
    let before = lab.snapshot();
    let container = lab.container();
    let mut conflist = network(json!({"master": "nowhere0"}));
    let outcome = lab.chain(conflist.clone()).add(&container).unwrap_err();
    if lab.is_reference() {
        outcome.error();
        return;
    }
    assert!(outcome.error_text().contains("nowhere0"), "{outcome:?}");
    lab.assert_as_before(&before);
    conflist["plugins"][0]["cniVersion"] = json!("1.1.0");
    conflist["plugins"][0]["name"] = json!("net");
    let status =
        lab.plugin("macvlan").command("STATUS").config(&conflist["plugins"][0]).run().error();
    assert!(status["code"] == 50 || status["code"] == 51, "{status}");
    assert!(status.to_string().contains("nowhere0"), "{status}");
}

#[test]
fn host_access_connects_host_and_containers() {
    let lab = Lab::new();
    let container = lab.container();
    let plain = lab.chain(network(json!({}))).attach(&container);
    assert!(!lab.host.ping(&plain.v4()), "a master does not reach its macvlans");
    if lab.is_reference() {
        return;
    }
    let lab = Lab::new();
    let chain = lab.chain(network(json!({"hostAccess": true})));
    let container = lab.container();
    let attached = chain.attach(&container);
    for address in attached.addresses() {
        assert!(lab.host.ping(&address), "{address} from the host");
    }
    for address in Lab::HOST {
        assert!(container.ns.ping(address), "the host's {address}");
    }
    assert!(container.ns.ping(Lab::LAN[0]));
    // Taken away by others, it is put back.
    let links = lab.host.ip_json("link show type macvlan");
    let own = links[0]["ifname"].as_str().unwrap();
    let routed = attached.v4();
    for taken in ["link del OWN", "link set OWN down", "route del ADDRESS dev OWN"] {
        lab.host.ip(&taken.replace("OWN", own).replace("ADDRESS", &routed));
        assert!(!lab.host.ping(&routed), "{taken} takes nothing away");
        Outcome::of(&mut lab.cleat("--format json gc")).ok();
        for address in attached.addresses() {
            assert!(lab.host.ping(&address), "{address} from the host, after {taken}");
        }
    }
    chain.detach(&container, &attached);
    assert!(lab.host.ping(Lab::LAN[0]), "the host's own way to the LAN");
}
