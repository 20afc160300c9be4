//! Encrypted overlay networks between nodes, in a kernel that has WireGuard: made by the command,
//! kept by netd, and counted on the switch in between, where nothing of them is to be read.
//@ vm-modules: wireguard vxlan
//@ vm-tools: etcd etcdctl /usr/bin/setpriv
//@ vm-memory: 2048
//@ vm-seconds: 900

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use cleat_tests::{Attached, Chain, Container, Etcd, Fleet, Flow, Node, wait_until};
use serde_json::{Value, json};

const CREATE: &str = "network create --driver overlay --encrypted --subnet 10.77.0.0/16 secret";

/// Counts on the switch what is of the network: read by anybody, and by nobody.
const COUNTERS: &str = "table bridge seen {
    counter clear {}
    counter encrypted {}
    chain passing { type filter hook prerouting priority -250
        udp dport 4789 counter name clear
        ip saddr 10.77.0.0/16 counter name clear
        ip daddr 10.77.0.0/16 counter name clear
        udp dport { 51871, 51872 } counter name encrypted
    }
}";

/// Two nodes and an etcd on a switch that counts, the encrypted network, a container on each.
struct World {
    fleet: Fleet,
    _etcd: Etcd,
}

impl World {
    /// On an underlay of IPv4 or IPv6.
    fn new(v6: bool) -> Self {
        let fleet = Fleet::new(2);
        fleet.switch.nft(COUNTERS);
        let etcd = Etcd::start(&fleet, 1);
        for node in fleet.nodes() {
            let mut section = node.overlay_section(&etcd);
            section["address"] = node.lab.addresses()[usize::from(v6)].as_str().into();
            // An emulated machine is slow.
            section["etcd"]["timeoutMs"] = 10_000.into();
            node.start(&json!({"overlay": section}));
        }
        cleat(&fleet[1], CREATE);
        Self { fleet, _etcd: etcd }
    }

    /// A container on a node.
    fn attach(&self, number: usize) -> (Container, Attached) {
        let container = self.fleet[number].lab.container();
        let attached = chain(&self.fleet[number]).attach(&container);
        (container, attached)
    }

    /// Packets that passed the switch.
    fn seen(&self, counter: &str) -> u64 {
        let text = self.fleet.switch.sh(&format!("nft -j list counter bridge seen {counter}"));
        let all: Value = serde_json::from_str(&text).unwrap();
        all["nftables"][1]["counter"]["packets"].as_u64().unwrap()
    }
}

#[track_caller]
fn cleat(node: &Node, line: &str) -> String {
    let output = node.lab.cleat(line).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The network as this node's runtimes find it.
#[track_caller]
fn chain(node: &Node) -> Chain<'_> {
    let file = node.lab.folder().join("net.d/zz-cleat-secret.conflist");
    wait_until("the conflist is there", || file.exists());
    let list = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    node.lab.chain(list).capabilities(json!({"aliases": [format!("on-{}", node.name())]}))
}

fn tunnels(node: &Node) -> usize {
    node.lab.host.ip_json("link show type wireguard").as_array().unwrap().len()
}

#[track_caller]
fn nothing_is_in_clear(v6: bool) {
    let world = World::new(v6);
    let (one, at_one) = world.attach(1);
    let (two, at_two) = world.attach(2);
    // From before the tunnels stand until after they are gone.
    let flow = Flow::between(&one.ns, &two.ns, &at_two.v4(), Duration::from_millis(20));
    wait_until("a container of another node", || one.ns.ping(&at_two.v4()));
    assert!(two.ns.ping(&at_one.v4()));
    let gateway = at_one.result["ips"][0]["gateway"].as_str().unwrap();
    let data = || one.ns.look_up(gateway, "on-node2", "A").data;
    wait_until("the name of a container elsewhere", || data() == [at_two.v4()]);
    assert!(world.seen("encrypted") > 0);
    // Nobody is there to make it again.
    world.fleet[1].kill();
    world.fleet[1].lab.host.ip("link del clwg0");
    assert!(!one.ns.ping(&at_two.v4()), "there is no tunnel");
    world.fleet[1].start_again();
    wait_until("netd made it again", || one.ns.ping(&at_two.v4()));
    world.fleet[2].lab.host.ip("link del clwg0");
    // A new device begins by itself; the other one waits for 15 s before it doubts the old one.
    wait_until("the other netd did as well", || two.ns.ping(&at_one.v4()));
    assert!(one.ns.ping(&at_two.v4()));
    let loss = flow.stop();
    assert!(loss.sent > 100 && loss.lost < loss.sent, "{loss:?}");
    assert_eq!(world.seen("clear"), 0);
}

#[test]
fn nothing_is_in_clear_over_ipv4() {
    nothing_is_in_clear(false);
}

#[test]
fn nothing_is_in_clear_over_ipv6() {
    nothing_is_in_clear(true);
}

#[test]
fn a_key_changes_and_no_packet_is_lost() {
    let world = World::new(false);
    let ((one, at_one), (two, at_two)) = (world.attach(1), world.attach(2));
    wait_until("a container of another node", || one.ns.ping(&at_two.v4()));
    assert!(two.ns.ping(&at_one.v4()));
    let every = Duration::from_millis(20);
    let flows = [
        Flow::between(&one.ns, &two.ns, &at_two.v4(), every),
        Flow::between(&two.ns, &one.ns, &at_one.v4(), every),
    ];
    let node = &world.fleet[1];
    assert_eq!(tunnels(node), 1);
    cleat(node, "node rotate-key");
    wait_until("the new key has a device", || tunnels(node) == 2);
    // What is still under way by the old key is waited for: half a minute and more.
    let deadline = Instant::now() + Duration::from_secs(180);
    while tunnels(node) != 1 {
        assert!(Instant::now() < deadline, "the old key is still there");
        thread::sleep(Duration::from_millis(200));
    }
    let losses = flows.map(Flow::stop);
    assert!(losses.iter().all(|loss| loss.lost == 0 && loss.sent > 1000), "{losses:?}");
    assert_eq!(world.seen("clear"), 0);
    assert!(node.lab.host.link("clwg1").is_some(), "by turns a key has this device or that");
}
