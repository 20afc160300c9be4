//! The host-device plugin: a device of the host's in a container, and back again.

use cleat_tests::{End, Lab, Programs};
use serde_json::{Value, json};

const MAC: &str = "02:00:00:00:00:d0";

/// A host with a device of its own on the LAN, beside eth0.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.host.ip(&format!(
        "link add dev0 address {MAC} type veth peer name port0 netns {}",
        lab.lan.name()
    ));
    lab.host.ip("link set dev0 alias uplink up");
    lab.lan.ip("addr add 10.7.0.1/24 dev port0");
    lab.lan.ip("link set port0 up");
    lab
}

fn network(extra: Value) -> Value {
    let mut plugin = json!({"type": "host-device", "ipam": {"type": "host-local", "ranges": [
        [{"subnet": "10.7.0.0/24", "rangeStart": "10.7.0.100", "gateway": "10.7.0.1"}]]}});
    for (key, value) in extra.as_object().unwrap() {
        plugin[key] = value.clone();
    }
    json!({"cniVersion": "1.0.0", "name": "net", "plugins": [plugin]})
}

fn by_name() -> Value {
    network(json!({"device": "dev0"}))
}

#[test]
fn a_device_is_the_containers_while_it_lives() {
    for section in [json!({"device": "dev0"}), json!({"hwaddr": MAC})] {
        let lab = lab();
        let chain = lab.chain(network(section.clone()));
        let container = lab.container();
        let attached = chain.attach(&container);
        assert!(lab.host.link("dev0").is_none());
        assert_eq!(container.ns.link("eth0").unwrap()["address"], MAC);
        assert!(container.ns.ping("10.7.0.1"), "{section}");
        chain.check(&container, &attached).unwrap();
        chain.detach(&container, &attached);
        let back = lab.host.link("dev0").unwrap();
        assert_eq!(back["address"], MAC);
        assert!(container.ns.link("eth0").is_none());
        assert!(lab.leased("net").is_empty());
        if !lab.is_reference() {
            assert_eq!(back["ifalias"], "uplink", "as it was");
            assert!(back["flags"].as_array().unwrap().contains(&json!("UP")), "{back}");
        }
    }
}

#[test]
fn without_addresses_it_is_a_link_and_up() {
    let lab = lab();
    let chain = lab.chain(network(json!({"device": "dev0", "ipam": {}})));
    let container = lab.container();
    let attached = chain.attach(&container);
    let flags = container.ns.link("eth0").unwrap()["flags"].clone();
    assert!(flags.as_array().unwrap().contains(&json!("UP")));
    chain.detach(&container, &attached);
    assert!(lab.host.link("dev0").is_some());
}

#[test]
fn results_are_the_references() {
    for extra in [json!({}), json!({"ipam": {}}), json!({"dns": {"nameservers": ["10.7.0.1"]}})] {
        let made_by = |programs: &Programs| {
            let lab = lab();
            let mut section = extra.clone();
            section["device"] = json!("dev0");
            let container = lab.container();
            let chain = lab.chain(network(section)).by(programs);
            chain.attach(&container).without_names(&container)
        };
        assert_eq!(made_by(&Programs::under_test()), made_by(&Programs::reference()), "{extra}");
    }
}

#[test]
fn bad_configurations_are_refused_before_anything_is_done() {
    let lab = lab();
    if lab.is_reference() {
        return;
    }
    let before = lab.snapshot();
    for (extra, text) in [
        (json!({}), "one of device"),
        (json!({"device": "dev0", "hwaddr": MAC}), "one of device"),
        (json!({"device": "a/b"}), "device"),
        (json!({"device": "dev7"}), "dev7"),
        (json!({"hwaddr": "02:00"}), "hwaddr"),
        (json!({"hwaddr": "02:00:00:00:00:99"}), "02:00:00:00:00:99"),
        (json!({"kernelpath": "/etc/passwd"}), "kernelpath"),
        (json!({"kernelpath": "/sys/devices/../../etc"}), "kernelpath"),
        (json!({"kernelpath": "/sys/devices/nowhere"}), "nowhere"),
        (json!({"pciBusID": "../../x"}), "pciBusID"),
        (json!({"pciBusID": "0000:ff:1f.7"}), "0000:ff:1f.7"),
    ] {
        let container = lab.container();
        let outcome = lab.chain(network(extra.clone())).add(&container).unwrap_err();
        assert!(outcome.error_text().contains(text), "{extra}: {outcome:?}");
        lab.assert_as_before(&before);
    }
}

#[test]
fn a_failed_attach_gives_the_device_back() {
    let lab = lab();
    if lab.is_reference() {
        return;
    }
    let chain = lab.chain(by_name());
    let before = chain.used();
    let taken = lab.container();
    taken.ns.ip("link add eth0 type veth peer name other");
    let outcome = chain.add(&taken).unwrap_err();
    assert!(outcome.error_text().contains("eth0"), "{outcome:?}");
    lab.assert_as_before(&before);
    let container = lab.container();
    let unreachable = json!([{"dst": "10.200.0.0/16", "gw": "10.99.0.1"}]);
    let mut conflist = by_name();
    conflist["plugins"][0]["ipam"]["routes"] = unreachable;
    let outcome = lab.chain(conflist).add(&container).unwrap_err();
    assert!(outcome.error_text().contains("10.200.0.0/16"), "{outcome:?}");
    lab.assert_as_before(&before);
}

#[test]
fn a_container_that_has_a_link_of_that_name_keeps_it() {
    let lab = lab();
    let container = lab.container();
    container.ns.ip("link add dev0 type veth peer name other");
    let chain = lab.chain(by_name());
    if lab.is_reference() {
        return;
    }
    let attached = chain.attach(&container);
    assert_eq!(container.ns.link("eth0").unwrap()["address"], MAC);
    chain.detach(&container, &attached);
    assert!(container.ns.link("dev0").is_some());
    assert_eq!(lab.host.link("dev0").unwrap()["address"], MAC);
}

#[test]
fn detach_gives_the_device_back_however_the_container_ended() {
    for end in End::ALL {
        let lab = lab();
        if lab.is_reference() && !matches!(end, End::Usual) {
            // It keeps the address, or fails.
            continue;
        }
        let chain = lab.chain(by_name());
        let before = chain.used();
        let container = lab.container();
        let attached = chain.attach(&container);
        chain.detach_by(end, &container, &attached);
        if !lab.is_reference() {
            chain.detach_by(end, &container, &attached);
        }
        assert!(lab.leased("net").is_empty(), "{end:?}");
        // A virtual device, unlike a real one, goes with the namespace that it is in.
        if matches!(end, End::Usual | End::NoNamespace) {
            lab.assert_as_before(&before);
        }
    }
}

#[test]
fn what_one_attached_the_other_gives_back() {
    let lab = lab();
    let (ours, reference) = (lab.chain(by_name()), lab.chain(by_name()).by(&Programs::reference()));
    if lab.is_reference() {
        return;
    }
    for (makes, frees) in [(&reference, &ours), (&ours, &reference)] {
        let container = lab.container();
        let attached = makes.attach(&container);
        frees.check(&container, &attached).unwrap();
        frees.detach(&container, &attached);
        assert_eq!(lab.host.link("dev0").unwrap()["address"], MAC);
        assert!(lab.leased("net").is_empty());
    }
}

#[test]
fn collection_gives_back_what_is_no_longer_valid() {
    let lab = lab();
    if lab.is_reference() {
        return;
    }
    let mut conflist = by_name();
    conflist["cniVersion"] = json!("1.1.0");
    let chain = lab.chain(conflist);
    let before = chain.used();
    let container = lab.container();
    chain.attach(&container);
    chain.gc(&[&container]).unwrap();
    assert!(lab.host.link("dev0").is_none());
    chain.gc(&[]).unwrap();
    lab.assert_as_before(&before);
}
