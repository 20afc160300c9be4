//! The overlay plugin on a node that knows its part of the network, with no netd running: what it
//! needs no daemon for, and what it says where it would need one.

use cleat_tests::{Chain, Container, Lab};
use serde_json::{Value, json};

/// By the hash of `blue`.
const BRIDGE: &str = "clb16477688c0e";

fn join(lab: &Lab, changes: Value) {
    lab.join_overlay("blue", changes);
}

fn chain<'l>(lab: &'l Lab, extra: &Value) -> Chain<'l> {
    let mut plugin = json!({"type": "overlay", "capabilities": {"ips": true}});
    for (key, value) in extra.as_object().unwrap() {
        plugin[key] = value.clone();
    }
    lab.chain(json!({"cniVersion": "1.0.0", "name": "blue", "plugins": [plugin]}))
}

fn refused(lab: &Lab, extra: &Value, container: &Container) -> String {
    chain(lab, extra).add(container).unwrap_err().error_text()
}

#[test]
fn a_container_is_attached_without_a_daemon_and_leaves_nothing() {
    let lab = Lab::new();
    join(&lab, json!({}));
    let chain = chain(&lab, &json!({}));
    let (one, two) = (lab.container(), lab.container());
    let first = chain.attach(&one);
    let second = chain.attach(&two);
    assert_eq!(first.addresses(), ["10.77.1.2", "fd77:0:0:1::2"]);
    for address in second.addresses() {
        assert!(one.ns.ping(&address), "neighbour {address}");
    }
    assert_eq!(one.ns.link("eth0").unwrap()["mtu"], 1450);
    assert_eq!(lab.host.link(BRIDGE).unwrap()["mtu"], 1450);
    // By this node's own address to the outside; the whole network by the gateway.
    for address in Lab::LAN {
        assert!(one.ns.ping(address), "outside {address}");
    }
    assert_eq!(one.ns.routes("-4", "10.77.0.0/16")[0]["gateway"], "10.77.1.1");
    assert_eq!(one.ns.routes("-6", "fd77::/48")[0]["gateway"], "fd77:0:0:1::1");
    chain.check(&one, &first).unwrap();
    chain.detach(&one, &first);
    let with_second = lab.snapshot();
    let third = chain.attach(&one);
    chain.detach(&one, &third);
    lab.assert_as_before(&with_second);
    chain.detach(&two, &second);
    assert!(lab.leased("blue").is_empty());
}

#[test]
fn single_addresses_are_routed_to() {
    let lab = Lab::new();
    join(&lab, json!({"statics": ["10.77.0.9"]}));
    let neighbour = lab.container();
    let beside = chain(&lab, &json!({})).attach(&neighbour);
    let asked = json!({"ips": ["10.77.0.9"]});
    let one = lab.container();
    let with = chain(&lab, &json!({})).capabilities(asked.clone());
    let attached = with.attach(&one);
    assert_eq!(attached.result["ips"][0]["address"], "10.77.0.9/32");
    assert_eq!(attached.v6(), "fd77:0:0:1::3");
    // netd's doing, when it got the address.
    lab.host.ip(&format!("route add 10.77.0.9/32 dev {BRIDGE} proto 88"));
    assert!(one.ns.ping(&beside.v4()) && neighbour.ns.ping("10.77.0.9"));
    assert!(one.ns.ping(Lab::LAN[0]));
    with.check(&one, &attached).unwrap();
    let taken = with.add(&lab.container()).unwrap_err().error_text();
    assert!(taken.contains("10.77.0.9"), "{taken}");
    with.detach(&one, &attached);
    // One of the block's own.
    let own = chain(&lab, &json!({})).capabilities(json!({"ips": ["10.77.1.200"]}));
    let two = lab.container();
    assert_eq!(own.attach(&two).result["ips"][0]["address"], "10.77.1.200/24");
}

#[test]
fn where_netd_is_needed_and_away_it_is_said() {
    let lab = Lab::still();
    let one = lab.container();
    let before = lab.snapshot();
    let not_running = "netd, which would claim one, does not run; start netd";
    let text = refused(&lab, &json!({}), &one);
    assert!(text.contains("blue") && text.contains(not_running), "{text}");
    let outcome = lab.plugin("overlay").command("STATUS");
    let config = json!({"cniVersion": "1.1.0", "name": "blue", "type": "overlay"});
    assert!(outcome.clone().config(&config).run().error_text().contains("no member"));
    // Nothing was touched.
    lab.assert_as_before(&before);

    // Room for one.
    join(&lab, json!({"blocks": ["10.77.1.0/30", "fd77:0:0:1::/64"]}));
    outcome.clone().config(&config).run().ok();
    let chain = chain(&lab, &json!({}));
    chain.attach(&one);
    let text = refused(&lab, &json!({}), &lab.container());
    assert!(text.contains(not_running), "{text}");
    assert!(outcome.clone().config(&config).run().error_text().contains("10.77.1"));
    let elsewhere = chain.capabilities(json!({"ips": ["10.77.0.9"]}));
    assert!(elsewhere.add(&lab.container()).unwrap_err().error_text().contains(not_running));

    join(&lab, json!({"halted": "block 10.77.1.0/24 is another node's as well"}));
    let text = refused(&lab, &json!({}), &lab.container());
    assert!(text.contains("another node's as well"), "{text}");
    assert!(outcome.config(&config).run().error_text().contains("another node's as well"));
}

#[test]
fn wrong_values_are_named() {
    let lab = Lab::still();
    join(&lab, json!({}));
    let one = lab.container();
    for (extra, words) in [
        (json!({"mtu": 1451}), ["mtu: 1451", "1450"]),
        (json!({"inboundPolicy": "shut"}), ["inboundPolicy", "published"]),
        (
            json!({"ipam": {"type": "host-local", "subnet": "10.1.0.0/24"}}),
            ["ipam", "leave it out"],
        ),
    ] {
        let text = refused(&lab, &extra, &one);
        assert!(words.iter().all(|word| text.contains(word)), "{extra}: {text}");
    }
    let outside = chain(&lab, &json!({"ipam": {}})).capabilities(json!({"ips": ["10.1.0.5"]}));
    let text = outside.add(&one).unwrap_err().error_text();
    assert!(text.contains("10.1.0.5") && text.contains("10.77.0.0/16"), "{text}");
}

#[test]
fn two_names_of_one_network_share_its_leases() {
    let lab = Lab::still();
    join(&lab, json!({}));
    let other = lab.chain(json!({"cniVersion": "1.1.0", "name": "other", "plugins": [
        {"type": "overlay", "network": "blue", "mtu": 1300},
    ]}));
    let chain = lab.chain(json!({"cniVersion": "1.1.0", "name": "blue", "plugins": [
        {"type": "overlay"},
    ]}));
    let (one, two) = (lab.container(), lab.container());
    let first = chain.attach(&one);
    let second = other.attach(&two);
    assert_eq!((first.v4().as_str(), second.v4().as_str()), ("10.77.1.2", "10.77.1.3"));
    assert_eq!(two.ns.link("eth0").unwrap()["mtu"], 1300);
    // What one runtime does not know of is not another's to free.
    chain.gc(&[&one]).unwrap();
    assert_eq!(lab.leased("blue").len(), 4);
    chain.gc(&[]).unwrap();
    assert_eq!(lab.leased("blue"), ["10.77.1.3", "fd77:0:0:1::3"]);
    assert!(one.ns.link("eth0").is_none() && two.ns.link("eth0").is_some());
}

#[test]
fn an_internal_network_has_no_way_out() {
    let lab = Lab::new();
    join(&lab, json!({}));
    let chain = chain(&lab, &json!({"inboundPolicy": "internal"}));
    let (one, two) = (lab.container(), lab.container());
    chain.attach(&one);
    let second = chain.attach(&two);
    assert!(one.ns.ping(&second.v4()));
    assert!(!one.ns.ping(Lab::LAN[0]));
    assert!(one.ns.routes("-4", "default").is_empty());
}
