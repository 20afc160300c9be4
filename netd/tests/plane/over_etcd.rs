//! The same over etcd: three nodes, and the server killed and started again meanwhile.

use std::sync::Arc;
use std::time::Duration;

use cleat_netd::overlay::NetworkRequest;
use cleat_netd::overlay::session::Standing;

use crate::etcd;
use crate::lab::{Disk, Pool, eventually, open};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_and_a_server_that_dies() {
    let mut server = etcd::Server::start();
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let names = ["a", "b", "c"];
    let start = |disk: &Disk, name: &str| {
        open(Arc::new(server.client("/cleat/")), name, disk, Arc::new(Pool::default()))
    };
    let nodes: Vec<_> = disks.iter().zip(names).map(|(disk, name)| start(disk, name)).collect();
    for (plane, _) in &nodes {
        eventually(|| matches!(plane.standing(), Standing::Held(_))).await;
    }
    let network = nodes[0].0.create_network(&NetworkRequest::new("all")).await.unwrap();
    let subnet = network.subnets[0];
    // All at once, several each.
    let mut claims = tokio::task::JoinSet::new();
    for (plane, _) in &nodes {
        let (plane, network) = (plane.clone(), network.clone());
        claims.spawn(async move {
            let mut have = Vec::new();
            for _ in 0..5 {
                have.push(plane.claim(&network, &subnet, &have).await.unwrap());
            }
            have
        });
    }
    let mut blocks: Vec<_> = claims.join_all().await.into_iter().flatten().collect();
    blocks.sort_unstable();
    blocks.dedup();
    assert_eq!(blocks.len(), 15);
    for (plane, _) in &nodes {
        eventually(|| plane.view().read(|s| s.claims(&network.id).count()) == 15).await;
        eventually(|| plane.nodes().iter().filter(|node| node.is_up).count() == 3).await;
    }
    server.stop();
    for (plane, _) in &nodes {
        eventually(|| plane.view().problem().is_some()).await;
        assert_eq!(plane.halted(&network.id), None);
        let held: Vec<_> = plane.held(&network.id).into_iter().map(|held| held.block).collect();
        assert_eq!(plane.claim(&network, &subnet, &held[1..]).await.unwrap(), held[0]);
    }
    server.run();
    for (plane, _) in &nodes {
        eventually(|| plane.view().problem().is_none()).await;
    }
    let asked = network.static_range(&subnet).unwrap().hosts().nth(9).unwrap();
    nodes[2].0.address(&network, asked, Duration::from_secs(5)).await.unwrap();
    eventually(|| nodes[0].0.view().read(|s| s.claims(&network.id).count()) == 16).await;
    // Of another's block, which grants it.
    let block = nodes[0].0.held(&network.id)[0].block;
    let address = block.hosts().nth(7).unwrap();
    nodes[1].0.address(&network, address, Duration::from_secs(5)).await.unwrap();
    assert!(nodes.iter().all(|(plane, _)| plane.troubles().is_empty()));
}
