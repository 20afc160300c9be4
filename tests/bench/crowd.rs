//! Two hundred at once, as when a host comes up.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use cleat_tests::Programs;
use serde_json::Value;

use crate::attach::prepare;
use crate::node::{Attachment, Node, bridge};
use crate::report::{compare, section, table, timed, timed_head};
use crate::timing::{Contestant, interleaved, rest, time};
use crate::tools::Pool;

const CROWD: usize = 200;
const ROUNDS: usize = 3;

fn at_once(attachments: &mut [Attachment], each: impl Fn(&mut Attachment) + Sync) -> Duration {
    time(|| {
        thread::scope(|scope| {
            for attachment in attachments {
                let each = &each;
                scope.spawn(move || each(attachment));
            }
        });
    })
}

/// All attached, all detached; no address twice, none left.
fn crowd<'a>(node: &'a Node, chain: &'a Value, pool: &'a Pool) -> Contestant<'a> {
    Box::new(move |_| {
        let mut all: Vec<Attachment> =
            (0..CROWD).map(|number| Attachment::new(number, pool.path(number))).collect();
        let addresses = Mutex::new(BTreeSet::new());
        let add = node.inside(|| {
            at_once(&mut all, |one| {
                node.add(chain, one);
            })
        });
        for one in &all {
            let address = one.result.as_ref().unwrap()["ips"][0]["address"].to_string();
            assert!(addresses.lock().unwrap().insert(address.clone()), "{address} twice");
        }
        rest();
        let del = node.inside(|| {
            at_once(&mut all, |one| {
                node.del(chain, one);
            })
        });
        assert_eq!(node.lab.leased("net0"), Vec::<String>::new(), "leases are left");
        thread::sleep(Duration::from_secs(1));
        vec![add, del]
    })
}

#[test]
#[ignore = "measures"]
fn crowds() {
    let chain = bridge(0);
    let pools: Vec<Pool> = (0..2).map(|_| Pool::new(CROWD)).collect();
    let nodes = [Node::new(Programs::under_test()), Node::new(Programs::reference())];
    let mut contestants: Vec<Contestant<'_>> = Vec::new();
    for (node, pool) in nodes.iter().zip(&pools) {
        prepare(node, &chain, pool);
        contestants.push(crowd(node, &chain, pool));
    }
    let found = interleaved(ROUNDS, &mut contestants);
    section("200 at once: bridge, host-local, masquerade; all of them");
    let mut rows = vec![timed_head()];
    for (step, verb) in ["200 ADD", "200 DEL"].iter().enumerate() {
        for (who, samples) in ["cleat", "reference"].iter().zip(&found) {
            rows.push(timed(&format!("{verb} {who}"), &samples[step]));
        }
    }
    table(&rows);
    println!();
    compare("200 ADD, to the reference", &found[0][0], &found[1][0], 1.0 / 8.0);
    compare("200 DEL, to the reference", &found[0][1], &found[1][1], 1.0 / 20.0);
}
