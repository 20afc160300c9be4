//! Who has which address of an overlay network, over nodes that ask at once, run full, are drained,
//! forgotten or copied: nobody's twice, and what cannot be had is said.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use cleat_tests::{Etcd, Fleet, Node, Placed, at_once, settles};
use serde_json::json;

const CREATE: &str = "network create --driver overlay --subnet 10.77.0.0/16 blue";

/// A container with an address of its own choice, or why not.
fn with_address<'n>(node: &'n Node, address: &str) -> Result<Placed<'n>, String> {
    let asked = json!({"ips": [address], "aliases": [format!("at-{address}").replace('.', "-")]});
    node.place_by(node.on("blue", "static").capabilities(asked)).map_err(|o| o.error_text())
}

#[test]
fn fifty_containers_start_at_once_on_each_of_three_nodes() {
    let (fleet, _etcd) = Fleet::sharing(3);
    fleet[1].cleat(CREATE);
    let start = |node: &'_ Node| {
        let containers: Vec<_> = (0..50).map(|_| node.lab.container()).collect();
        let addresses = at_once(&containers, |index, container| {
            let chain = node.on("blue", &format!("{}-{index}", node.name()));
            chain.add(container).map(|attached| attached.v4())
        });
        (containers, addresses)
    };
    let start = &start;
    let began = std::time::Instant::now();
    let (_containers, all): (Vec<_>, Vec<_>) = thread::scope(|scope| {
        let threads: Vec<_> =
            fleet.nodes().iter().map(|node| scope.spawn(move || start(node))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).unzip()
    });
    println!("150 containers on 3 nodes: {:?}", began.elapsed());
    let mut addresses = BTreeSet::new();
    for found in all.iter().flatten() {
        let address = found.as_ref().unwrap_or_else(|outcome| panic!("{outcome:?}"));
        assert!(addresses.insert(address.clone()), "{address} twice");
    }
    let asker = fleet[1].place("blue", "asker");
    for (node, found) in all.iter().enumerate() {
        for (index, address) in found.iter().enumerate() {
            let name = format!("node{}-{index}", node + 1);
            let address = address.as_ref().unwrap();
            settles(&name, || asker.finds(&name) == [address.as_str()]);
        }
    }
}

#[test]
fn addresses_that_are_asked_for_are_one_containers() {
    let (fleet, _etcd) = Fleet::sharing(3);
    fleet[1].cleat(CREATE);
    // Of the first block, which is nobody's.
    let (one, two) = thread::scope(|scope| {
        let one = scope.spawn(|| with_address(&fleet[1], "10.77.0.9"));
        let two = scope.spawn(|| with_address(&fleet[2], "10.77.0.9"));
        (one.join().unwrap(), two.join().unwrap())
    });
    let (won, lost) = match (one, two) {
        (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost),
        (one, two) => panic!("{one:?} {two:?}"),
    };
    assert!(lost.contains("10.77.0.9") && lost.contains("node"), "{lost}");
    let third = fleet[3].place("blue", "third");
    settles("it is reached", || third.reaches(&won) && won.reaches(&third));
    won.end();
    // The next has it when the one before has left the network.
    let mut again = None;
    for _ in 0..20 {
        match with_address(&fleet[3], "10.77.0.9") {
            Ok(placed) => {
                again = Some(placed);
                break;
            }
            Err(_) => thread::sleep(Duration::from_secs(1)),
        }
    }
    let again = again.expect("leased again within 20 seconds");
    assert!(again.reaches(&third));

    // Of another node's block, whose node grants it.
    let owner = fleet[1].place("blue", "owner");
    let block = owner.v4().rsplit_once('.').unwrap().0.to_owned();
    let wanted = format!("{block}.77");
    let granted = with_address(&fleet[2], &wanted).unwrap();
    assert_eq!(granted.v4(), wanted);
    settles("a container in that block reaches it", || {
        owner.reaches(&granted) && granted.reaches(&owner)
    });
    settles("and one elsewhere", || third.reaches(&granted) && granted.reaches(&third));
    let taken = with_address(&fleet[3], &wanted).unwrap_err();
    assert!(taken.contains(&wanted), "{taken}");
    let taken = with_address(&fleet[2], &owner.v4()).unwrap_err();
    assert!(taken.contains(&owner.v4()), "{taken}");
    // Not its owner's either.
    let taken = with_address(&fleet[1], &wanted).unwrap_err();
    assert!(taken.contains(&wanted), "{taken}");
    granted.end();
    settles("its owner may lease it again", || {
        with_address(&fleet[1], &wanted).is_ok_and(|placed| {
            let meets = placed.reaches(&owner);
            placed.end();
            meets
        })
    });
}

#[test]
fn blocks_run_full_and_so_does_the_subnet() {
    let (fleet, _etcd) = Fleet::sharing(2);
    // Four blocks, of which the first is nobody's.
    fleet[1].cleat("network create --driver overlay --subnet 10.77.0.0/27 --block-size 29 blue");
    let mut placed = vec![fleet[2].place("blue", "there")];
    let refusal = loop {
        match fleet[1].place_by(fleet[1].on("blue", "here")) {
            Ok(one) => placed.push(one),
            Err(outcome) => break outcome.error_text(),
        }
        assert!(placed.len() < 20, "the subnet has no end");
    };
    assert!(refusal.contains("no block is free in 10.77.0.0/27"), "{refusal}");
    // Two blocks of 8, less their network, gateway and broadcast addresses.
    assert_eq!((placed.len(), fleet[1].blocks().len()), (1 + 2 * 5, 2));
    let (first, last) = (&placed[0], placed.last().unwrap());
    settles("the last block is reached too", || first.reaches(last) && last.reaches(first));
    assert!(placed[1].reaches(last), "from one block to the other");
    let free = placed.pop().unwrap();
    let address = free.v4();
    free.end();
    assert_eq!(fleet[1].place("blue", "next").v4(), address);
}

#[test]
fn nodes_are_drained_and_forgotten() {
    let (fleet, _etcd) = Fleet::sharing(3);
    fleet[1].cleat(CREATE);
    let (a, b) = (fleet[1].place("blue", "a"), fleet[2].place("blue", "b"));
    fleet[2].cleat("node drain");
    settles("it attaches nothing", || {
        let outcome = fleet[2].place_by(fleet[2].on("blue", "late"));
        outcome.is_err_and(|outcome| outcome.error_text().contains("drained"))
    });
    settles("what runs goes on", || a.reaches(&b) && b.reaches(&a));
    b.end();
    settles("its block is free", || fleet[2].blocks().is_empty());
    fleet[2].cleat("node drain --undo");
    settles("it may attach again", || {
        fleet[2].place_by(fleet[2].on("blue", "b")).is_ok_and(|b| {
            let meets = (0..100).any(|_| b.reaches(&a));
            b.end();
            meets
        })
    });

    let c = fleet[3].place("blue", "c");
    settles("they meet", || a.reaches(&c));
    let refusal = fleet[1].cleat_refused("node forget node3");
    assert!(refusal.contains("is up") && refusal.contains("stop its netd"), "{refusal}");
    fleet[3].kill();
    settles("its time ends", || {
        fleet[1].lab.cleat("node forget node3").output().unwrap().status.success()
    });
    let names = |node: &Node| {
        let nodes = node.cleat_json("node ls");
        let all = nodes.as_array().unwrap().iter();
        all.map(|n| n["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&fleet[1]), ["node1", "node2"]);
    settles("it is not sent to", || !fleet[1].remotes().contains(&"192.0.2.13".to_owned()));
    // It comes back, and nobody took its block.
    fleet[3].start_again();
    settles("it is known again", || names(&fleet[1]) == ["node1", "node2", "node3"]);
    settles("its container is reached again", || a.reaches(&c) && c.reaches(&a));
}

#[test]
fn a_copy_of_a_node_gets_nothing() {
    let fleet = Fleet::new(2);
    let etcd = Etcd::start(&fleet, 1);
    let (one, copy) = (&fleet[1], &fleet[2]);
    one.share(&etcd);
    one.cleat(CREATE);
    let a = one.place("blue", "a");
    let [from, to] = [one, copy].map(|node| node.lab.folder().join("state"));
    let copied = Command::new("cp").arg("-aT").args([&from, &to]).status().unwrap();
    assert!(copied.success());
    copy.share(&etcd);
    let claims = || etcd.ctl(&["get", "--prefix", "/cleat/claim/"]).stdout;
    let before = claims();
    let file = to.join("overlay/node.json").display().to_string();
    let text = std::cell::RefCell::new(String::new());
    settles("it is told what to remove", || {
        let outcome = copy.place_by(copy.on("blue", "copy")).unwrap_err();
        *text.borrow_mut() = outcome.error_text();
        text.borrow().contains(&file)
    });
    assert!(text.borrow().contains("node1"), "{text:?}");
    assert_eq!(copy.lab.host.ip_json("link show type vxlan"), json!([]));
    let doctor = copy.lab.cleat("--format json doctor").output().unwrap();
    assert!(String::from_utf8_lossy(&doctor.stdout).contains(&file), "{doctor:?}");
    // The one that was there first goes on.
    assert_eq!(claims(), before);
    let b = one.place("blue", "b");
    assert!(b.reaches(&a));
    // And the copy becomes a node of its own.
    copy.stop();
    fs::remove_dir_all(to.join("overlay")).unwrap();
    copy.start_again();
    let c = copy.place("blue", "c");
    settles("they meet", || c.reaches(&a) && b.reaches(&c));
}
