//! VLANs on bridges, in a kernel that filters them.
//@ vm-modules: bridge 8021q

use cleat_tests::{Container, Lab, Outcome, Transport};
use serde_json::{Value, json};

/// Networks on one bridge, told apart by their name and addresses.
fn network(number: u8, extra: Value) -> Value {
    let mut plugin = json!({
        "type": "bridge",
        "bridge": "clv",
        "ipam": {"type": "host-local", "ranges": [
            [{"subnet": "10.88.0.0/24", "rangeStart": format!("10.88.0.{}", 10 * number)}],
            [{"subnet": "fd00:88::/64", "rangeStart": format!("fd00:88::{}", 10 * number)}],
        ]},
    });
    for (key, value) in extra.as_object().unwrap() {
        plugin[key] = value.clone();
    }
    json!({"cniVersion": "1.0.0", "name": format!("net{number}"), "plugins": [plugin]})
}

/// The VLANs of a bridge's port, as `1:PVID,Egress Untagged`.
fn vlans(lab: &Lab, host_end: &str) -> Vec<String> {
    let shown = lab.host.sh(&format!("bridge -j vlan show dev {host_end}"));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let mut lines = Vec::new();
    for vlan in shown[0]["vlans"].as_array().unwrap() {
        let flags: Vec<&str> = vlan["flags"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|flag| flag.as_str().unwrap())
            .collect();
        lines.push(format!("{}:{}", vlan["vlan"], flags.join(",")));
    }
    lines
}

fn reaches(from: &Container, to: &[String]) -> bool {
    to.iter().all(|address| from.ns.ping(address))
}

#[test]
fn a_port_is_in_its_vlan_only() {
    let lab = Lab::still();
    let before = lab.snapshot();
    let (red, blue) =
        (lab.chain(network(1, json!({"vlan": 100}))), lab.chain(network(2, json!({"vlan": 200}))));
    let [one, two, three] = [lab.container(), lab.container(), lab.container()];
    let first = red.attach(&one);
    let second = red.attach(&two);
    let third = blue.attach(&three);
    assert!(reaches(&one, &second.addresses()));
    assert!(!third.addresses().iter().any(|address| one.ns.ping(address)));
    let host_end = first.result["interfaces"][1]["name"].as_str().unwrap();
    assert_eq!(vlans(&lab, host_end), ["100:PVID,Egress Untagged"]);
    red.check(&one, &first).unwrap();
    for (chain, container, attached) in
        [(&red, &one, &first), (&red, &two, &second), (&blue, &three, &third)]
    {
        chain.detach(container, attached);
    }
    lab.host.ip("link del clv");
    let left = lab.additions(&before);
    assert!(!left.contains("veth") && !left.contains("10.88"), "{left}");
}

#[test]
fn a_port_has_the_vlans_that_are_asked_for() {
    for (extra, want) in [
        (
            json!({"vlan": 100, "preserveDefaultVlan": true}),
            vec!["1:Egress Untagged", "100:PVID,Egress Untagged"],
        ),
        (
            json!({"vlanTrunk": [{"id": 5}, {"minID": 7, "maxID": 9}]}),
            vec!["1:PVID,Egress Untagged", "5:", "7:", "8:", "9:"],
        ),
        (json!({"vlan": 3, "vlanTrunk": [{"id": 5}]}), vec!["3:PVID,Egress Untagged", "5:"]),
        (
            json!({"vlan": 7, "vlanTrunk": [{"minID": 6, "maxID": 8}]}),
            vec!["6:", "7:PVID,Egress Untagged", "8:"],
        ),
    ] {
        let lab = Lab::still();
        let container = lab.container();
        let attached = lab.chain(network(1, extra.clone())).attach(&container);
        let host_end = attached.result["interfaces"][1]["name"].as_str().unwrap();
        assert_eq!(vlans(&lab, host_end), want, "{extra}");
    }
}

#[test]
fn a_trunk_carries_tagged_frames() {
    let lab = Lab::still();
    let access = lab.chain(network(1, json!({"vlan": 100})));
    let trunk = lab.chain(network(2, json!({"vlanTrunk": [{"id": 100}], "ipam": {}})));
    let [one, two] = [lab.container(), lab.container()];
    let first = access.attach(&one);
    trunk.attach(&two);
    two.ns.ip("link add link eth0 name eth0.100 type vlan id 100");
    two.ns.ip("addr add 10.88.0.200/24 dev eth0.100");
    two.ns.ip("link set eth0.100 up");
    assert!(two.ns.ping(&first.v4()));
}

#[test]
fn a_bridge_that_does_not_filter_is_made_to() {
    let lab = Lab::still();
    lab.host.ip("link add clv type bridge");
    lab.host.ip("link set clv up");
    let [one, two] = [lab.container(), lab.container()];
    lab.chain(network(1, json!({"vlan": 100}))).attach(&one);
    let other = lab.chain(network(2, json!({"vlan": 200}))).attach(&two);
    assert!(!one.ns.ping(&other.v4()));
    let filtering =
        lab.host.link("clv").unwrap()["linkinfo"]["info_data"]["vlan_filtering"].clone();
    assert_eq!(filtering, 1);
}

/// A network in a VLAN, with a gateway in it.
fn routed(number: u8, vlan: u16) -> Value {
    let bridge = json!({
        "type": "bridge", "bridge": "clv", "vlan": vlan, "isDefaultGateway": true, "ipMasq": true,
        "ipam": {"type": "host-local", "ranges": [
            [{"subnet": format!("10.88.{number}.0/24")}], [{"subnet": format!("fd00:88:{number}::/64")}],
        ]},
    });
    json!({"cniVersion": "1.0.0", "name": format!("net{number}"), "plugins": [
        bridge, {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "firewall", "ingressPolicy": "same-bridge"}]})
}

#[test]
fn a_vlan_has_a_gateway_of_its_own() {
    let lab = Lab::new();
    let before = lab.snapshot();
    let publish =
        json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    let (red, blue) = (lab.chain(routed(1, 100)).capabilities(publish), lab.chain(routed(2, 200)));
    let (one, two, other) = (lab.container(), lab.container(), lab.container());
    let first = red.attach(&one);
    let second = blue.attach(&other);
    let names: Vec<&str> = first.result["interfaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|interface| interface["name"].as_str().unwrap())
        .collect();
    assert_eq!((names[0], names[2], names[3]), ("clv", "eth0", "clv.100"), "{names:?}");
    assert_eq!(vlans(&lab, names[1]), ["100:PVID,Egress Untagged"]);
    assert_eq!(lab.host.addresses("clv"), Vec::<String>::new(), "the bridge itself is in neither");
    for (container, gateways) in
        [(&one, ["10.88.1.1", "fd00:88:1::1"]), (&other, ["10.88.2.1", "fd00:88:2::1"])]
    {
        assert!(reaches(container, &gateways.map(str::to_owned)), "{gateways:?}");
        assert!(reaches(container, &Lab::LAN.map(str::to_owned)), "{gateways:?}");
    }
    assert!(!one.ns.ping(&second.v4()), "same-bridge lets no other network in");
    let _server = one.ns.serve(80);
    for host in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
        lab.lan.ask(Transport::Tcp, host).unwrap_or_else(|e| panic!("{host}: {e}"));
    }
    red.check(&one, &first).unwrap();
    let neighbours = lab.host.ip("neigh show dev clv.100 nud permanent");
    assert!(neighbours.contains(&first.v4()), "{neighbours}");
    // Taken away by others, it is put back: in its VLAN, and with what it had.
    for taken in ["link del clv.100", "link set clv.100 down", "addr del 10.88.1.1/24 dev clv.100"]
    {
        lab.host.ip(taken);
        Outcome::of(&mut lab.cleat("--format json gc")).ok();
        for gateway in ["10.88.1.1", "fd00:88:1::1"] {
            assert!(reaches(&one, &[gateway.to_owned()]), "{gateway} after {taken}");
        }
    }
    Outcome::of(&mut lab.cleat("--format json gc")).ok();
    assert_eq!(lab.host.ip("neigh show dev clv.100 nud permanent"), neighbours);

    // The reference's way with names: another's link in its place is told of.
    red.detach(&one, &first);
    assert_eq!(lab.host.ip("neigh show dev clv.100 nud permanent").trim(), "");
    lab.host.ip("link del clv.100");
    lab.host.ip("link add clv.100 type bridge");
    let refused = red.add(&one).unwrap_err();
    assert!(refused.error_text().contains("clv.100 exists and is a bridge"), "{refused:?}");
    lab.host.ip("link del clv.100");
    let again = red.attach(&two);
    assert!(reaches(&two, &["10.88.1.1".to_owned()]));
    red.detach(&two, &again);
    blue.detach(&other, &second);

    let mut cleat = lab.host.command(lab.programs().path("cleat"));
    let output = cleat.args(["uninstall", "--force"]).envs(lab.environment()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let left = lab.additions(&before);
    assert!(!left.contains("clv") && !left.contains("clgw") && !left.contains("cleat"), "{left}");
}
