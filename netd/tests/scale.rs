//! A node among ten thousand; a process of its own, since its memory is measured.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "store/etcd.rs"]
mod etcd;
#[path = "plane/lab.rs"]
mod lab;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cleat_netd::overlay::documents::{Claim, Host, Live, encode};
use cleat_netd::overlay::session::Standing;
use cleat_netd::overlay::store::{MAX_OPS, Store, Txn, Write};
use cleat_netd::overlay::{NetworkRequest, keys, networks};

use lab::{Disk, Pool, eventually, open};

const NODES: u32 = 10_000;
/// Of the whole daemon's 40 MiB, in KiB: what a node that knows all of them has more.
const MEMORY: u64 = 12 << 10;

/// In KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_nodes_fit_into_memory() {
    let server = etcd::Server::start();
    let store = server.client("/cleat/");
    let mut request = NetworkRequest::new("all");
    request.subnets = vec!["10.0.0.0/8".parse().unwrap()];
    let network = networks::create(&store, &request, "0123456789abcdef", 0).await.unwrap();
    let blocks: Vec<_> = network.subnets[0].subnets(24).unwrap().skip(1).collect();
    let mut writes = Vec::new();
    for (n, block) in (0..NODES).zip(&blocks) {
        let node = format!("{:016x}", u64::from(n) * 0x9e37_79b9_7f4a);
        let mut add = |key: String, value: String| writes.push(Write::put(key, value));
        let host = Host {
            name: format!("host{n}.example.net"),
            addresses: vec![std::net::Ipv4Addr::from_bits(0xc000_0200 + n).into()],
            version: "0.1.0".into(),
            announcement: None,
        };
        let live =
            Live { boot: format!("{n:036}"), instance: node.clone(), name: host.name.clone() };
        let claim = Claim { node: node.clone(), nonce: node.clone(), granted_by: None };
        for (key, value) in [
            (keys::host(&node), encode("", &host).unwrap()),
            (keys::live(&node), encode("", &live).unwrap()),
            (keys::claim(&network.id, block), encode("", &claim).unwrap()),
        ] {
            add(key, value);
        }
    }
    for some in writes.chunks(MAX_OPS) {
        store.commit(&Txn::new([], some)).await.unwrap();
    }
    drop(writes);
    drop(blocks);
    let disk = Disk::new();
    let before = resident();
    let start = Instant::now();
    let (plane, _running) =
        open(Arc::new(server.client("/cleat/")), "me", &disk, Arc::new(Pool::default()));
    let count = NODES as usize;
    eventually(|| plane.view().read(|s| s.claims(&network.id).count()) == count).await;
    let listed = start.elapsed();
    eventually(|| matches!(plane.standing(), Standing::Held(_))).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let more = resident().saturating_sub(before);
    println!("{NODES} nodes: listed in {listed:?}, {more} KiB more");
    assert!(more <= MEMORY, "{more} KiB more for {NODES} nodes; at most {MEMORY}");
    // A hundred changes a second, each seen soon.
    let mut late = Vec::new();
    for n in 0..300_u32 {
        let block = network.subnets[0].subnets(24).unwrap().nth((NODES + 1 + n) as usize).unwrap();
        let key = keys::claim(&network.id, &block);
        let claim = Claim { node: "other".into(), nonce: String::new(), granted_by: None };
        let mut changes = plane.view().changes();
        store.commit(&Txn::new([], [Write::put(key, encode("", &claim).unwrap())])).await.unwrap();
        let made = Instant::now();
        while plane.view().read(|s| s.claims(&network.id).count()) <= count + n as usize {
            changes.next().await;
        }
        late.push(made.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    late.sort_unstable();
    let (half, most) = (late[150], late[296]);
    println!("a change is in memory {half:?} after its commit, 99 of 100 within {most:?}");
    // Of the machine's other work the slowest tell more than of this.
    assert!(half < Duration::from_millis(50), "{half:?}");
}
