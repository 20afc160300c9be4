//! Overlay networks over several nodes that share an etcd: made on one node, used on all.

use cleat_tests::{Fleet, Node, Placed, wait_until};
use serde_json::{Value, json};

/// A network of 250 addresses a node.
const CREATE: &str = "network create --driver overlay --subnet 10.77.0.0/16 blue";

/// A container on each node.
fn one_each<'f>(fleet: &'f Fleet, network: &str) -> Vec<Placed<'f>> {
    fleet.nodes().iter().map(|node| node.place(network, &format!("on-{}", node.name()))).collect()
}

#[test]
fn containers_of_all_nodes_reach_each_other_and_know_their_names() {
    let (fleet, _etcd) = Fleet::sharing(3);
    fleet[1].cleat(CREATE);
    let all = one_each(&fleet, "blue");
    for (from, placed) in all.iter().enumerate() {
        assert_eq!(placed.container.ns.link("eth0").unwrap()["mtu"], 1450);
        for (to, other) in all.iter().enumerate() {
            if to != from {
                wait_until("a container of another node", || placed.reaches(other));
            }
            let name = format!("on-node{}", to + 1);
            wait_until("the name of a container", || placed.finds(&name) == [other.v4()]);
        }
    }
    // To the outside each node translates; between nodes addresses stay.
    let switch = fleet.switch.addresses("br0");
    let outside = switch.iter().find(|address| !address.contains(':')).unwrap();
    assert!(all[0].container.ns.ping(outside.split('/').next().unwrap()), "{outside}");
    let nodes = fleet[2].cleat_json("node ls");
    let names: Vec<&str> =
        nodes.as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["node1", "node2", "node3"]);
    for node in nodes.as_array().unwrap() {
        assert_eq!((&node["alive"], node["blocks"].as_array().unwrap().len()), (&json!(true), 1));
    }
    let inspected = fleet[3].cleat_json("network inspect blue");
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
    let (fleet, _etcd) = Fleet::sharing(2);
    let (one, two) = (&fleet[1], &fleet[2]);
    one.cleat(CREATE);
    let refusal = two.cleat_refused("network create --driver overlay --subnet 10.77.4.0/22 green");
    assert!(refusal.contains("10.77.0.0/16") && refusal.contains("blue"), "{refusal}");
    let refusal = two.cleat_refused("network create --driver overlay --vni 4096 green");
    assert!(refusal.contains("4096") && refusal.contains("blue"), "{refusal}");
    let placed = two.place("blue", "a");
    let refusal = one.cleat_refused("network rm blue");
    assert!(refusal.contains("node2"), "{refusal}");
    placed.end();
    wait_until("the node has left", || two.lab.host.ip_json("link show type vxlan") == json!([]));
    let claims = || one.cleat_json("network inspect blue")[0]["overlay"]["peers"].clone();
    wait_until("the store knows", || claims() == json!([]));
    one.cleat("network rm blue");
    let gone = |node: &Node| !node.lab.folder().join("net.d/zz-cleat-blue.conflist").exists();
    assert!(gone(one));
    wait_until("it is gone there as well", || gone(two));
}

#[test]
fn an_encrypted_network_needs_wireguard() {
    let (fleet, _etcd) = Fleet::sharing(1);
    let (line, probe) = (format!("{CREATE} --encrypted"), cleat_tests::Namespace::create("probe"));
    let has = probe.command("ip").args(["link", "add", "w", "type", "wireguard"]).output().unwrap();
    if has.status.success() {
        fleet[1].cleat(&line);
        return;
    }
    let refusal = fleet[1].cleat_refused(&line);
    assert!(refusal.contains("CONFIG_WIREGUARD"), "{refusal}");
    let networks = fleet[1].cleat_json("network ls");
    assert!(networks.as_array().unwrap().iter().all(|n| n["name"] != "blue"), "{networks}");
    // The others need none.
    fleet[1].cleat(CREATE);
}
