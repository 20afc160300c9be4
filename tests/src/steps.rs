//! Attach interrupted at every step: each of its system calls in turn is refused, or is the last
//! thing it does. Refused, it undoes itself; killed, whatever comes next removes the remains.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::chain::Chain;
use crate::invoke::{Invocation, Outcome};
use crate::lab::{Container, Lab};

/// The calls that change something outside the process, or look before changing.
const CALLS: &str = "sendto,sendmsg,sendmmsg,rename,renameat,renameat2,link,linkat,unlink,unlinkat,\
    mkdir,mkdirat,write,pwrite64,openat,flock,setns,socket,bind,mount,ftruncate,fsync,fdatasync,ioctl";

/// How attach is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails, as on a machine out of memory.
    Refused,
    /// The process ends before the call.
    Killed,
}

/// Interrupts one plugin's ADD at every `stride`th step, on a node with a LAN.
#[track_caller]
pub fn interrupt(mut conflist: Value, index: usize, fault: Fault, stride: usize) {
    let lab = Lab::new();
    if lab.is_reference() {
        // It speaks no 1.1.0.
        conflist["cniVersion"] = json!("1.0.0");
    }
    let chain = lab.chain(conflist).capabilities(ports());
    let before = chain.used();
    let container = lab.container();
    let section = chain.plugins().nth(index).unwrap().clone();
    let previous = attach_before(&chain, index, &container);
    let counts = count(&lab, &chain.invocation(&section, "ADD", &container, previous.as_ref()));
    chain.del(&container, None).unwrap();
    let kind = section["type"].as_str().unwrap();
    assert!(!counts.is_empty(), "strace saw nothing of {kind}");
    if lab.is_reference() {
        // It leaves what it had made.
        return;
    }
    for (turn, (name, number)) in counts
        .iter()
        .flat_map(|(name, times)| (1..=*times).map(move |number| (name, number)))
        .step_by(stride)
        .enumerate()
    {
        let what = format!("{kind}: {name} {number} {fault:?}");
        let container = lab.container();
        let previous = attach_before(&chain, index, &container);
        let partial = lab.snapshot();
        let call = chain.invocation(&section, "ADD", &container, previous.as_ref());
        let outcome = interrupted(&call, name, number, fault).run();
        if fault == Fault::Refused && !outcome.succeeded() {
            let difference = lab.changes(&partial);
            assert!(difference.is_empty(), "{what} left:\n{difference}{outcome:?}");
            assert!(index > 0 || container.ns.link("eth0").is_none(), "{what} left eth0");
        }
        recover(&lab, &chain, &container, turn, &what);
        let difference = lab.changes(&before);
        assert!(difference.is_empty(), "{what}: not as before:\n{difference}{outcome:?}");
        assert!(container.ns.link("eth0").is_none(), "{what} left eth0");
    }
}

/// What comes after an interrupted attach, in turns.
fn recover(lab: &Lab, chain: &Chain<'_>, container: &Container, turn: usize, what: &str) {
    let expect = |ended: Result<(), Outcome>, how: &str| {
        ended.unwrap_or_else(|outcome| panic!("{what}: {how}: {outcome:?}"));
    };
    match turn % 4 {
        0 => expect(chain.del(container, None), "DEL"),
        1 => expect(chain.del_without_namespace(container), "DEL without a namespace"),
        2 => expect(chain.gc(&[]), "GC"),
        _ => {
            // Another container meanwhile, with the same ports after the DEL.
            expect(chain.del(container, None), "DEL");
            let next = lab.container();
            let attached = chain.attach(&next);
            // Routed by source alone it sends nothing of its own accord, but answers.
            let works = next.ns.ping("192.0.2.1") || next.ns.ping("192.0.2.2");
            let leads_nowhere = next.ns.link("eth0").unwrap()["linkinfo"]["info_kind"].clone();
            let leads_nowhere = ["tun", "dummy", "vlan"].iter().any(|kind| leads_nowhere == **kind);
            assert!(works || leads_nowhere || lab.host.ping(&attached.v4()), "{what}: next");
            chain.detach(&next, &attached);
        }
    }
}

/// How often a call makes each system call when nothing is in its way.
fn count(lab: &Lab, call: &Invocation<'_>) -> BTreeMap<String, usize> {
    let log = lab.folder().join("state/trace");
    let path = log.to_str().unwrap();
    let trace = format!("trace={CALLS}");
    call.clone().through(&["strace", "-o", path, "-e", &trace]).run().ok();
    let text = fs::read_to_string(&log).unwrap();
    fs::remove_file(&log).unwrap();
    let mut counts = BTreeMap::new();
    // The first line is the program's own start; strace counts from there as well.
    for line in text.lines() {
        if let Some((name, _)) = line.split_once('(') {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    counts
}

fn interrupted<'l>(
    call: &Invocation<'l>,
    name: &str,
    number: usize,
    fault: Fault,
) -> Invocation<'l> {
    let effect = match fault {
        Fault::Refused => "error=ENOMEM",
        Fault::Killed => "signal=KILL",
    };
    let inject = format!("inject={name}:{effect}:when={number}");
    call.clone().through(&["strace", "-qq", "-o", "/dev/null", "-e", &inject])
}

/// The plugins before this one, done; the result for it.
fn attach_before(chain: &Chain<'_>, index: usize, container: &Container) -> Option<Value> {
    let mut previous = None;
    for section in chain.plugins().take(index) {
        previous = Some(chain.invocation(section, "ADD", container, previous.as_ref()).run().ok());
    }
    previous
}

fn ports() -> Value {
    json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": 8080, "containerPort": 80, "protocol": "udp"}]})
}
