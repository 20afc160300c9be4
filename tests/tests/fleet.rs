//! The lab of many nodes: what its parts promise, without any overlay on it.

use std::path::Path;
use std::time::Duration;

use cleat_tests::{Cut, Etcd, Fleet, Flow, wait_until};

/// Every node's addresses, as the others see them.
fn reach(fleet: &Fleet, from: usize, to: usize) -> bool {
    let reached = fleet[to].lab.addresses().map(|to| fleet[from].lab.host.ping(&to));
    assert_eq!(reached[0], reached[1], "from {from} to {to}, IPv4 and IPv6");
    reached[0]
}

#[test]
fn nodes_reach_each_other_unless_cut() {
    let mut fleet = Fleet::new(2);
    fleet.grow();
    wait_until("the third node", || reach(&fleet, 1, 3));
    assert!(reach(&fleet, 1, 2) && reach(&fleet, 2, 3));
    fleet.cut(Cut::Node(1));
    assert!(!reach(&fleet, 1, 2) && !reach(&fleet, 3, 1) && reach(&fleet, 2, 3));
    assert!(!fleet.switch.ping(&fleet[1].lab.addresses()[0]));
    fleet.cut(Cut::Between(2, 3));
    fleet.heal(Cut::Node(1));
    assert!(!reach(&fleet, 2, 3) && reach(&fleet, 1, 2) && reach(&fleet, 1, 3));
    fleet.heal_all();
    assert!(reach(&fleet, 2, 3));
}

#[test]
fn what_happens_to_a_node() {
    let fleet = Fleet::new(2);
    let (one, two) = (&fleet[1], &fleet[2]);
    two.set_mtu(1400);
    assert_eq!(two.lab.host.link("eth0").unwrap()["mtu"], 1400);
    two.readdress(77);
    assert_eq!(two.lab.addresses(), ["192.0.2.77", "2001:db8::77"]);
    assert!(reach(&fleet, 1, 2) && !one.lab.host.ping("192.0.2.12"));
    two.unplug();
    assert!(two.lab.host.link("eth0").is_none() && !one.lab.host.ping("192.0.2.77"));
    two.plug();
    wait_until("it is back", || reach(&fleet, 1, 2));
    two.lab.host.nft("table inet remnant");
    std::fs::write(two.lab.folder().join("run/file"), "").unwrap();
    std::fs::write(two.lab.folder().join("state/file"), "").unwrap();
    two.reboot(Some(78));
    assert!(reach(&fleet, 1, 2) && one.lab.host.ping("192.0.2.78"));
    assert_eq!(two.lab.host.sh("nft list tables"), "");
    assert!(!two.lab.folder().join("run/file").exists());
    assert!(two.lab.folder().join("state/file").exists());
    let boot = |node: &cleat_tests::Node| node.lab.environment().into_iter().nth(4);
    assert!(boot(one).is_none() && boot(two).is_some());
}

#[test]
fn losses_are_counted() {
    let fleet = Fleet::new(2);
    let (one, two) = (&fleet[1].lab, &fleet[2].lab);
    let every = Duration::from_millis(5);
    let flows = two.addresses().map(|address| Flow::between(&one.host, &two.host, &address, every));
    std::thread::sleep(Duration::from_millis(300));
    fleet.cut(Cut::Between(1, 2));
    std::thread::sleep(Duration::from_millis(200));
    fleet.heal(Cut::Between(1, 2));
    std::thread::sleep(Duration::from_millis(300));
    for flow in flows {
        let loss = flow.stop();
        assert!(loss.lost >= 20 && loss.lost < loss.sent && loss.repeated == 0, "{loss:?}");
        assert!(loss.gap >= Duration::from_millis(100), "{loss:?}");
    }
    let calm = Flow::between(&one.host, &two.host, &two.addresses()[0], every);
    std::thread::sleep(Duration::from_millis(200));
    let loss = calm.stop();
    assert!(loss.lost == 0 && loss.sent > 10, "{loss:?}");
}

#[test]
fn a_store_of_one_member_is_restored_and_compacted() {
    let fleet = Fleet::new(1);
    let etcd = Etcd::start(&fleet, 1);
    let get = || etcd.ctl(&["get", "--print-value-only", "key"]).stdout.trim().to_owned();
    etcd.ctl(&["put", "key", "early"]);
    let snapshot = etcd.snapshot("early.db");
    etcd.ctl(&["put", "key", "late"]);
    let late = etcd.compact();
    let old = etcd.ctl(&["get", "key", "--rev", &(late - 1).to_string()]);
    assert!(old.stderr.contains("compacted"), "{old:?}");
    etcd.stop();
    assert!(!etcd.ctl(&["endpoint", "health"]).succeeded());
    etcd.run();
    assert_eq!(get(), "late");
    etcd.restore(&snapshot, "another");
    assert_eq!(get(), "early");
    assert!(etcd.revision() < late);
    // The node reaches it by both families, until the store alone is cut off.
    let store = ["192.0.2.201", "2001:db8::201"];
    assert!(store.iter().all(|address| fleet[1].lab.host.ping(address)));
    fleet.cut(Cut::Store(1));
    assert!(!store.iter().any(|address| fleet[1].lab.host.ping(address)));
    assert!(fleet[1].lab.host.ping("192.0.2.2"));
}

#[test]
fn a_store_of_three_members_takes_certificates_and_bears_the_loss_of_one() {
    let fleet = Fleet::new(1);
    let etcd = Etcd::start_tls(&fleet, 3);
    let section = etcd.client_section();
    assert_eq!(section["endpoints"].as_array().unwrap().len(), 3);
    let ask = |files: &str| {
        let line = format!("curl -s -m 5 {files} {}/version || true", etcd.endpoints()[0]);
        fleet[1].lab.host.sh(&line).contains("etcdserver")
    };
    let file = |key: &str| section[key].as_str().unwrap().to_owned();
    let ca = format!("--cacert {}", file("ca"));
    assert!(ask(&format!("{ca} --cert {} --key {}", file("cert"), file("key"))));
    assert!(!ask(&ca), "without a certificate");
    etcd.kill_member(1);
    // It may have been the leader.
    wait_until("two of three serve", || etcd.ctl(&["put", "key", "value"]).succeeded());
    etcd.run_member(1);
    fleet.cut(Cut::Member(2));
    assert!(!fleet[1].lab.host.ping("192.0.2.202") && fleet[1].lab.host.ping("192.0.2.203"));
}

#[test]
fn nothing_is_left() {
    let fleet = Fleet::new(2);
    let etcd = Etcd::start(&fleet, 1);
    let mut gone = vec![fleet.switch.path()];
    for node in fleet.nodes() {
        gone.extend([node.lab.host.path(), node.lab.folder().to_owned()]);
    }
    let folder = etcd.snapshot("file").parent().unwrap().to_owned();
    let data = folder.join("m1").display().to_string();
    assert!(processes_with(&data) > 0);
    gone.push(folder);
    drop(etcd);
    drop(fleet);
    gone.retain(|path| path.exists());
    assert_eq!(gone, Vec::<std::path::PathBuf>::new());
    assert_eq!(processes_with(&data), 0);
}

/// How many processes were started with a word.
fn processes_with(word: &str) -> usize {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines =
        all.filter_map(|process| std::fs::read(Path::new(&process.path()).join("cmdline")).ok());
    lines.filter(|line| line.split(|b| *b == 0).any(|each| each == word.as_bytes())).count()
}
