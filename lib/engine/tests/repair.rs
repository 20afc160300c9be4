//! What a survey costs on a node with many attachments, and how fast a flushed ruleset is back.
//! In a network namespace of the test's own; needs root.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::print_stdout)]
#![allow(clippy::disallowed_methods, reason = "nft flushes as its users do")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use cleat_engine::kernel::{Change, LinkChange, Mac, Namespace, Rtnl, VethPair};
use cleat_engine::plan::{AntiSpoof, BridgePlan, Driver, Grant, Inbound, NetworkPlan};
use cleat_engine::record::{AttachmentRecord, Binding, LinkPart, Phase, PortsPart, Protocol};
use cleat_engine::records::{Durability, Store};
use cleat_engine::ruleset::{LinkRules, Ruleset};
use cleat_engine::{AttachmentId, Dirs, Node, repair};
use ipnet::IpNet;

const LINK: &str = "clbig";
const HOST_END: &str = "veth00000000000";

fn id(number: u32) -> AttachmentId {
    AttachmentId { network: "big".into(), owner: format!("c{number}"), slot: "eth0".into() }
}

fn gateway() -> IpNet {
    "10.90.0.1/16".parse().unwrap()
}

fn record(node: &Node, number: u32) -> AttachmentRecord {
    let to: IpAddr = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 90, 0, 2)) + number).into();
    let mut record = AttachmentRecord::new(id(number), node.boot_id());
    let address = IpNet::new(to, 16).unwrap();
    record.addresses = vec![Grant { address, gateway: Some(gateway().addr()) }];
    record.plan = Some("big".to_owned());
    record.link = Some(LinkPart {
        phase: Phase::Ready,
        kind: None,
        routed_by: None,
        // A bridge has no room for so many: all stand for one link.
        host: Some(HOST_END.to_owned()),
        host_index: None,
        master: LINK.to_owned(),
        mac: Some(Mac::for_address(to)),
        masquerade: true,
        neighbours: true,
        spoof_guard: true,
        strict: false,
        moved: None,
        host_access: None,
    });
    let port = u16::try_from(10_000 + number).unwrap();
    let binding =
        |protocol| Binding { host: None, port, protocol, to, to_port: 80, conditions: None };
    record.ports = Some(PortsPart {
        phase: Phase::Ready,
        via: LINK.to_owned(),
        bindings: vec![binding(Protocol::Tcp), binding(Protocol::Udp)],
        hairpin: true,
        masquerade_all: false,
    });
    record
}

fn network() -> NetworkPlan {
    let bridge = BridgePlan {
        bridge: LINK.to_owned(),
        gateway: true,
        default_gateway: true,
        ..BridgePlan::default()
    };
    NetworkPlan {
        name: "big".to_owned(),
        driver: Driver::Bridge(bridge),
        mtu: None,
        inbound: Inbound::Published,
        masquerade: true,
        anti_spoof: AntiSpoof::Held,
        permanent_neighbours: true,
        dns: None,
    }
}

/// A node with so many attachments on record, all but the kernel's side.
fn stored(dirs: &Dirs, count: u32) -> Node {
    let node = Node::new(dirs.clone(), |warning| panic!("{warning}"));
    let folder = |name: &str| dirs.run.join(name);
    let records = Store::<AttachmentRecord>::open(folder("attachments"), Durability::Runtime);
    for number in 0..count {
        records.replace(&id(number).record_name(), &record(&node, number)).unwrap();
    }
    let plans = Store::<NetworkPlan>::open(folder("plans"), Durability::Runtime);
    plans.replace("big", &network()).unwrap();
    let rules = LinkRules {
        settled: true,
        inbound: Inbound::Published,
        networks: vec!["big".to_owned()],
        gateways: vec![gateway().addr()],
        ..LinkRules::open(LINK)
    };
    Store::<LinkRules>::open(folder("links"), Durability::Runtime).replace("big", &rules).unwrap();
    node
}

fn make_host_end(other: &Namespace) {
    let mut rtnl = Rtnl::open().unwrap();
    let end = Change::Veth(VethPair {
        name: HOST_END,
        mac: Mac::from_hash(b"repair"),
        mtu: None,
        master: None,
        peer: "eth0",
        peer_mac: None,
        netns: other,
    });
    let up = LinkChange { name: HOST_END, up: Some(true), ..LinkChange::default() };
    rtnl.apply(&[end, Change::Link(up)]).unwrap();
}

/// Surveys and mends until nothing is left to mend; how long it took, and in how many rounds.
fn put_right(node: &Node) -> (Duration, usize) {
    let start = Instant::now();
    for round in 0..5 {
        let survey = repair::survey(node).unwrap();
        if survey.findings.is_empty() {
            return (start.elapsed(), round);
        }
        for finding in &survey.findings {
            repair::mend(node, finding).unwrap_or_else(|e| panic!("{finding:?}: {e}"));
        }
    }
    panic!("never right: {:?}", repair::survey(node).unwrap().findings);
}

fn flush() {
    let flushed = std::process::Command::new("nft").args(["flush", "ruleset"]).status();
    assert!(flushed.expect("nft: install the package nftables").success());
}

#[test]
fn a_thousand_attachments_are_looked_over_and_put_right_within_a_second() {
    let flushed = cost(1000);
    assert!(flushed < Duration::from_secs(1), "{flushed:?}");
}

#[test]
#[ignore = "takes long"]
fn five_thousand_attachments_are_looked_over_and_put_right() {
    cost(5000);
}

/// Prints what each step costs; how long it takes to notice a flush and to undo it.
fn cost(count: u32) -> Duration {
    assert!(rustix::process::geteuid().is_root(), "run this test as root");
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let dirs = Dirs { run: at("run"), state: at("state"), net: at("net"), config: at("config") };
    let here = Namespace::create_at(&at("here")).unwrap();
    let there = Namespace::create_at(&at("there")).unwrap();
    let test = || {
        make_host_end(&there);
        let node = stored(&dirs, count);
        // Nothing is there yet: bridge, neighbours, settings and ruleset are made.
        let (all, _) = put_right(&node);
        let (whole, rounds) = put_right(&node);
        assert_eq!(rounds, 0);
        flush();
        let start = Instant::now();
        Ruleset::open(&node).rebuild(None).unwrap();
        let rebuilt = start.elapsed();
        flush();
        let (flushed, _) = put_right(&node);
        println!("{count}: all {all:?}, survey {whole:?}, rebuild {rebuilt:?}, flush {flushed:?}");
        flushed
    };
    // Left also after a failure.
    let outcome = here.run(|| std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)));
    for name in ["here", "there"] {
        Namespace::remove_at(&at(name)).unwrap();
    }
    outcome.unwrap().unwrap()
}
