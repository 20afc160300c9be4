//! What one more container costs when many are there: five bridges, nerdctl's chain, two published
//! ports each.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cleat_tests::Programs;
use serde_json::Value;

use crate::attach::prepare;
use crate::floor::Floor;
use crate::node::{Attachment, Node, nerdctl};
use crate::report::{row, section, table, verdict};
use crate::timing::{Contestant, Samples, interleaved, rest};
use crate::tools::Pool;

const BRIDGES: usize = 5;
const LEVELS: [usize; 4] = [0, 100, 1000, 5000];
/// The reference's cost grows with every container: filling would take the day.
const REFERENCE: usize = 2;
const ROUNDS: usize = 21;
/// Ports from here on belong to those that stay.
const PORTS: u16 = 10_000;

/// Attaches the containers `from..to`, a thread per core.
fn fill(node: &Node, chains: &[Value], pool: &Pool, from: usize, to: usize) -> Duration {
    let next = AtomicUsize::new(from);
    let start = Instant::now();
    node.inside(|| {
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().unwrap().get() {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= to {
                            return;
                        }
                        let port = PORTS + 2 * number as u16;
                        let mut one = Attachment::new(number, pool.path(number));
                        one = one.publish(port, port + 1);
                        node.add(&chains[number % BRIDGES], &mut one);
                    }
                });
            }
        });
    });
    start.elapsed()
}

/// ADD, DEL, and DEL of a container that was never there, without its namespace.
fn one_more<'a>(node: &'a Node, chains: &'a [Value], pool: &'a Pool) -> Contestant<'a> {
    Box::new(move |round| {
        let chain = &chains[round % BRIDGES];
        let mut one = Attachment::new(0xf000 + round, pool.path(round)).publish(8080, 8081);
        let unknown = Attachment::new(0xe000 + round, "");
        let add = node.inside(|| node.add(chain, &mut one));
        rest();
        let del = node.inside(|| node.del(chain, &one));
        rest();
        let nothing = node.inside(|| node.del(chain, &unknown));
        rest();
        vec![add, del, nothing]
    })
}

/// What the kernel's part grows by, on the same bridges and sets.
fn bare<'a>(node: &'a Node, floors: &'a [Floor], pool: &'a Pool) -> Contestant<'a> {
    Box::new(move |round| {
        let (floor, path) = (&floors[round % BRIDGES], pool.path(100 + round));
        let add = node.inside(|| floor.add(node, round, &path));
        rest();
        let del = node.inside(|| floor.del(node, round, &path));
        rest();
        vec![add, del]
    })
}

/// Medians at one level: cleat's ADD, DEL, DEL of an unknown one; the floor's ADD, DEL; then the
/// reference's three where it took part.
struct Level {
    ours: Vec<Samples>,
    floor: Vec<Samples>,
    reference: Option<Vec<Samples>>,
}

#[test]
#[ignore = "measures"]
fn growth() {
    let most = LEVELS[LEVELS.len() - 1];
    let chains: Vec<Value> = (0..BRIDGES).map(nerdctl).collect();
    let floors: Vec<Floor> = (0..BRIDGES).map(Floor::on_bridge).collect();
    let fresh = Pool::new(200);
    let (crowd, few) = (Pool::new(most), Pool::new(LEVELS[REFERENCE - 1]));
    let (ours, reference) = (Node::new(Programs::under_test()), Node::new(Programs::reference()));
    for chain in &chains {
        prepare(&ours, chain, &fresh);
        prepare(&reference, chain, &fresh);
    }
    let (mut levels, mut filled, mut reached) = (Vec::new(), Duration::ZERO, 0);
    for (number, level) in LEVELS.into_iter().enumerate() {
        filled += fill(&ours, &chains, &crowd, reached, level);
        let mut contestants = vec![one_more(&ours, &chains, &fresh), bare(&ours, &floors, &fresh)];
        if number < REFERENCE {
            fill(&reference, &chains, &few, reached, level);
            contestants.push(one_more(&reference, &chains, &fresh));
        }
        rest();
        let mut found = interleaved(ROUNDS, &mut contestants).into_iter();
        let (one, two) = (found.next().unwrap(), found.next().unwrap());
        levels.push(Level { ours: one, floor: two, reference: found.next() });
        reached = level;
    }
    print(&levels, filled / most as u32);
}

fn print(levels: &[Level], each: Duration) {
    section("growth: nerdctl's chain on five bridges, two ports each; medians in ms");
    let mut head = vec!["attached".to_owned()];
    head.extend(LEVELS.iter().map(usize::to_string));
    let line = |what: &str, value: &dyn Fn(&Level) -> Option<f64>| {
        let mut cells = vec![what.to_owned()];
        cells.extend(levels.iter().map(|l| value(l).map_or("-".into(), |v| format!("{v:.2}"))));
        cells
    };
    let steps = ["ADD", "DEL", "DEL of an unknown one"];
    let mut rows = vec![head];
    for (step, verb) in steps.iter().enumerate() {
        rows.push(line(&format!("{verb} cleat"), &|l| Some(l.ours[step].median())));
        rows.push(line(&format!("{verb} floor"), &|l| l.floor.get(step).map(Samples::median)));
        rows.push(line(&format!("{verb} reference"), &|l| {
            l.reference.as_ref().map(|samples| samples[step].median())
        }));
    }
    rows.retain(|row| row[1] != "-");
    table(&rows);
    table(&[row(["attaching one of all, two at once:", &format!("{each:.2?}")])]);
    println!();
    let (first, last) = (&levels[0], &levels[levels.len() - 1]);
    for (step, verb) in steps.iter().enumerate() {
        let of = |level: &Level| level.floor.get(step).map_or(0.0, Samples::median);
        let kernel = of(last) - of(first);
        let grown = (last.ours[step].median() - kernel) / first.ours[step].median();
        verdict(&format!("{verb}, at 5,000 less the floor's {kernel:.2} ms, to 0"), grown, 1.2);
    }
}
