//! Overlay networks while things break: the store, netd, a node, the links underneath. What flows
//! goes on flowing, what can be attached is, and what is back is as if it had not been away.

use std::thread::sleep;
use std::time::Duration;

use cleat_tests::{Cut, Etcd, Fleet, Flow, Node, Placed, settles};

const CREATE: &str = "network create --driver overlay --subnet 10.77.0.0/16 blue";
/// Longer than a node may be silent.
const LONG: Duration = Duration::from_secs(8);
/// What a repair may cost.
const SOON: Duration = Duration::from_secs(10);

fn blue(count: usize) -> (Fleet, Etcd) {
    let (fleet, etcd) = Fleet::sharing(count);
    fleet[1].cleat(CREATE);
    (fleet, etcd)
}

/// Both ways.
fn meet(one: &Placed<'_>, other: &Placed<'_>) -> bool {
    one.reaches(other) && other.reaches(one)
}

#[track_caller]
fn without_loss(flows: impl IntoIterator<Item = Flow>) {
    for flow in flows {
        let loss = flow.stop();
        assert!(loss.lost == 0 && loss.sent > 100, "{loss:?}");
    }
}

#[test]
fn the_store_stops_and_nothing_else_does() {
    let (fleet, etcd) = blue(3);
    let (a, b) = (fleet[1].place("blue", "a"), fleet[2].place("blue", "b"));
    let early = fleet[2].place("blue", "early");
    settles("they meet", || meet(&a, &b) && a.reaches(&early));
    settles("its name is known", || a.finds("early") == [early.v4()]);
    let flows = [a.flow_to(&b), b.flow_to(&a)];
    etcd.stop();
    sleep(LONG);
    let late = fleet[1].place("blue", "late");
    assert!(meet(&late, &b) && a.finds("late") == [late.v4()]);
    early.end();
    assert!(b.finds("early").is_empty());
    // What nobody told is as it was.
    assert_eq!(a.finds("b"), [b.v4()]);
    let refusal = fleet[3].place_by(fleet[3].on("blue", "c")).unwrap_err().error_text();
    assert!(refusal.contains("overlay store: ") && refusal.contains("blue"), "{refusal}");
    etcd.run();
    let took = settles("what came is known", || b.finds("late") == [late.v4()]);
    settles("what went is not", || a.finds("early").is_empty());
    println!("names after the store came back: {took:?}");
    settles("a node can join again", || {
        let joined = fleet[3].place_by(fleet[3].on("blue", "c"));
        joined.is_ok_and(|c| c.reaches(&a) || c.reaches(&a))
    });
    assert!(a.finds("b") == [b.v4()] && b.finds("a") == [a.v4()]);
    without_loss(flows);
}

#[test]
fn netd_is_killed_and_nothing_is_lost() {
    let (fleet, _etcd) = blue(2);
    let (a, b) = (fleet[1].place("blue", "a"), fleet[2].place("blue", "b"));
    settles("they meet", || meet(&a, &b) && a.finds("b") == [b.v4()]);
    let flows = [a.flow_to(&b), b.flow_to(&a)];
    let before = fleet[1].lab.snapshot();
    fleet[1].kill();
    let c = fleet[1].place("blue", "c");
    assert!(meet(&c, &b) && meet(&c, &a));
    sleep(LONG);
    settles("a node that is down has no names", || b.finds("a").is_empty());
    fleet[1].start_again();
    settles("names of the others are back", || a.finds("b") == [b.v4()]);
    let took =
        settles("and its own, there", || b.finds("a") == [a.v4()] && b.finds("c") == [c.v4()]);
    println!("names after netd came back: {took:?}");
    c.end();
    let changes = fleet[1].lab.changes(&before);
    assert!(
        !changes.lines().any(|line| line.contains("link") || line.contains("route")),
        "{changes}"
    );
    settles("it is told of", || b.finds("c").is_empty());
    without_loss(flows);
}

#[test]
fn a_node_reboots_with_another_address() {
    let (fleet, _etcd) = blue(3);
    let (a, c) = (fleet[1].place("blue", "a"), fleet[3].place("blue", "c"));
    let old = fleet[2].place("blue", "b");
    settles("they meet", || meet(&a, &old) && meet(&a, &c));
    let flow = a.flow_to(&c);
    let blocks = fleet[2].blocks();
    fleet[2].reboot(Some(77));
    drop(old);
    fleet[2].start_again();
    // At once: netd waits for its turn as long as the plugin waits for netd.
    let new = fleet[2].place("blue", "b");
    assert_eq!(fleet[2].blocks(), blocks);
    let took = settles("peers reach it where it is now", || meet(&a, &new) && meet(&c, &new));
    println!("reached after a reboot: {took:?}");
    assert_eq!(fleet[1].remotes(), ["192.0.2.13", "192.0.2.77"]);
    settles("its name is there", || a.finds("b") == [new.v4()]);
    without_loss([flow]);
}

/// What it is called, and what does it to a node.
type Fault<'f> = (&'f str, &'f dyn Fn(&Node));

#[test]
fn links_underneath_come_and_go() {
    let (fleet, _etcd) = blue(2);
    let (one, two) = (&fleet[1], &fleet[2]);
    let (a, b) = (one.place("blue", "a"), two.place("blue", "b"));
    settles("they meet", || meet(&a, &b));
    let vxlan = two.lab.host.ip_json("link show type vxlan")[0]["ifname"].clone();
    let vxlan = vxlan.as_str().unwrap();
    let faults: [Fault<'_>; 7] = [
        ("its link is deleted and made again", &|node| {
            node.unplug();
            node.plug();
        }),
        ("its address changes", &|node| node.readdress(77)),
        ("the device is deleted", &|node| drop(node.lab.host.ip(&format!("link del {vxlan}")))),
        ("the device has another link address", &|node| {
            node.lab.host.ip(&format!("link set {vxlan} address 02:11:22:33:44:55"));
        }),
        ("the device was down", &|node| {
            node.lab.host.ip(&format!("link set {vxlan} down"));
            node.lab.host.ip(&format!("link set {vxlan} up"));
        }),
        ("the device is down", &|node| drop(node.lab.host.ip(&format!("link set {vxlan} down")))),
        ("its address is the old one again", &|node| node.readdress(12)),
    ];
    for (what, fault) in faults {
        let flow = a.flow_to(&b);
        sleep(Duration::from_millis(200));
        fault(two);
        sleep(Duration::from_millis(50));
        let took = settles(what, || meet(&a, &b));
        sleep(Duration::from_millis(200));
        let loss = flow.stop();
        println!("{what}: healed after {took:?}, {} of {} lost", loss.lost, loss.sent);
        assert!(loss.gap < SOON, "{what}: {loss:?}");
    }
    assert_eq!(one.remotes(), ["192.0.2.12"]);
    for mtu in [1400, 1500] {
        two.set_mtu(mtu);
        settles("who comes has the new MTU", || {
            let late = two.place("blue", "late");
            let has = late.container.ns.link("eth0").unwrap()["mtu"] == mtu - 50;
            late.end();
            has
        });
    }
    assert!(meet(&a, &b));
}

#[test]
fn a_node_is_cut_off_from_the_store_or_from_another() {
    let (fleet, _etcd) = blue(3);
    let (a, b) = (fleet[1].place("blue", "a"), fleet[2].place("blue", "b"));
    let c = fleet[3].place("blue", "c");
    settles("all meet", || meet(&a, &b) && meet(&b, &c) && meet(&a, &c));
    settles("a name is known", || a.finds("b") == [b.v4()] && b.finds("a") == [a.v4()]);
    let flows = [a.flow_to(&b), b.flow_to(&c)];
    fleet.cut(Cut::Store(2));
    sleep(LONG);
    settles("a node that is not heard of has no names", || a.finds("b").is_empty());
    // Itself it knows what it knew, and what it has.
    let late = fleet[2].place("blue", "late");
    assert!(meet(&late, &a) && b.finds("late") == [late.v4()] && b.finds("a") == [a.v4()]);
    fleet.heal(Cut::Store(2));
    let took = settles("the names are back", || {
        a.finds("b") == [b.v4()] && a.finds("late") == [late.v4()]
    });
    println!("names after the store was reached again: {took:?}");
    without_loss(flows);

    let flows = [a.flow_to(&c), c.flow_to(&b)];
    fleet.cut(Cut::Between(1, 2));
    assert!(!a.reaches(&b) && !b.reaches(&a));
    sleep(LONG);
    // Both are up by the store.
    assert!(a.finds("b") == [b.v4()] && b.finds("a") == [a.v4()]);
    fleet.heal(Cut::Between(1, 2));
    settles("they meet again", || meet(&a, &b));
    without_loss(flows);
}

#[test]
fn what_was_compacted_meanwhile_is_listed_again() {
    let (fleet, etcd) = blue(2);
    let (a, b) = (fleet[1].place("blue", "a"), fleet[2].place("blue", "b"));
    settles("they meet", || meet(&a, &b) && b.finds("a") == [a.v4()]);
    let flow = a.flow_to(&b);
    fleet.cut(Cut::Store(2));
    // Its connections are dead, and not only silent.
    sleep(LONG);
    let late = fleet[1].place("blue", "late");
    settles("it is told", || etcd.ctl(&["get", "--prefix", "/cleat/name"]).stdout.contains("late"));
    for number in 0..5 {
        fleet[1].place("blue", &format!("passing{number}")).end();
    }
    etcd.compact();
    fleet.heal(Cut::Store(2));
    let took = settles("what came is known", || b.finds("late") == [late.v4()]);
    println!("names after a compaction: {took:?}");
    assert!(b.finds("a") == [a.v4()] && b.finds("passing4").is_empty());
    without_loss([flow]);
}

/// The owners of claims by block, as the store has them.
fn claims(etcd: &Etcd) -> Vec<(String, String)> {
    let said = etcd.ctl(&["get", "--prefix", "/cleat/claim/"]).stdout;
    let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    let owner = |value: &str| {
        let claim: serde_json::Value = serde_json::from_str(value).unwrap();
        claim["node"].as_str().unwrap().to_owned()
    };
    lines.chunks(2).map(|pair| (pair[0].to_owned(), owner(pair[1]))).collect()
}

#[test]
fn a_store_that_is_restored_is_told_what_is_owned() {
    let (fleet, etcd) = blue(3);
    let a = fleet[1].place("blue", "a");
    let snapshot = etcd.snapshot("before.db");
    let b = fleet[2].place("blue", "b");
    settles("they meet", || meet(&a, &b));
    let before = claims(&etcd);
    assert_eq!(before.len(), 2, "{before:?}");
    let flow = a.flow_to(&b);
    etcd.restore(&snapshot, "another");
    let took = settles("the claim is told again", || claims(&etcd) == before);
    println!("told again after a restore: {took:?}");
    // Nobody gets anything new before all had time to tell.
    let c = settled_place(&fleet[3], "c");
    let after = claims(&etcd);
    assert_eq!(after.len(), 3, "{after:?}");
    assert!(before.iter().all(|claim| after.contains(claim)), "{before:?} {after:?}");
    settles("all meet", || meet(&a, &c) && meet(&b, &c) && meet(&a, &b));
    settles("names are told again", || c.finds("a") == [a.v4()] && c.finds("b") == [b.v4()]);
    without_loss([flow]);
    let said = fleet[2].netd(|netd| netd.said());
    assert!(said.contains("the overlay store went back to an earlier state"));
    for node in fleet.nodes() {
        let halted = node.cleat_json("network inspect blue")[0]["overlay"]["halted"].clone();
        assert!(halted.is_null(), "{halted}");
    }
}

#[test]
fn two_that_own_the_same_by_a_restored_store_are_told_apart() {
    let (fleet, etcd) = Fleet::sharing(3);
    // Room for one node: of two blocks the first is nobody's.
    fleet[1].cleat("network create --driver overlay --subnet 10.77.0.0/28 --block-size 29 blue");
    let snapshot = etcd.snapshot("before.db");
    let early = fleet[2].place("blue", "early");
    // It cannot tell what it owns, and the others do not know of it any more.
    fleet[2].kill();
    etcd.restore(&snapshot, "another");
    let late = settled_place(&fleet[3], "late");
    assert_eq!(late.v4(), early.v4());
    let of_late = claims(&etcd);
    fleet[2].start_again();
    settles("the later one attaches nothing more", || {
        let outcome = fleet[2].place_by(fleet[2].on("blue", "more"));
        outcome.is_err_and(|outcome| {
            let text = outcome.error_text();
            text.contains("10.77.0.8/29") && text.contains("end the containers in")
        })
    });
    let events = fleet[2].cleat("--format json events");
    assert!(events.contains("overlay.halted"), "{events}");
    let doctor = fleet[2].lab.cleat("doctor").output().unwrap();
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains("no new containers") && doctor.contains("10.77.0.8/29"), "{doctor}");
    // Whose it is by the store goes on, and the other gives up with its last container.
    assert_eq!(claims(&etcd), of_late);
    early.end();
    settles("the books are empty", || {
        fleet[2].lab.host.ip_json("link show type vxlan") == serde_json::json!([])
    });
    assert_eq!(claims(&etcd), of_late);
    let more = fleet[3].place("blue", "more");
    assert!(more.reaches(&late));
    let refusal = fleet[2].place_by(fleet[2].on("blue", "more")).unwrap_err().error_text();
    assert!(refusal.contains("no block is free"), "{refusal}");
}

/// A container, once the node may claim; until then it is told why it may not.
fn settled_place<'n>(node: &'n Node, alias: &str) -> Placed<'n> {
    for _ in 0..10 {
        match node.place_by(node.on("blue", alias)) {
            Ok(placed) => return placed,
            Err(outcome) => {
                let text = outcome.error_text();
                assert!(text.contains("went back to an earlier state"), "{text}");
                sleep(Duration::from_secs(3));
            }
        }
    }
    panic!("{}: no block within 30 seconds", node.name())
}
