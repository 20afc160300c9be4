//! What reaches a container on an overlay network, and what must not; what a node is like when it
//! has left; how soon a name is known elsewhere.

use std::thread::sleep;
use std::time::{Duration, Instant};

use cleat_tests::{Ask, Fleet, Lab, Namespace, Transport, settles};
use serde_json::json;

const CREATE: &str = "network create --driver overlay --subnet 10.77.0.0/16 blue";

#[test]
fn published_ports_and_services_are_known_everywhere() {
    let (fleet, _etcd) = Fleet::sharing(2);
    fleet[1].cleat(CREATE);
    let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    let asked = json!({"portMappings": ports, "aliases": ["web"]});
    let web = fleet[1].place_by(fleet[1].on("blue", "web").capabilities(asked)).unwrap();
    let _serving = web.container.ns.serve(80);
    let other = fleet[2].place("blue", "other");
    settles("they meet", || other.reaches(&web));
    let host = format!("{}:8080", fleet[1].lab.addresses()[0]);
    // By the host's port from outside and from another node; by its own from a container there.
    let outside = fleet.switch.ask(Transport::Tcp, &host).unwrap();
    assert_eq!(outside.to_string(), Lab::LAN[0]);
    let node = fleet[2].lab.host.ask(Transport::Tcp, &host).unwrap();
    assert_eq!(node.to_string(), "192.0.2.12");
    let peer = other.container.ns.ask(Transport::Tcp, &format!("{}:80", web.v4())).unwrap();
    assert_eq!(peer.to_string(), other.v4());
    settles("its name is known", || other.finds("web") == [web.v4()]);
    let gateway = other.attached.result["ips"][0]["gateway"].as_str().unwrap().to_owned();
    let services = other.container.ns.look_up(&gateway, "_80._tcp.web", "SRV").data;
    assert!(services.iter().any(|service| service.contains(" 80 ")), "{services:?}");
}

#[test]
fn an_internal_network_spans_nodes_and_leads_nowhere_else() {
    let (fleet, _etcd) = Fleet::sharing(2);
    fleet[1].cleat("network create --driver overlay --subnet 10.78.0.0/16 --internal inner");
    fleet[1].cleat(CREATE);
    let (a, b) = (fleet[1].place("inner", "a"), fleet[2].place("inner", "b"));
    let c = fleet[2].place("blue", "c");
    settles("they meet over nodes", || a.reaches(&b) && b.reaches(&a));
    settles("its name is known", || a.finds("b") == [b.v4()]);
    assert!(c.container.ns.ping(Lab::LAN[0]), "the other network leads outside");
    assert!(!a.container.ns.ping(Lab::LAN[0]) && !a.container.ns.ping("192.0.2.12"));
    // Other networks are not reached, here or elsewhere.
    assert!(!a.reaches(&c) && !c.reaches(&a) && !b.reaches(&c) && !c.reaches(&b));
    assert!(c.finds("a").is_empty() && a.finds("c").is_empty());
}

#[test]
fn who_is_no_member_sends_nothing_into_it() {
    let (fleet, _etcd) = Fleet::sharing(2);
    fleet[1].cleat(CREATE);
    let (a, b) = (fleet[1].place("blue", "a"), fleet[2].place("blue", "b"));
    settles("they meet", || a.reaches(&b));
    let vxlan = fleet[1].lab.host.ip_json("link show type vxlan")[0].clone();
    let (vni, mac) = (&vxlan["linkinfo"]["info_data"]["id"], vxlan["address"].as_str().unwrap());
    // A host on the same wire, which knows all there is to know.
    let stranger = Namespace::create("stranger");
    let switch = fleet.switch.name();
    stranger.ip(&format!("link add eth0 type veth peer name x1 netns {switch}"));
    fleet.switch.ip("link set x1 master br0 up");
    stranger.ip("addr add 192.0.2.150/24 dev eth0");
    stranger.ip("link set eth0 up");
    let with = |local: &str| {
        stranger.ip(&format!("link add vx type vxlan id {vni} dstport 4789 local {local}"));
        stranger.ip("link set vx up");
        stranger.ip(&format!("addr add {}/32 dev vx", b.v4()));
        stranger.ip("route add 10.77.0.0/16 dev vx");
        stranger.ip(&format!("neigh add {} lladdr {mac} dev vx", a.v4()));
        stranger.sh(&format!("bridge fdb append {mac} dev vx dst 192.0.2.11"));
    };
    with("192.0.2.150");
    let server = a.container.ns.serve(9000);
    let knock = || {
        let _ = stranger.ask(Transport::Udp, &format!("{}:9000", a.v4()));
        let _ = stranger.ask_as(&b.v4(), &format!("{}:9000", a.v4()));
        sleep(Duration::from_millis(300));
    };
    settles("it reaches the node itself", || stranger.ping("192.0.2.11"));
    knock();
    assert_eq!(server.askers(), Vec::<std::net::IpAddr>::new());
    // The same from a member's address arrives: what kept it out is where it came from.
    stranger.ip("link del vx");
    fleet[2].unplug();
    stranger.ip("addr add 192.0.2.12/24 dev eth0");
    with("192.0.2.12");
    settles("a member's address is let in", || {
        knock();
        !server.askers().is_empty()
    });
}

#[test]
fn a_node_that_has_left_is_as_before() {
    let (fleet, etcd) = Fleet::sharing(2);
    fleet[1].cleat(CREATE);
    let a = fleet[1].place("blue", "a");
    let two = &fleet[2];
    let visit = || {
        let b = two.place("blue", "b");
        settles("they meet", || a.reaches(&b) && b.reaches(&a) && a.finds("b") == [b.v4()]);
        b.end();
        settles("its claim is gone", || {
            !etcd.ctl(&["get", "--prefix", "/cleat/claim/"]).stdout.contains("10.77.0.0/24")
                && two.blocks().is_empty()
        });
        settles("its devices are gone", || {
            two.lab.host.ip_json("link show type vxlan") == json!([])
                && two.lab.host.ip_json("link show type bridge") == json!([])
        });
        settles("its name is gone", || a.finds("b").is_empty());
    };
    visit();
    let before = two.lab.snapshot();
    assert!(!before.mentions("10.77."), "{before:?}");
    visit();
    two.lab.assert_as_before(&before);
    settles("nothing is sent to it", || fleet[1].remotes().is_empty());
    assert!(!etcd.ctl(&["get", "--prefix", "/cleat/name"]).stdout.contains("\"b\""));
}

#[test]
fn names_are_known_elsewhere_soon() {
    const ROUNDS: usize = 50;
    let (fleet, _etcd) = Fleet::sharing(2);
    fleet[1].cleat(CREATE);
    let (keeper, asker) = (fleet[1].place("blue", "keeper"), fleet[2].place("blue", "asker"));
    settles("they know each other", || asker.finds("keeper") == [keeper.v4()]);
    let gateway = asker.attached.result["ips"][0]["gateway"].as_str().unwrap();
    let mut came = Vec::new();
    for round in 0..ROUNDS {
        let name = format!("round{round}");
        let placed = fleet[1].place("blue", &name);
        let attached = Instant::now();
        let ask = Ask::new(gateway, &name, "A");
        let address = placed.v4();
        while asker.container.ns.ask_name(&ask).unwrap().data != [address.as_str()] {
            assert!(attached.elapsed() < Duration::from_secs(10), "{name}");
            sleep(Duration::from_millis(1));
        }
        came.push(attached.elapsed());
        placed.end();
    }
    came.sort();
    println!(
        "from ADD to the name elsewhere: p50 {:?}, p99 {:?}",
        came[ROUNDS / 2],
        came[ROUNDS - 1]
    );
}
