//! Nodes over a store in memory, whose clock is moved by hand, or over another one.
#![allow(dead_code, reason = "several tests share this, and each uses a part")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cleat_engine::overlay::OverlayNetwork;
use cleat_netd::overlay::claims::Reserve;
use cleat_netd::overlay::documents::Host;
use cleat_netd::overlay::session::Standing;
use cleat_netd::overlay::store::{Memory, MemoryClient, Store};
use cleat_netd::overlay::{ControlPlane, Running, Setup};
use tempfile::TempDir;

pub(crate) const TTL: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until it is so.
pub(crate) async fn eventually(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not so within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A node's pool.
#[derive(Default)]
pub(crate) struct Pool {
    used: Mutex<BTreeSet<IpAddr>>,
    reserved: Mutex<BTreeSet<IpAddr>>,
}

impl Pool {
    pub(crate) fn use_here(&self, address: IpAddr) {
        self.used.lock().unwrap().insert(address);
    }

    pub(crate) fn is_reserved(&self, address: IpAddr) -> bool {
        self.reserved.lock().unwrap().contains(&address)
    }
}

impl Reserve for Pool {
    fn reserve(&self, _: &OverlayNetwork, address: IpAddr, _: &str) -> Result<(), String> {
        if self.used.lock().unwrap().contains(&address) {
            return Err("a container has it".to_owned());
        }
        self.reserved.lock().unwrap().insert(address);
        Ok(())
    }

    fn free(&self, _: &OverlayNetwork, address: IpAddr) {
        self.reserved.lock().unwrap().remove(&address);
    }
}

/// What outlives a process.
pub(crate) struct Disk {
    pub(crate) state: TempDir,
    pub(crate) run: TempDir,
    pub(crate) boot: String,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let dir = || tempfile::tempdir().unwrap();
        Self { state: dir(), run: dir(), boot: "boot1".into() }
    }
}

pub(crate) struct Node {
    pub(crate) plane: Arc<ControlPlane>,
    pub(crate) client: MemoryClient,
    pub(crate) reserve: Arc<Pool>,
    running: Running,
    disk: Disk,
}

impl Node {
    /// Killed.
    pub(crate) async fn stop(self) -> Disk {
        self.plane.close().await;
        drop(self.running);
        self.disk
    }
}

pub(crate) struct Lab {
    pub(crate) memory: Memory,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { memory: Memory::new(1) }
    }

    /// Lets time pass for leases, slowly enough that they are kept by those who can.
    pub(crate) async fn pass(&self, by: Duration) {
        self.memory.advance(by);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    /// A new node, once it acts for itself.
    pub(crate) async fn node(&self, name: &str) -> Node {
        self.start(name, Disk::new()).await
    }

    pub(crate) async fn start(&self, name: &str, disk: Disk) -> Node {
        let node = self.begin(name, disk);
        eventually(|| matches!(node.plane.standing(), Standing::Held(_))).await;
        node
    }

    pub(crate) fn begin(&self, name: &str, disk: Disk) -> Node {
        let client = self.memory.client(None);
        let reserve = Arc::new(Pool::default());
        let (plane, running) = open(Arc::new(client.clone()), name, &disk, reserve.clone());
        Node { plane, client, reserve, running, disk }
    }
}

/// A control plane over any store.
pub(crate) fn open(
    store: Arc<dyn Store>,
    name: &str,
    disk: &Disk,
    reserve: Arc<Pool>,
) -> (Arc<ControlPlane>, Running) {
    let setup = Setup {
        state: disk.state.path().join("overlay"),
        run: disk.run.path().join("overlay"),
        boot: disk.boot.clone(),
        machine: "machine".into(),
        host: Host { name: name.into(), ..Host::default() },
        ttl: TTL,
        reserve,
    };
    ControlPlane::open(store, setup).unwrap()
}
