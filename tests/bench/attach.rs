//! One container more, one container less: the usual networks.

use cleat_tests::Programs;
use serde_json::{Value, json};

use crate::floor::Floor;
use crate::node::{Attachment, Node, bridge, nerdctl};
use crate::report::{compare, section, table, timed, timed_head};
use crate::timing::{Contestant, interleaved, rest};
use crate::tools::Pool;

/// ADD and DEL of a chain.
fn plugins<'a>(node: &'a Node, chain: &'a Value, pool: &'a Pool) -> Contestant<'a> {
    Box::new(move |round| {
        let mut one = Attachment::new(round, pool.path(round)).publish(8080, 8081);
        let add = node.inside(|| node.add(chain, &mut one));
        rest();
        let del = node.inside(|| node.del(chain, &one));
        rest();
        vec![add, del]
    })
}

fn floor<'a>(node: &'a Node, floor: &'a Floor, pool: &'a Pool) -> Contestant<'a> {
    Box::new(move |round| {
        let path = pool.path(round);
        let add = node.inside(|| floor.add(node, round, &path));
        rest();
        let del = node.inside(|| floor.del(node, round, &path));
        rest();
        vec![add, del]
    })
}

/// What a network keeps is made: the bridge, the tables.
pub(crate) fn prepare(node: &Node, chain: &Value, pool: &Pool) {
    node.inside(|| {
        let mut first = Attachment::new(0xffff, pool.path(0));
        node.add(chain, &mut first);
        node.del(chain, &first);
    });
    rest();
}

#[test]
#[ignore = "measures"]
fn bridge_alone() {
    let (rounds, chain) = (40, bridge(0));
    let pools: Vec<Pool> = (0..3).map(|_| Pool::new(rounds + 2)).collect();
    let (ours, reference, bare) = (
        Node::new(Programs::under_test()),
        Node::new(Programs::reference()),
        Node::new(Programs::under_test()),
    );
    let program = Floor::on_bridge(0);
    prepare(&ours, &chain, &pools[0]);
    prepare(&reference, &chain, &pools[1]);
    prepare(&bare, &chain, &pools[2]);
    let found = interleaved(
        rounds,
        &mut [
            plugins(&ours, &chain, &pools[0]),
            plugins(&reference, &chain, &pools[1]),
            floor(&bare, &program, &pools[2]),
        ],
    );
    section("bridge, host-local, masquerade");
    let mut rows = vec![timed_head()];
    for (step, verb) in ["ADD", "DEL"].iter().enumerate() {
        for (who, samples) in ["cleat", "reference", "floor"].iter().zip(&found) {
            rows.push(timed(&format!("{verb} {who}"), &samples[step]));
        }
    }
    table(&rows);
    println!();
    compare("ADD, to the reference", &found[0][0], &found[1][0], 1.0 / 12.0);
    compare("DEL, to the reference", &found[0][1], &found[1][1], 1.0 / 10.0);
    compare("ADD, to the floor", &found[0][0], &found[2][0], 1.5);
    compare("DEL, to the floor", &found[0][1], &found[2][1], 1.5);
}

/// nerdctl's order: DEL without a namespace, of what is not there; ADD; DEL without a namespace.
fn as_nerdctl<'a>(node: &'a Node, chain: &'a Value, pool: &'a Pool) -> Contestant<'a> {
    Box::new(move |round| {
        let mut one = Attachment::new(round, pool.path(round)).publish(8080, 8081);
        let nothing = Attachment { netns: String::new(), ..one.clone() };
        let before = node.inside(|| node.del(chain, &nothing));
        rest();
        let add = node.inside(|| node.add(chain, &mut one));
        rest();
        let del = node.inside(|| node.del(chain, &nothing));
        rest();
        // The reference frees some of it only when it is told the namespace.
        node.inside(|| node.del(chain, &one));
        rest();
        vec![before, add, del]
    })
}

#[test]
#[ignore = "measures"]
fn chain_of_nerdctl() {
    let (rounds, chain) = (25, nerdctl(0));
    let pools: Vec<Pool> = (0..2).map(|_| Pool::new(rounds + 2)).collect();
    let nodes = [Node::new(Programs::under_test()), Node::new(Programs::reference())];
    for (node, pool) in nodes.iter().zip(&pools) {
        prepare(node, &chain, pool);
    }
    let mut contestants: Vec<Contestant<'_>> = Vec::new();
    for (node, pool) in nodes.iter().zip(&pools) {
        contestants.push(plugins(node, &chain, pool));
    }
    let usual = interleaved(rounds, &mut contestants);
    drop(contestants);
    let mut contestants: Vec<Contestant<'_>> = Vec::new();
    for (node, pool) in nodes.iter().zip(&pools) {
        contestants.push(as_nerdctl(node, &chain, pool));
    }
    let empty = interleaved(rounds, &mut contestants);
    section("nerdctl's chain: bridge, portmap (2 ports), firewall (same-bridge), tuning");
    let steps = ["DEL before ADD, no namespace", "ADD", "DEL, no namespace"];
    let mut rows = vec![timed_head()];
    for (step, verb) in ["ADD", "DEL"].iter().enumerate() {
        for (who, samples) in ["cleat", "reference"].iter().zip(&usual) {
            rows.push(timed(&format!("{verb} {who}"), &samples[step]));
        }
    }
    for (step, verb) in steps.iter().enumerate().filter(|(step, _)| *step != 1) {
        for (who, samples) in ["cleat", "reference"].iter().zip(&empty) {
            rows.push(timed(&format!("{verb} {who}"), &samples[step]));
        }
    }
    table(&rows);
    println!();
    compare("ADD, to the reference", &usual[0][0], &usual[1][0], 1.0 / 15.0);
    compare("DEL, to the reference", &usual[0][1], &usual[1][1], 1.0 / 15.0);
}

/// Two contestants without goals.
fn pair(title: &str, rounds: usize, chain: &Value) {
    let pools: Vec<Pool> = (0..2).map(|_| Pool::new(rounds + 2)).collect();
    let nodes = [Node::new(Programs::under_test()), Node::new(Programs::reference())];
    let mut contestants: Vec<Contestant<'_>> = Vec::new();
    for (node, pool) in nodes.iter().zip(&pools) {
        contestants.push(plugins(node, chain, pool));
    }
    let found = interleaved(rounds, &mut contestants);
    section(title);
    let mut rows = vec![timed_head()];
    for (step, verb) in ["ADD", "DEL"].iter().enumerate() {
        for (who, samples) in ["cleat", "reference"].iter().zip(&found) {
            rows.push(timed(&format!("{verb} {who}"), &samples[step]));
        }
        let (ours, theirs) = (&found[0][step], &found[1][step]);
        let by = |ours: f64, theirs: f64| format!("1/{:.1}", theirs / ours);
        let (median, min) = (by(ours.median(), theirs.median()), by(ours.min(), theirs.min()));
        rows.push(vec![format!("{verb} ratio"), median, min]);
    }
    table(&rows);
}

#[test]
#[ignore = "measures"]
fn macvlan() {
    let chain = json!({"name": "net", "plugins": [{
        "type": "macvlan", "master": "eth0",
        "ipam": {"type": "host-local", "ranges": [[
            {"subnet": "192.0.2.0/24", "rangeStart": "192.0.2.100", "gateway": "192.0.2.2"},
        ]]},
    }]});
    pair("macvlan, host-local", 25, &chain);
}

#[test]
#[ignore = "measures"]
fn host_local() {
    let chain = json!({"name": "net", "plugins": [{
        "type": "host-local",
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]]},
    }]});
    pair("host-local alone", 40, &chain);
}
