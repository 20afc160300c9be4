//! The programs themselves: how large, how much memory, how long from start to exit.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use cleat_tests::Programs;
use serde_json::{Value, json};

use crate::node::{Attachment, Node, nerdctl, run};
use crate::report::{compare, row, section, table, timed, timed_head, verdict};
use crate::timing::{Contestant, interleaved};
use crate::tools::{Pool, compiled};

const PLUGINS: [&str; 8] =
    ["bridge", "macvlan", "loopback", "host-local", "static", "portmap", "firewall", "tuning"];
const MIB: f64 = 1024.0 * 1024.0;

/// The most memory of each program, in KiB: over VERSION of all, ADD and DEL of nerdctl's chain
/// and of a macvlan.
fn peaks(node: &Node, pool: &Pool) -> BTreeMap<String, u64> {
    let mut peaks = BTreeMap::new();
    let mut note = |name: &str, stderr: &str| {
        let found: u64 = stderr.lines().last().unwrap_or_default().parse().unwrap();
        let most: &mut u64 = peaks.entry(name.to_owned()).or_default();
        *most = found.max(*most);
    };
    for name in PLUGINS {
        note(name, &run(node.command(name, "VERSION"), b"{\"cniVersion\":\"1.0.0\"}").1.stderr);
    }
    let macvlan = json!({"name": "lan", "plugins": [{
        "type": "macvlan", "master": "eth0",
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "192.0.2.0/24"}]]},
    }]});
    for (number, chain) in [nerdctl(0), macvlan].iter().enumerate() {
        let mut one = Attachment::new(number, pool.path(number)).publish(8080, 8081);
        let plugins: Vec<&Value> = chain["plugins"].as_array().unwrap().iter().collect();
        for plugin in &plugins {
            let (_, said) = node.call(chain, plugin, "ADD", &one);
            note(plugin["type"].as_str().unwrap(), &said.stderr);
            one.result = Some(serde_json::from_str(&said.stdout).unwrap());
        }
        for plugin in plugins.iter().rev() {
            let (_, said) = node.call(chain, plugin, "DEL", &one);
            note(plugin["type"].as_str().unwrap(), &said.stderr);
        }
    }
    peaks
}

#[test]
#[ignore = "measures"]
fn size_and_memory() {
    let pool = Pool::new(4);
    let wrapper = compiled("peak");
    let nodes = [Programs::under_test(), Programs::reference()]
        .map(|programs| Node::new(programs).through(wrapper.clone()));
    let held = nodes.each_ref().map(|node| node.inside(|| peaks(node, &pool)));
    let size = |node: &Node, name: &str| fs::metadata(node.program(name)).unwrap().len() as f64;
    section("size, and most memory of VERSION, ADD and DEL; MiB");
    let mut rows = vec![row(["", "size", "reference", "memory", "reference"])];
    let (mut largest, mut most) = (0.0_f64, 0.0_f64);
    for name in PLUGINS {
        let sizes = nodes.each_ref().map(|node| size(node, name) / MIB);
        let memory = held.each_ref().map(|held| held[name] as f64 / 1024.0);
        largest = largest.max(sizes[0]);
        most = most.max(memory[0]);
        let mut cells = vec![name.to_owned()];
        cells.extend([sizes[0], sizes[1], memory[0], memory[1]].map(|v| format!("{v:.2}")));
        rows.push(cells);
    }
    table(&rows);
    println!();
    verdict("largest program, MiB", largest, 2.0);
    verdict("most memory, MiB", most, 4.0);
}

#[test]
#[ignore = "measures"]
fn start_to_exit() {
    let nodes = [Node::new(Programs::under_test()), Node::new(Programs::reference())];
    let empty = compiled("empty");
    let version = |node: &'static str, of: usize| -> Contestant<'_> {
        let nodes = &nodes;
        Box::new(move |_| {
            let (time, said) =
                run(nodes[of].command(node, "VERSION"), b"{\"cniVersion\":\"1.0.0\"}");
            assert_eq!(said.code, Some(0), "{said:?}");
            vec![time]
        })
    };
    let mut contestants: Vec<Contestant<'_>> = vec![
        version("bridge", 0),
        version("bridge", 1),
        version("tuning", 0),
        Box::new(|_| {
            let mut command = Command::new(&empty);
            command.env_clear();
            vec![run(command, b"").0]
        }),
    ];
    let found = interleaved(300, &mut contestants);
    section("VERSION, from start to exit");
    let who = ["bridge cleat", "bridge reference", "tuning cleat", "empty program"];
    let mut rows = vec![timed_head()];
    rows.extend(who.iter().zip(&found).map(|(who, samples)| timed(who, &samples[0])));
    table(&rows);
    println!();
    compare("bridge, to an empty program", &found[0][0], &found[3][0], 1.5);
}
