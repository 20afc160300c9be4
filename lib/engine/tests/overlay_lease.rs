//! Leases on an overlay network while somebody answers for netd.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cleat_engine::overlay::{self, Membership, OverlayLessor, OverlayNetwork, Want, joined};
use cleat_engine::plan::{Grants, Lessor};
use cleat_engine::records::Watch;
use cleat_engine::{AttachmentId, Dirs, Node, service};

fn node(folder: &Path) -> Node {
    let at = |name: &str| folder.join(name);
    let dirs = Dirs { run: at("run"), state: at("state"), net: at("net"), config: at("config") };
    Node::new(dirs, |warning| panic!("{warning}"))
}

fn id(owner: &str) -> AttachmentId {
    AttachmentId { network: "blue".into(), owner: owner.into(), slot: "eth0".into() }
}

fn fresh() -> Membership {
    let subnets = vec!["10.77.0.0/16".parse().unwrap()];
    Membership {
        network: OverlayNetwork {
            block_v4: 30,
            ..OverlayNetwork::new("blue", "0123456789abcdef", 4100, subnets)
        },
        blocks: Vec::new(),
        statics: Vec::new(),
        mtu: 1450,
        halted: None,
    }
}

/// What netd does: one more block of a single lease each time, or the address that is asked for.
fn answer(node: &Node, name: &str, want: Want) {
    let mut part = overlay::membership(node, "blue").unwrap().unwrap_or_else(fresh);
    if want.address == Some("10.77.0.13".parse().unwrap()) {
        return overlay::answered(node, name, Some((want, "unlucky".to_owned()))).unwrap();
    }
    match want.address {
        Some(address) => part.statics.push(address),
        None if part.blocks.len() <= want.blocks => {
            let block = format!("10.77.1.{}/30", 4 * part.blocks.len());
            part.blocks.push(block.parse().unwrap());
        }
        None => {}
    }
    overlay::note(node, &part).unwrap();
    overlay::answered(node, name, None).unwrap();
}

/// Runs a test while somebody answers.
fn attended(test: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let done = AtomicBool::new(false);
    let _charge = service::take_charge(&node(folder)).unwrap().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let node = node(folder);
            let wants = folder.join("run/overlay/wants");
            std::fs::create_dir_all(&wants).unwrap();
            let mut watch = Watch::open(&wants).unwrap();
            while !done.load(Ordering::Relaxed) {
                for (name, want) in overlay::wants(&node).unwrap() {
                    answer(&node, &name, want);
                }
                watch.wait(Duration::from_millis(20)).unwrap();
                watch.drain().unwrap();
            }
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(folder)));
        done.store(true, Ordering::Relaxed);
        outcome.unwrap();
    });
}

fn lease(folder: &Path, owner: &str, asked: &[&str]) -> Result<Grants, String> {
    let node = node(folder);
    let asked: Vec<IpAddr> = asked.iter().map(|a| a.parse().unwrap()).collect();
    let leases = folder.join("leases");
    let lessor = OverlayLessor::new(&node, "blue", &id(owner), &leases).unwrap();
    lessor.with(asked).lease().map_err(|e| e.to_string())
}

#[test]
fn a_block_is_claimed_when_those_there_are_full() {
    attended(|folder| {
        let part = joined(&node(folder), "blue", &id("first")).unwrap();
        assert_eq!(part.blocks.len(), 1);
        for (owner, address) in
            [("a", "10.77.1.2/30"), ("b", "10.77.1.6/30"), ("c", "10.77.1.10/30")]
        {
            let grants = lease(folder, owner, &[]).unwrap();
            assert_eq!(grants.addresses[0].address.to_string(), address);
        }
    });
}

#[test]
fn many_at_once_get_an_address_each() {
    attended(|folder| {
        let all: Vec<IpAddr> = std::thread::scope(|scope| {
            let one = |n: usize| {
                scope.spawn(move || {
                    // Others may take what was claimed, again and again; a runtime tries again.
                    let tries = (0..10).find_map(|_| lease(folder, &format!("c{n}"), &[]).ok());
                    tries.expect("an address").addresses[0].address.addr()
                })
            };
            let running: Vec<_> = (0..12).map(one).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), 12, "{all:?}");
    });
}

#[test]
fn an_address_that_is_asked_for_is_got_or_refused_in_netds_words() {
    attended(|folder| {
        let grants = lease(folder, "named", &["10.77.0.9"]).unwrap();
        assert_eq!(grants.addresses[0].address.to_string(), "10.77.0.9/32");
        assert_eq!(grants.addresses[0].gateway, Some("10.77.1.1".parse().unwrap()));
        let dst: Vec<String> = grants.routes.iter().map(|r| r.dst.to_string()).collect();
        assert_eq!(dst, ["10.77.1.1/32", "10.77.0.0/16"]);
        let refused = lease(folder, "other", &["10.77.0.13"]).unwrap_err();
        assert!(refused.contains("unlucky"), "{refused}");
        let taken = lease(folder, "third", &["10.77.0.9"]).unwrap_err();
        assert!(taken.contains("10.77.0.9") && taken.contains("named"), "{taken}");
    });
}
