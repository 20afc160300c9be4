//! Control planes of several nodes over one store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../store/etcd.rs"]
mod etcd;
mod lab;
mod over_etcd;
mod trouble;

use std::time::Duration;

use cleat_netd::overlay::claims::Single;
use cleat_netd::overlay::documents::Names;
use cleat_netd::overlay::{Error, NetworkRequest};
use lab::{Lab, Node, eventually};

#[tokio::test]
async fn nodes_share_a_network_and_no_block() {
    let lab = Lab::new();
    let (a, b) = (lab.node("a").await, lab.node("b").await);
    let mut request = NetworkRequest::new("all");
    request.ipv6 = true;
    let network = a.plane.create_network(&request).await.unwrap();
    eventually(|| b.plane.view().read(|s| s.network("all").is_some())).await;
    let mut blocks = Vec::new();
    for node in [&a, &b] {
        for subnet in &network.subnets {
            let one = node.plane.claim(&network, subnet, &[]).await.unwrap();
            // The same one while it is not said to be full.
            assert_eq!(node.plane.claim(&network, subnet, &[]).await.unwrap(), one);
            let two = node.plane.claim(&network, subnet, &[one]).await.unwrap();
            assert!(subnet.contains(&one) && one.prefix_len() == network.block_length(subnet));
            blocks.extend([one, two]);
        }
    }
    let all = blocks.clone();
    blocks.sort_unstable();
    blocks.dedup();
    assert_eq!(blocks.len(), 8, "{all:?}");
    eventually(|| a.plane.view().read(|s| s.claims(&network.id).count()) == 8).await;
    assert_eq!(a.plane.held(&network.id).len(), 4);
    let error = a.plane.remove_network("all").await.unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    for node in [&a, &b] {
        for held in node.plane.held(&network.id) {
            node.plane.release(&network, &held.block).await.unwrap();
        }
        assert!(node.plane.held(&network.id).is_empty());
    }
    a.plane.remove_network("all").await.unwrap();
    eventually(|| b.plane.view().read(|s| s.network("all").is_none())).await;
}

#[tokio::test]
async fn addresses_are_claimed_alone_or_granted_by_the_owner_of_their_block() {
    let lab = Lab::new();
    let (a, b) = (lab.node("a").await, lab.node("b").await);
    let network = a.plane.create_network(&NetworkRequest::new("all")).await.unwrap();
    let subnet = network.subnets[0];
    let patience = Duration::from_secs(10);
    let first = network.static_range(&subnet).unwrap();
    let fixed = first.hosts().nth(8).unwrap();
    let held = a.plane.address(&network, fixed, patience).await.unwrap();
    assert_eq!(held, Single::Held(fixed.into()));
    let error = b.plane.address(&network, fixed, patience).await.unwrap_err().to_string();
    assert!(error.contains(&format!("belongs to node {}", a.plane.node())), "{error}");
    // Of a block.
    let block = a.plane.claim(&network, &subnet, &[]).await.unwrap();
    let (wanted, used) = (block.hosts().nth(20).unwrap(), block.hosts().nth(21).unwrap());
    a.reserve.use_here(used);
    assert_eq!(a.plane.address(&network, wanted, patience).await.unwrap(), Single::OwnBlock(block));
    let granted = b.plane.address(&network, wanted, patience).await.unwrap();
    assert_eq!(granted, Single::Held(wanted.into()));
    assert!(a.reserve.is_reserved(wanted));
    let error = b.plane.address(&network, used, patience).await.unwrap_err().to_string();
    assert!(error.contains("a container has it"), "{error}");
    // Given back, it is the block's again.
    b.plane.release(&network, &wanted.into()).await.unwrap();
    eventually(|| !a.reserve.is_reserved(wanted)).await;
    // Of a block that nobody has: the asker claims it.
    let other = subnet.subnets(24).unwrap().skip(1).find(|other| *other != block).unwrap();
    let address = other.hosts().nth(3).unwrap();
    assert_eq!(
        b.plane.address(&network, address, patience).await.unwrap(),
        Single::OwnBlock(other)
    );
    // An owner that does not answer is named.
    a.client.cut(true);
    let error = b.plane.address(&network, wanted, Duration::from_millis(300)).await.unwrap_err();
    assert!(error.to_string().contains("(a, up), has not answered"), "{error}");
    for wrong in ["10.1.0.1".parse().unwrap(), subnet.network()] {
        let error = b.plane.address(&network, wrong, patience).await.unwrap_err();
        assert!(matches!(error, Error::Address { .. }), "{error}");
    }
}

#[tokio::test]
async fn names_are_seen_everywhere_while_their_node_is_up() {
    let lab = Lab::new();
    let (a, b) = (lab.node("a").await, lab.node("b").await);
    // A majority that stays.
    let c = lab.node("c").await;
    let network = a.plane.create_network(&NetworkRequest::new("all")).await.unwrap();
    eventually(|| a.plane.view().read(|s| s.network("all").is_some())).await;
    let names = |n: u32| Names {
        owner: format!("container{n}"),
        names: vec![format!("web{n}")],
        domain: None,
        addresses: vec!["10.128.1.2".parse().unwrap()],
        ports: Vec::new(),
    };
    let many: Vec<_> = (0..300).map(|n| (format!("r{n}"), Some(names(n)))).collect();
    a.plane.put_names(&network, &many).await.unwrap();
    let seen = |node: &Node| node.plane.view().read(|s| s.names(&network.id).count());
    eventually(|| seen(&b) == 300).await;
    a.plane.put_names(&network, &[("r7".into(), None)]).await.unwrap();
    eventually(|| seen(&b) == 299 && seen(&c) == 299).await;
    let own = b.plane.view().read(|s| s.names_of(&network.id, a.plane.node()).count());
    assert_eq!(own, 299);
    // Down: withdrawn elsewhere, and there again when it is back.
    a.client.cut(true);
    for _ in 0..16 {
        lab.pass(Duration::from_secs(1)).await;
    }
    eventually(|| seen(&b) == 0).await;
    a.client.cut(false);
    eventually(|| seen(&b) == 299).await;
}

#[tokio::test]
async fn a_node_that_is_gone_is_forgotten_and_its_blocks_are_free() {
    let lab = Lab::new();
    let (a, b) = (lab.node("a").await, lab.node("b").await);
    let network = a.plane.create_network(&NetworkRequest::new("all")).await.unwrap();
    let block = b.plane.claim(&network, &network.subnets[0], &[]).await.unwrap();
    let gone = b.plane.node().to_owned();
    eventually(|| a.plane.nodes().iter().any(|node| *node.id == *gone && node.blocks.len() == 1))
        .await;
    assert_eq!(*a.plane.node_by("b").unwrap(), *gone);
    let error = a.plane.forget(&gone).await.unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    let disk = b.stop().await;
    lab.pass(Duration::from_secs(20)).await;
    a.plane.forget(&gone).await.unwrap();
    eventually(|| {
        a.plane.view().read(|s| s.host(&gone).is_none() && s.claims_of(&gone).count() == 0)
    })
    .await;
    // Back again, it tells what it owns, if nobody else does.
    let b = lab.start("b", disk).await;
    eventually(|| a.plane.view().read(|s| s.claims_of(&gone).any(|(_, found)| *found == block)))
        .await;
    assert_eq!(b.plane.halted(&network.id), None);
}

#[tokio::test]
async fn a_draining_node_claims_no_more() {
    let lab = Lab::new();
    let a = lab.node("a").await;
    let network = a.plane.create_network(&NetworkRequest::new("all")).await.unwrap();
    a.plane.drain(a.plane.node(), true).await.unwrap();
    eventually(|| a.plane.nodes().iter().any(|node| node.is_draining)).await;
    let error = a.plane.claim(&network, &network.subnets[0], &[]).await.unwrap_err();
    assert!(error.to_string().contains("drain --undo"), "{error}");
    a.plane.drain(a.plane.node(), false).await.unwrap();
    eventually(|| a.plane.nodes().iter().all(|node| !node.is_draining)).await;
    a.plane.claim(&network, &network.subnets[0], &[]).await.unwrap();
}
