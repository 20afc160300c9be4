//! Overlay networks over a fleet: nodes that share an etcd, with times short enough to be waited
//! for, and containers on them.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::chain::{Attached, Chain};
use crate::etcd::Etcd;
use crate::fleet::Fleet;
use crate::flow::Flow;
use crate::invoke::Outcome;
use crate::lab::{Container, wait_until};
use crate::node::Node;

/// What a store that was away, or a session that was lost, may take.
const PATIENCE: Duration = Duration::from_secs(40);
/// Between two datagrams of a flow.
const EVERY: Duration = Duration::from_millis(10);

impl Fleet {
    /// So many nodes whose netd shares an etcd of one member.
    pub fn sharing(count: usize) -> (Self, Etcd) {
        let fleet = Self::new(count);
        let etcd = Etcd::start(&fleet, 1);
        for node in fleet.nodes() {
            node.share(&etcd);
        }
        (fleet, etcd)
    }
}

impl Node {
    /// Starts netd with an etcd for its overlays; it counts as down after 5 seconds, and leaves a
    /// network a second after its last container.
    pub fn share(&self, etcd: &Etcd) {
        let mut section = self.overlay_section(etcd);
        section["linger"] = 1.into();
        section["ttl"] = 5.into();
        self.start(&json!({"overlay": section}));
    }

    /// What the command prints, which must succeed.
    #[track_caller]
    pub fn cleat(&self, line: &str) -> String {
        let output = self.lab.cleat(line).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the command says against it, which must fail.
    #[track_caller]
    pub fn cleat_refused(&self, line: &str) -> String {
        let output = self.lab.cleat(line).output().unwrap();
        assert!(!output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    /// What the command says in JSON.
    #[track_caller]
    pub fn cleat_json(&self, line: &str) -> Value {
        serde_json::from_str(&self.cleat(&format!("--format json {line}"))).unwrap()
    }

    /// A network as this node's runtimes find it, once they do; what it attaches is called so.
    #[track_caller]
    pub fn on(&self, network: &str, alias: &str) -> Chain<'_> {
        let file = self.lab.folder().join(format!("net.d/zz-cleat-{network}.conflist"));
        wait_until("the conflist is there", || file.exists());
        let list = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        self.lab.chain(list).capabilities(json!({"aliases": [alias]}))
    }

    /// A container on a network, called so.
    #[track_caller]
    pub fn place(&self, network: &str, alias: &str) -> Placed<'_> {
        self.place_by(self.on(network, alias)).unwrap_or_else(|outcome| panic!("{outcome:?}"))
    }

    /// A container on a network, or why not.
    pub fn place_by<'n>(&'n self, chain: Chain<'n>) -> Result<Placed<'n>, Outcome> {
        let container = self.lab.container();
        let attached = chain.add(&container)?;
        Ok(Placed { chain, container, attached })
    }

    /// The blocks that it owns by the store, sorted as text.
    #[track_caller]
    pub fn blocks(&self) -> Vec<String> {
        let nodes = self.cleat_json("node inspect");
        let blocks = nodes[0]["blocks"].as_array().unwrap();
        let mut names: Vec<String> =
            blocks.iter().map(|b| b["block"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    /// Where its VXLAN devices send to.
    pub fn remotes(&self) -> Vec<String> {
        let entries = self.lab.host.sh("bridge fdb show");
        let remotes = entries.lines().filter_map(|line| line.split(" dst ").nth(1));
        let mut found: Vec<String> =
            remotes.filter_map(|rest| rest.split(' ').next()).map(str::to_owned).collect();
        found.sort();
        found.dedup();
        found
    }
}

/// A container on an overlay network.
#[derive(Debug)]
pub struct Placed<'n> {
    chain: Chain<'n>,
    /// The container.
    pub container: Container,
    /// What it was given.
    pub attached: Attached,
}

impl Placed<'_> {
    /// Its address.
    pub fn v4(&self) -> String {
        self.attached.v4()
    }

    /// DEL, which must succeed.
    #[track_caller]
    pub fn end(self) {
        self.chain.detach(&self.container, &self.attached);
    }

    /// It is answered by another.
    pub fn reaches(&self, other: &Placed<'_>) -> bool {
        self.container.ns.ping(&other.v4())
    }

    /// The addresses of a name, asked where the container asks.
    pub fn finds(&self, name: &str) -> Vec<String> {
        let gateway = self.attached.result["ips"][0]["gateway"].as_str().unwrap();
        self.container.ns.look_up(gateway, name, "A").data
    }

    /// A steady flow to another and back.
    pub fn flow_to(&self, other: &Placed<'_>) -> Flow {
        Flow::between(&self.container.ns, &other.container.ns, &other.v4(), EVERY)
    }
}

/// Waits for what takes its time: a store that comes back, a session that ends. How long it took.
#[track_caller]
pub fn settles(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    start.elapsed()
}
