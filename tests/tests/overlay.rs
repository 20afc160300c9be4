//! Overlay networks over several nodes that share an etcd: made on one node, used on all.

use std::fs;

use cleat_tests::{Attached, Chain, Container, Etcd, Fleet, Node, wait_until};
use serde_json::{Value, json};

/// A network of 250 addresses a node.
const CREATE: &str = "network create --driver overlay --subnet 10.77.0.0/16 blue";

/// Nodes whose netd shares an etcd.
fn fleet(count: usize) -> (Fleet, Etcd) {
    let fleet = Fleet::new(count);
    let etcd = Etcd::start(&fleet, 1);
    for node in fleet.nodes() {
        node.start(&config(node, &etcd));
    }
    (fleet, etcd)
}

fn config(node: &Node, etcd: &Etcd) -> Value {
    let mut section = node.overlay_section(etcd);
    section["linger"] = 1.into();
    json!({"overlay": section})
}

/// What the command prints.
#[track_caller]
fn cleat(node: &Node, line: &str) -> String {
    let output = node.lab.cleat(line).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What the command says against it.
#[track_caller]
fn refused(node: &Node, line: &str) -> String {
    let output = node.lab.cleat(line).output().unwrap();
    assert!(!output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn shown(node: &Node, line: &str) -> Value {
    serde_json::from_str(&cleat(node, &format!("--format json {line}"))).unwrap()
}

/// The network as this node's runtimes find it.
#[track_caller]
fn chain<'n>(node: &'n Node, network: &str) -> Chain<'n> {
    let file = node.lab.folder().join(format!("net.d/zz-cleat-{network}.conflist"));
    wait_until("the conflist is there", || file.exists());
    let list = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    node.lab.chain(list).capabilities(json!({"aliases": [format!("on-{}", node.name())]}))
}

/// A container on each node.
fn one_each<'f>(fleet: &'f Fleet, network: &str) -> Vec<(Chain<'f>, Container, Attached)> {
    let attach = |node: &'f Node| {
        let chain = chain(node, network);
        let container = node.lab.container();
        let attached = chain.attach(&container);
        (chain, container, attached)
    };
    fleet.nodes().iter().map(attach).collect()
}

/// Where a container asks for names.
fn gateway(attached: &Attached) -> String {
    attached.result["ips"][0]["gateway"].as_str().unwrap().to_owned()
}

#[test]
fn containers_of_all_nodes_reach_each_other_and_know_their_names() {
    let (fleet, _etcd) = fleet(3);
    cleat(&fleet[1], CREATE);
    let all = one_each(&fleet, "blue");
    for (_, from, own) in &all {
        assert_eq!(from.ns.link("eth0").unwrap()["mtu"], 1450);
        for (_, _, to) in all.iter().filter(|(_, other, _)| other.id != from.id) {
            wait_until("a container of another node", || from.ns.ping(&to.v4()));
        }
        let gateway = gateway(own);
        for (index, (_, _, to)) in all.iter().enumerate() {
            let name = format!("on-node{}", index + 1);
            let data = || from.ns.look_up(&gateway, &name, "A").data;
            wait_until("the name of a container elsewhere", || data() == [to.v4()]);
        }
    }
    // To the outside each node translates; between nodes addresses stay.
    let outside = &fleet[1].lab.lan;
    assert!(all[0].1.ns.ping("192.0.2.254") || outside.ping("192.0.2.11"));
    let nodes = shown(&fleet[2], "node ls");
    let names: Vec<&str> =
        nodes.as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["node1", "node2", "node3"]);
    for node in nodes.as_array().unwrap() {
        assert_eq!((&node["alive"], node["blocks"].as_array().unwrap().len()), (&json!(true), 1));
    }
    let inspected = shown(&fleet[3], "network inspect blue");
    let peers = inspected[0]["overlay"]["peers"].as_array().unwrap();
    assert_eq!(peers.len(), 3, "{inspected}");
    let doctor = node_findings(&fleet[1]);
    let found = doctor.iter().find(|f| f["subject"] == "overlay blue").unwrap();
    assert_eq!(found["found"], "2 other nodes are reached with packets of 1450 bytes");
}

fn node_findings(node: &Node) -> Vec<Value> {
    let output = node.lab.cleat("--format json doctor").output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_network_is_there_and_goes_everywhere() {
    let (fleet, _etcd) = fleet(2);
    let (one, two) = (&fleet[1], &fleet[2]);
    cleat(one, CREATE);
    let refusal = refused(two, "network create --driver overlay --subnet 10.77.4.0/22 green");
    assert!(refusal.contains("10.77.0.0/16") && refusal.contains("blue"), "{refusal}");
    let refusal = refused(two, "network create --driver overlay --vni 4096 green");
    assert!(refusal.contains("4096") && refusal.contains("blue"), "{refusal}");
    let used = chain(two, "blue");
    let container = two.lab.container();
    let attached = used.attach(&container);
    let refusal = refused(one, "network rm blue");
    assert!(refusal.contains("node2"), "{refusal}");
    used.detach(&container, &attached);
    wait_until("the node has left", || two.lab.host.ip_json("link show type vxlan") == json!([]));
    let claims = || shown(one, "network inspect blue")[0]["overlay"]["peers"].clone();
    wait_until("the store knows", || claims() == json!([]));
    cleat(one, "network rm blue");
    let gone = |node: &Node| !node.lab.folder().join("net.d/zz-cleat-blue.conflist").exists();
    assert!(gone(one));
    wait_until("it is gone there as well", || gone(two));
}

#[test]
fn an_encrypted_network_needs_wireguard() {
    let (fleet, _etcd) = fleet(1);
    let (line, probe) = (format!("{CREATE} --encrypted"), cleat_tests::Namespace::create("probe"));
    let has = probe.command("ip").args(["link", "add", "w", "type", "wireguard"]).output().unwrap();
    if has.status.success() {
        cleat(&fleet[1], &line);
        return;
    }
    let refusal = refused(&fleet[1], &line);
    assert!(refusal.contains("CONFIG_WIREGUARD"), "{refusal}");
    let networks = shown(&fleet[1], "network ls");
    assert!(networks.as_array().unwrap().iter().all(|n| n["name"] != "blue"), "{networks}");
    // The others need none.
    cleat(&fleet[1], CREATE);
}
