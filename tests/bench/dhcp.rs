//! Leases of a DHCP server: how long an attach takes until it has one, and what a daemon holds
//! for each, in turns with the reference's daemon, dnsmasq being the server of both.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use cleat_tests::{Lab, Programs, wait_until};
use serde_json::{Value, json};

use crate::node::{Attachment, Node};
use crate::report::{compare, row, section, table, timed, timed_head, verdict};
use crate::timing::{Contestant, interleaved, rest};
use crate::tools::{Pool, amount};

/// Enough for thousands.
const RANGE: &str = "dhcp-range=10.60.1.0,10.60.30.255,255.255.0.0,1h\ndhcp-lease-max=8000\n\
    dhcp-option=option:router,10.60.0.1";

fn chain(socket: &Path) -> Value {
    json!({"name": "lan", "plugins": [{"type": "macvlan", "master": "eth0",
        "ipam": {"type": "dhcp", "daemonSocketPath": socket}}]})
}

/// The reference's daemon; ended when dropped.
struct Daemon(Child);

impl Daemon {
    fn start(lab: &Lab, socket: &Path) -> Self {
        let mut command = lab.host.command("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(Programs::reference().path("dhcp"));
        command.args(["daemon", "-socketpath"]).arg(socket);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let daemon = Self(command.spawn().unwrap());
        wait_until("the reference's daemon listens", || socket.exists());
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Memory that a process holds, in KiB.
fn resident(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// Attaches so many, some at once: the reference waits a second and more for each.
fn fill(node: &Node, chain: &Value, pool: &Pool, numbers: Range<usize>) {
    const AT_ONCE: usize = 20;
    let next = AtomicUsize::new(numbers.start);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                node.inside(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= numbers.end {
                            break;
                        }
                        node.add(chain, &mut Attachment::new(number, pool.path(number)));
                    }
                });
            });
        }
    });
}

fn on_lan() -> Lab {
    let lab = Lab::new();
    lab.lan.ip("addr add 10.60.0.1/16 dev eth0");
    lab
}

#[test]
#[ignore = "measures"]
fn leases() {
    let rounds = amount("CLEAT_BENCH_ROUNDS", 20);
    let many = amount("CLEAT_BENCH_LEASES", 1000);
    let (first, second) = (on_lan(), on_lan());
    let servers =
        [first.dnsmasq(&first.lan, "eth0", RANGE), second.dnsmasq(&second.lan, "eth0", RANGE)];
    let netd = first.netd();
    let sockets = [first.folder().join("run/dhcp.sock"), second.folder().join("dhcp.sock")];
    let daemon = Daemon::start(&second, &sockets[1]);
    let pids = [netd.pid(), daemon.0.id()];
    let nodes = [Node::served(first), Node::of(second, Programs::reference())];
    let chains = sockets.each_ref().map(|socket| chain(socket));
    let pools = [(); 2].map(|()| Pool::new(rounds + 2 + many));
    let one = |who: usize| -> Contestant<'_> {
        let (node, chain, pool) = (&nodes[who], &chains[who], &pools[who]);
        Box::new(move |round| {
            let mut one = Attachment::new(round, pool.path(round));
            let add = node.inside(|| node.add(chain, &mut one));
            rest();
            let del = node.inside(|| node.del(chain, &one));
            rest();
            vec![add, del]
        })
    };
    let found = interleaved(rounds, &mut [one(0), one(1)]);
    section("macvlan with an address of dnsmasq");
    let mut rows = vec![timed_head()];
    for (step, verb) in ["ADD", "DEL"].into_iter().enumerate() {
        rows.push(timed(&format!("{verb}, cleat"), &found[0][step]));
        rows.push(timed(&format!("{verb}, reference"), &found[1][step]));
    }
    table(&rows);
    for (step, verb) in ["ADD", "DEL"].into_iter().enumerate() {
        compare(verb, &found[0][step], &found[1][step], 1.0);
    }
    let empty = pids.map(resident);
    for who in 0..2 {
        fill(&nodes[who], &chains[who], &pools[who], rounds + 2..rounds + 2 + many);
    }
    section(&format!("daemons with {many} leases"));
    let head = row(["KiB", "empty", "full", "a lease", "threads"]);
    let of = |who: usize, name: &str| {
        let full = resident(pids[who]);
        let each = (full - empty[who]) / many as f64;
        let number = |value: f64| format!("{value:.0}");
        let threads = threads(pids[who]).to_string();
        vec![name.to_owned(), number(empty[who]), number(full), format!("{each:.1}"), threads]
    };
    table(&[head, of(0, "cleat, netd as a whole"), of(1, "reference")]);
    verdict("memory of a full daemon", resident(pids[0]) / resident(pids[1]), 1.0);
    // Before the nodes that they are on.
    drop(netd);
    drop(servers);
}
