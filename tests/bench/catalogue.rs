//! Every other plugin, in turns with the reference's: ADD and DEL of that plugin alone, behind the
//! one whose interface it needs.

use std::fs;
use std::time::Duration;

use cleat_tests::Programs;
use serde_json::{Value, json};

use crate::node::{Attachment, Node, bridge};
use crate::report::{compare, row, section, table, timed, timed_head, verdict};
use crate::timing::{Contestant, interleaved, rest};
use crate::tools::{Pool, amount};

fn pool() -> Value {
    json!({"type": "host-local", "ranges": [[{"subnet": "10.90.0.0/16"}]]})
}

/// The chains, and which plugin of each is measured: its last one.
fn chains() -> Vec<(&'static str, Value)> {
    let alone = |plugin: Value| json!({"name": "net", "plugins": [plugin]});
    let behind = |plugin: Value| {
        let mut chain = bridge(0);
        chain["plugins"].as_array_mut().unwrap().push(plugin);
        chain
    };
    vec![
        ("ptp", alone(json!({"type": "ptp", "ipMasq": true, "ipam": pool()}))),
        ("macvlan", alone(json!({"type": "macvlan", "master": "eth0", "ipam": pool()}))),
        ("host-device", alone(json!({"type": "host-device", "device": "dev0", "ipam": pool()}))),
        (
            "tuning",
            behind(json!({"type": "tuning", "mtu": 1400, "sysctl":
            {"net.ipv4.conf.IFNAME.arp_filter": "1"}})),
        ),
        (
            "bandwidth",
            behind(json!({"type": "bandwidth", "ingressRate": 8_000_000,
            "ingressBurst": 800_000, "egressRate": 8_000_000, "egressBurst": 800_000})),
        ),
        ("sbr", behind(json!({"type": "sbr"}))),
    ]
}

/// ADD and DEL of a chain; the times are those of its last plugin.
fn last<'a>(node: &'a Node, chain: &'a Value, pool: &'a Pool) -> Contestant<'a> {
    let plugins = chain["plugins"].as_array().unwrap();
    Box::new(move |round| {
        let mut one = Attachment::new(round, pool.path(round));
        let mut add = Duration::ZERO;
        for plugin in plugins {
            let (time, said) = node.inside(|| node.call(chain, plugin, "ADD", &one));
            one.result = Some(serde_json::from_str(&said.stdout).unwrap());
            add = time;
        }
        rest();
        let times = plugins.iter().rev().map(|plugin| {
            let (time, _) = node.inside(|| node.call(chain, plugin, "DEL", &one));
            time
        });
        let times: Vec<Duration> = times.collect();
        rest();
        vec![add, times[0]]
    })
}

#[test]
#[ignore = "measures"]
fn every_other_plugin() {
    let rounds = amount("CLEAT_BENCH_ROUNDS", 20);
    section("ADD and DEL of one plugin");
    let mut rows = vec![timed_head()];
    let mut compared = Vec::new();
    for (name, chain) in chains() {
        let pools = [(); 2].map(|()| Pool::new(rounds + 2));
        let nodes = [Programs::under_test(), Programs::reference()].map(Node::new);
        nodes.iter().for_each(|node| {
            node.lab.host.ip("link add dev0 type veth peer name port0");
        });
        let found = interleaved(
            rounds,
            &mut [last(&nodes[0], &chain, &pools[0]), last(&nodes[1], &chain, &pools[1])],
        );
        for (step, verb) in ["ADD", "DEL"].into_iter().enumerate() {
            rows.push(timed(&format!("{name} {verb}, cleat"), &found[0][step]));
            rows.push(timed(&format!("{name} {verb}, reference"), &found[1][step]));
            let [ours, theirs] = [0, 1].map(|who| found[who][step].clone());
            compared.push((format!("{name} {verb}"), ours, theirs));
        }
    }
    table(&rows);
    for (what, ours, theirs) in &compared {
        compare(what, ours, theirs, 1.0);
    }
}

/// All plugins together, each side's programs for what both have; and all of ours.
#[test]
#[ignore = "measures"]
fn sizes_together() {
    const MIB: f64 = 1024.0 * 1024.0;
    let folder = Programs::under_test().folder().to_owned();
    let reference = Programs::reference().folder().to_owned();
    let size = |path: std::path::PathBuf| fs::metadata(path).map_or(0.0, |m| m.len() as f64 / MIB);
    let names = |folder: &std::path::Path| -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    };
    section("size of all programs, MiB");
    let mut rows = vec![row(["program", "cleat", "reference"])];
    let (mut ours, mut theirs, mut all) = (0.0, 0.0, 0.0);
    for name in names(&folder) {
        let (own, other) = (size(folder.join(&name)), size(reference.join(&name)));
        // A second name of one file is no second file.
        if name != "loopback" {
            all += own;
        }
        if other > 0.0 {
            ours += own;
            theirs += other;
        }
        let other = if other > 0.0 { format!("{other:.2}") } else { String::new() };
        rows.push(vec![name, format!("{own:.2}"), other]);
    }
    rows.push(vec!["what both have".into(), format!("{ours:.2}"), format!("{theirs:.2}")]);
    rows.push(vec!["all of ours, daemons too".into(), format!("{all:.2}"), String::new()]);
    table(&rows);
    verdict("what both have", ours / theirs, 0.5);
}
