//! One netd among a thousand and ten thousand nodes, which are entries of the store alone: how soon
//! a change is in the kernel, and what knowing all of them takes.

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use cleat_tests::{Container, Namespace};
use serde_json::{Value, json};

use crate::overlay::{Overlay, of_goal};
use crate::report::{late, late_head, row, section, table, verdict};
use crate::store::Store;
use crate::timing::Samples;
use crate::tools::amount;

/// The first address of block 0 of 10.0.0.0/8 in blocks of 24 bits.
const FIRST: u32 = 0x0a00_0000;
/// Of netd, in MiB.
const MEMORY: f64 = 40.0;
/// How often the store changes while that is measured.
const EVERY: Duration = Duration::from_millis(10);
/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Blocks that change; the nodes' own are below.
const CHANGING: usize = 40_000;

/// A member of a network with many others.
struct Crowd {
    overlay: Overlay,
    store: Store,
    network: String,
    _container: Container,
}

impl Crowd {
    fn new() -> Self {
        let overlay = Overlay::of(1, "10.0.0.0/8");
        let container = overlay.fleet[1].lab.container();
        overlay.attach(1, &container, "here");
        let mut store = Store::connect(&overlay.fleet.switch, &overlay.etcd);
        let network = store.first("network/blue")["id"].as_str().unwrap().to_owned();
        Self { overlay, store, network, _container: container }
    }

    /// So many nodes in all, each alive and with a block; when the kernel has a route to each.
    fn grow(&mut self, from: usize, to: usize) -> Duration {
        let entries: Vec<(String, Value)> =
            (from..to).flat_map(|n| self.entries_of(n).into_iter()).collect();
        let host = &self.overlay.fleet[1].lab.host;
        let (start, all) = (Instant::now(), routes(host) + to - from);
        self.store.put_all(&entries);
        while routes(host) < all {
            assert!(start.elapsed() < PATIENCE, "{} routes of {all}", routes(host));
            thread::sleep(Duration::from_millis(100));
        }
        start.elapsed()
    }

    fn entries_of(&self, number: usize) -> [(String, Value); 3] {
        let node = node(number);
        let name = format!("host{number}.example.net");
        let address = Ipv4Addr::from_bits(0xc612_0000 + number as u32);
        let host = json!({"schema": 1, "name": name, "addresses": [address], "version": "0.1.0"});
        let live =
            json!({"schema": 1, "boot": format!("{number:036}"), "instance": node, "name": name});
        let (key, claim) = self.claim(number, number + 1000);
        [(format!("host/{node}"), host), (format!("live/{node}"), live), (key, claim)]
    }

    /// A node's claim of a block.
    fn claim(&self, number: usize, block: usize) -> (String, Value) {
        let key = format!("claim/{}/4/{:08x}/24", self.network, FIRST + ((block as u32) << 8));
        let node = node(number);
        (key, json!({"schema": 1, "node": node, "nonce": node}))
    }

    fn pid(&self) -> u32 {
        self.overlay.fleet[1].netd(|netd| netd.pid())
    }

    fn resident(&self) -> f64 {
        self.overlay.fleet[1].netd(|netd| netd.resident()) as f64 / 1024.0
    }
}

fn node(number: usize) -> String {
    format!("{:016x}", (number as u64 + 1) * 0x9e37_79b9_7f4a)
}

/// Those to other nodes' blocks.
fn routes(host: &Namespace) -> usize {
    let text = host.ip("-4 route show");
    text.lines().filter(|line| line.starts_with("10.") && line.contains(" via ")).count()
}

/// The routes that come, when they come.
struct Arrivals {
    monitor: Child,
    seen: Receiver<(Instant, String)>,
}

impl Arrivals {
    fn of(host: &Namespace) -> Self {
        let mut command = host.command("ip");
        let mut monitor =
            command.args(["monitor", "route"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(monitor.stdout.take().unwrap()).lines();
        let (sender, seen) = channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send((Instant::now(), line));
            }
        });
        let arrivals = Self { monitor, seen };
        // It listens when it tells of this one.
        for try_again in 0.. {
            assert!(try_again < 100, "ip monitor says nothing");
            host.ip("route replace blackhole 198.51.100.0/24");
            host.ip("route del blackhole 198.51.100.0/24");
            if arrivals.seen.recv_timeout(Duration::from_millis(50)).is_ok() {
                break;
            }
        }
        arrivals
    }

    fn wait(&self, block: &str) -> Instant {
        loop {
            let (when, line) = self.seen.recv_timeout(PATIENCE).unwrap();
            if line.starts_with(&format!("{block} ")) {
                return when;
            }
        }
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}

/// From the put of one more claim to its route in the kernel.
fn changes(crowd: &mut Crowd, first: usize, count: usize) -> Samples {
    let arrivals = Arrivals::of(&crowd.overlay.fleet[1].lab.host);
    let mut samples = Samples::default();
    for block in first..first + count {
        let (key, claim) = crowd.claim(0, block);
        let put = Instant::now();
        crowd.store.put(&key, &claim);
        let address = Ipv4Addr::from_bits(FIRST + ((block as u32) << 8));
        samples.push(arrivals.wait(&format!("{address}/24")) - put);
        thread::sleep(Duration::from_millis(20));
    }
    samples
}

/// Processor time that a process had, in seconds; the kernel counts in hundredths.
fn spent(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// Of one processor, in percent, while something goes on for so many seconds.
fn share(pid: u32, action: impl FnOnce()) -> f64 {
    let (start, before) = (Instant::now(), spent(pid));
    action();
    (spent(pid) - before) / start.elapsed().as_secs_f64() * 100.0
}

#[test]
#[ignore = "measures"]
fn overlay_changes() {
    let few = amount("CLEAT_OVERLAY_FEW", 1_000);
    let many = amount("CLEAT_OVERLAY_MANY", 10_000);
    let seconds = amount("CLEAT_OVERLAY_SECONDS", 10);
    let mut crowd = Crowd::new();
    let alone = crowd.resident();
    crowd.grow(0, few);
    thread::sleep(Duration::from_secs(2));
    let at_few = changes(&mut crowd, CHANGING - 200, 100);
    let known = crowd.resident();
    let grown = crowd.grow(few, many);
    thread::sleep(Duration::from_secs(2));
    let at_many = changes(&mut crowd, CHANGING - 100, 100);
    let pid = crowd.pid();
    let rest = share(pid, || thread::sleep(Duration::from_secs(5)));
    let resident = crowd.resident();
    let busy = share(pid, || {
        let start = Instant::now();
        for change in 0..seconds * 100 {
            let (key, claim) = crowd.claim(change, CHANGING + change);
            crowd.store.put(&key, &claim);
            thread::sleep((EVERY * change as u32).saturating_sub(start.elapsed()));
        }
    });
    let after = crowd.resident();
    section("overlay: one netd among many nodes, from a change of the store to the kernel");
    let named = |count: usize| format!("a claim more, of {count} nodes");
    table(&[late_head(), late(&named(few), &at_few), late(&named(many), &at_many)]);
    println!();
    let mib = |value: f64| format!("{value:.1}");
    let percent = |value: f64| format!("{value:.1} %");
    table(&[
        row(["netd", "MiB", "of a processor"]),
        row(["alone", &mib(alone), ""]),
        row([&format!("{few} nodes"), &mib(known), ""]),
        row([&format!("{many} nodes, at rest"), &mib(resident), &percent(rest)]),
        row([&format!("{many} nodes, 100 changes a second"), &mib(after), &percent(busy)]),
    ]);
    println!("{} nodes came within {:.1} s", many - few, grown.as_secs_f64());
    println!();
    let late = Duration::from_secs_f64(at_few.percentile(99) / 1e3);
    verdict(&format!("in the kernel in 99 of 100, {few} nodes, of 50 ms"), of_goal(late), 1.0);
    verdict(&format!("netd's memory with {many} nodes, of {MEMORY} MiB"), resident / MEMORY, 1.0);
}
