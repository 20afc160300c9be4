//! Stores that are away, that went back, and nodes that start again.

use std::time::Duration;

use cleat_netd::overlay::NetworkRequest;
use cleat_netd::overlay::session::Standing;

use crate::lab::{Disk, Lab, eventually};

#[tokio::test]
async fn without_the_store_a_node_keeps_what_it_has_and_knows_the_others_after_a_reboot() {
    let lab = Lab::new();
    let (a, b) = (lab.node("a").await, lab.node("b").await);
    let network = a.plane.create_network(&NetworkRequest::new("all")).await.unwrap();
    let subnet = network.subnets[0];
    let of_a = a.plane.claim(&network, &subnet, &[]).await.unwrap();
    let of_b = b.plane.claim(&network, &subnet, &[]).await.unwrap();
    eventually(|| a.plane.view().read(|s| s.claims(&network.id).count()) == 2).await;
    eventually(|| a.plane.view().read(|s| s.hosts().count()) == 2).await;
    a.client.cut(true);
    eventually(|| a.plane.view().problem().is_some()).await;
    assert_eq!(a.plane.claim(&network, &subnet, &[]).await.unwrap(), of_a);
    assert_eq!(a.plane.halted(&network.id), None);
    let error = a.plane.claim(&network, &subnet, &[of_a]).await.unwrap_err();
    assert!(error.is_store(), "{error}");
    // The process starts again in the same boot, and the store is still away.
    let disk = a.stop().await;
    let a = lab.begin("a", disk);
    a.client.cut(true);
    assert_eq!(a.plane.halted(&network.id), None);
    assert_eq!(a.plane.held(&network.id)[0].block, of_a);
    // The machine starts again: another machine with its disk may be running, for all it knows.
    let disk = a.stop().await;
    let disk = Disk { run: tempfile::tempdir().unwrap(), boot: "boot2".into(), ..disk };
    let a = lab.begin("a", disk);
    a.client.cut(true);
    assert!(a.plane.halted(&network.id).is_some());
    let peer = a.plane.view().read(|s| {
        let (_, owner) = s.claims(&network.id).find(|(block, _)| **block == of_b).unwrap();
        s.host(&owner.node).unwrap().name.clone()
    });
    assert_eq!(peer, "b");
    a.client.cut(false);
    lab.pass(Duration::from_secs(4)).await;
    eventually(|| a.plane.halted(&network.id).is_none()).await;
}

#[tokio::test]
async fn a_store_that_went_back_is_told_what_it_forgot() {
    for cluster in [1, 2] {
        let lab = Lab::new();
        let (a, b) = (lab.node("a").await, lab.node("b").await);
        let before = lab.memory.snapshot();
        let network = a.plane.create_network(&NetworkRequest::new("all")).await.unwrap();
        let subnet = network.subnets[0];
        let of_a = a.plane.claim(&network, &subnet, &[]).await.unwrap();
        let of_b = b.plane.claim(&network, &subnet, &[]).await.unwrap();
        let fixed = network.static_range(&subnet).unwrap().hosts().nth(5).unwrap();
        b.plane.address(&network, fixed, Duration::from_secs(5)).await.unwrap();
        eventually(|| a.plane.view().read(|s| s.claims(&network.id).count()) == 3).await;
        lab.memory.restore(before, cluster);
        let is_told = |node: &crate::lab::Node| {
            node.plane.view().read(|s| {
                let blocks: Vec<_> = s.claims(&network.id).map(|(block, _)| *block).collect();
                blocks.contains(&of_a) && blocks.contains(&of_b) && blocks.contains(&fixed.into())
            }) && node.plane.halted(&network.id).is_none()
                && node
                    .plane
                    .held(&network.id)
                    .iter()
                    .all(cleat_netd::overlay::claims::Held::is_usable)
        };
        eventually(|| lab.memory.snapshot().keys["epoch"].0.contains("\"number\":1")).await;
        eventually(|| is_told(&a) && is_told(&b)).await;
        // Nothing new is claimed until all have had the time to tell theirs.
        let error = a.plane.claim(&network, &subnet, &[of_a]).await.unwrap_err().to_string();
        assert!(error.contains("went back"), "{error}");
        tokio::time::sleep(crate::lab::TTL * 2 + Duration::from_millis(500)).await;
        a.plane.claim(&network, &subnet, &[of_a]).await.unwrap();
    }
}

#[tokio::test]
async fn who_comes_too_late_halts_and_says_so() {
    let lab = Lab::new();
    let (a, b) = (lab.node("a").await, lab.node("b").await);
    let mut request = NetworkRequest::new("all");
    request.subnets = vec!["10.9.0.0/24".parse().unwrap()];
    request.block_v4 = Some(25);
    let network = a.plane.create_network(&request).await.unwrap();
    eventually(|| b.plane.view().read(|s| s.network("all").is_some())).await;
    let subnet = network.subnets[0];
    let before = lab.memory.snapshot();
    // The only block there is.
    let block = a.plane.claim(&network, &subnet, &[]).await.unwrap();
    a.client.cut(true);
    lab.memory.restore(before, 2);
    eventually(|| b.plane.view().read(|s| s.claims(&network.id).count()) == 0).await;
    tokio::time::sleep(crate::lab::TTL * 2 + Duration::from_millis(500)).await;
    assert_eq!(b.plane.claim(&network, &subnet, &[]).await.unwrap(), block);
    a.client.cut(false);
    eventually(|| a.plane.halted(&network.id).is_some()).await;
    let (name, reason) = a.plane.troubles().remove(0);
    assert_eq!(name, "all");
    assert!(reason.contains(&format!("belongs to node {}", b.plane.node())), "{reason}");
    assert_eq!(b.plane.halted(&network.id), None);
    // It goes on when the other gives it up.
    b.plane.release(&network, &block).await.unwrap();
    eventually(|| a.plane.halted(&network.id).is_none()).await;
}

#[tokio::test]
async fn a_copy_of_a_running_machine_does_nothing() {
    let lab = Lab::new();
    let a = lab.node("a").await;
    let network = a.plane.create_network(&NetworkRequest::new("all")).await.unwrap();
    a.plane.claim(&network, &network.subnets[0], &[]).await.unwrap();
    let copy = Disk { boot: "boot2".into(), ..Disk::new() };
    let from = a.plane.node().to_owned();
    std::fs::create_dir_all(copy.state.path().join("overlay/claims")).unwrap();
    let node = format!("{{\"schema\": 1, \"id\": {from:?}, \"machine\": \"machine\"}}");
    let file = std::fs::File::create(copy.state.path().join("overlay/node.json")).unwrap();
    std::io::Write::write_all(&mut &file, node.as_bytes()).unwrap();
    let copy = lab.begin("copy", copy);
    eventually(|| matches!(copy.plane.standing(), Standing::Refused(_))).await;
    let Standing::Refused(reason) = copy.plane.standing() else { panic!("not refused") };
    assert!(reason.contains("node.json") && reason.contains("\"a\""), "{reason}");
    let error = copy.plane.claim(&network, &network.subnets[0], &[]).await.unwrap_err();
    assert!(error.to_string().contains("node.json"), "{error}");
    assert!(copy.plane.halted(&network.id).is_some());
    assert_eq!(a.plane.halted(&network.id), None);
}
