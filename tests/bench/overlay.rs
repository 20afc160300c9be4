//! An overlay network over real nodes with an etcd: how soon what one node attached is known, and
//! reached, on all others.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use cleat_tests::{Ask, Attached, Container, Etcd, Fleet, Node, Transport, wait_until};
use serde_json::{Value, json};

use crate::report::{late, late_head, section, table, verdict};
use crate::timing::{Samples, milliseconds, rest};
use crate::tools::amount;

/// Where a container that was just attached answers.
const PORT: u16 = 9000;
/// How long a node that does not know a name waits before it asks again.
const AGAIN: Duration = Duration::from_millis(1);
/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Nodes with netd, the network `blue` among them.
pub(crate) struct Overlay {
    pub(crate) fleet: Fleet,
    pub(crate) etcd: Etcd,
}

impl Overlay {
    pub(crate) fn of(nodes: usize, subnet: &str) -> Self {
        let fleet = Fleet::new(nodes);
        let etcd = Etcd::start(&fleet, 1);
        for node in fleet.nodes() {
            node.start(&json!({"overlay": node.overlay_section(&etcd)}));
        }
        let line = format!("network create --driver overlay --subnet {subnet} blue");
        let output = fleet[1].lab.cleat(&line).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        Self { fleet, etcd }
    }

    /// A container on a node, under a name.
    pub(crate) fn attach(&self, number: usize, container: &Container, name: &str) -> Attached {
        let node = &self.fleet[number];
        let chain = node.lab.chain(conflist(node));
        chain.capabilities(json!({"aliases": [name]})).attach(container)
    }

    pub(crate) fn detach(&self, number: usize, container: &Container, attached: &Attached) {
        let node = &self.fleet[number];
        node.lab.chain(conflist(node)).detach(container, attached);
    }
}

/// The network as a node's runtimes find it.
fn conflist(node: &Node) -> Value {
    let file = node.lab.folder().join("net.d/zz-cleat-blue.conflist");
    wait_until("the conflist is there", || file.exists());
    serde_json::from_slice(&fs::read(&file).unwrap()).unwrap()
}

/// From now on until the name answers inside, and until there is an answer from the address.
fn known(from: &Container, gateway: &str, name: &str, address: &str) -> [Duration; 2] {
    let start = Instant::now();
    let ask = Ask::new(gateway, name, "A");
    while from.ns.ask_name(&ask).unwrap().data != [address] {
        assert!(start.elapsed() < PATIENCE, "{name} is not known");
        thread::sleep(AGAIN);
    }
    let named = start.elapsed();
    while from.ns.ask(Transport::Udp, &format!("{address}:{PORT}")).is_err() {
        assert!(start.elapsed() < PATIENCE, "{name} does not answer at {address}");
    }
    [named, start.elapsed()]
}

#[test]
#[ignore = "measures"]
fn overlay_convergence() {
    let nodes = amount("CLEAT_OVERLAY_NODES", 10);
    let rounds = amount("CLEAT_OVERLAY_ROUNDS", 50);
    let overlay = Overlay::of(nodes, "10.77.0.0/16");
    let askers: Vec<(Container, String)> = (1..=nodes)
        .map(|number| {
            let container = overlay.fleet[number].lab.container();
            let attached = overlay.attach(number, &container, "asker");
            let gateway = attached.result["ips"][0]["gateway"].as_str().unwrap().to_owned();
            (container, gateway)
        })
        .collect();
    let [mut named, mut reached, mut last] = [const { Vec::<Duration>::new() }; 3];
    for round in 0..rounds + 2 {
        let own = round % nodes;
        let (container, name) = (overlay.fleet[own + 1].lab.container(), format!("new-{round}"));
        let answers = container.ns.serve(PORT);
        let attached = overlay.attach(own + 1, &container, &name);
        let address = attached.v4();
        let found: Vec<[Duration; 2]> = thread::scope(|scope| {
            let others = askers.iter().enumerate().filter(|(number, _)| *number != own);
            let threads: Vec<_> = others
                .map(|(_, (from, gateway))| scope.spawn(|| known(from, gateway, &name, &address)))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        drop(answers);
        overlay.detach(own + 1, &container, &attached);
        rest();
        if round >= 2 {
            named.extend(found.iter().map(|[named, _]| named));
            reached.extend(found.iter().map(|[_, reached]| reached));
            last.extend(found.iter().map(|[_, reached]| *reached).max());
        }
    }
    section(&format!("overlay: {nodes} nodes, from the end of ADD on one until the others know"));
    let [named, reached, last] = [named, reached, last].map(|all| {
        let mut samples = Samples::default();
        all.into_iter().for_each(|one| samples.push(one));
        samples
    });
    table(&[
        late_head(),
        late("the name answers, each node", &named),
        late("the address answers as well", &reached),
        late("on the last of the nodes", &last),
    ]);
    println!();
    verdict("known by all in 99 of 100, of 50 ms", last.percentile(99) / LATEST, 1.0);
}

/// The goal, in milliseconds.
const LATEST: f64 = 50.0;

/// As a goal says it.
pub(crate) fn of_goal(value: Duration) -> f64 {
    milliseconds(value) / LATEST
}
