//! Names through what happens to a node: containers that come and go, a daemon that dies, rules
//! that are flushed, a flood.

use std::thread;
use std::time::{Duration, Instant};

use cleat_tests::{Lab, Transport, numbered};
use serde_json::{Value, json};

use crate::load::{Load, Questions};
use crate::name_servers::{Asker, Server, Told, Who, quiet_netd, respond};
use crate::node::{Attachment, Node, bridge};
use crate::report::{none, row, section, table, timed, timed_head, verdict};
use crate::timing::{Samples, milliseconds, time};
use crate::tools::{Pool, amount};

const MANY: usize = 10_000;
/// Namespaces that containers of the rounds have in turn.
const NAMESPACES: usize = 64;
/// Longer than this no answer is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

fn network() -> Value {
    let mut chain = bridge(0);
    chain["name"] = json!("life");
    let plugin = &mut chain["plugins"][0];
    plugin["bridge"] = json!("cllife");
    plugin["embeddedDNS"] = json!(true);
    plugin["ipam"]["ranges"] = json!([[{"subnet": "10.61.0.0/16"}]]);
    chain
}

/// A container with this number; its short id is one of its names.
fn container(number: usize, netns: impl Into<String>) -> Attachment {
    let mut one = Attachment::new(0, netns);
    one.id = format!("{number:012x}{:0>52}", "");
    one
}

/// What came of the containers of one worker.
#[derive(Default)]
struct Life {
    came: Vec<Duration>,
    went: Vec<Duration>,
    late: usize,
    stale: usize,
}

impl Life {
    /// Attaches and detaches one container, and asks for it after each.
    fn live(&mut self, node: &Node, chain: &Value, one: &mut Attachment, asker: &mut Asker) {
        let name = one.id[..12].to_owned();
        node.add(chain, one);
        let address = address(one);
        let start = Instant::now();
        if asker.ask(&name, PATIENCE) != Some(Told::Address(address)) {
            self.late += 1;
            asker.until(&name, |told| told == Told::Address(address));
        }
        self.came.push(start.elapsed());
        node.del(chain, one);
        let start = Instant::now();
        if asker.ask(&name, PATIENCE) != Some(Told::NoName) {
            self.stale += 1;
            asker.until(&name, |told| told == Told::NoName);
        }
        self.went.push(start.elapsed());
    }
}

/// From the return of ADD, and of DEL, to the first right answer.
#[test]
#[ignore = "measures"]
fn names_of_containers_that_come_and_go() {
    let rounds = amount("CLEAT_NAMES_ADDS", 2000);
    let workers = amount("CLEAT_NAMES_AT_ONCE", 4);
    let node = Node::served(Lab::new());
    let _netd = quiet_netd(&node.lab);
    let chain = network();
    let asking = node.lab.container();
    asking.ns.ip("link set lo up");
    let path = asking.ns.path().to_str().unwrap().to_owned();
    node.inside(|| node.add(&chain, &mut container(0, path)));
    let pool = Pool::new(NAMESPACES);
    let begin = Instant::now();
    let work = |worker: usize| {
        let mut asker = Asker::new(&asking);
        let mut life = Life::default();
        node.inside(|| {
            for round in (worker..rounds).step_by(workers) {
                // No two workers have one namespace.
                let netns = round / workers % (NAMESPACES / workers) * workers + worker;
                let mut one = container(round + 1, pool.path(netns));
                life.live(&node, &chain, &mut one, &mut asker);
            }
        });
        life
    };
    let work = &work;
    let lives: Vec<Life> = thread::scope(|scope| {
        let all: Vec<_> = (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let taken = begin.elapsed();
    let (mut came, mut went) = (Samples::default(), Samples::default());
    lives.iter().flat_map(|life| &life.came).for_each(|time| came.push(*time));
    lives.iter().flat_map(|life| &life.went).for_each(|time| went.push(*time));
    let title = "containers come and go: the first right answer";
    section(&format!("{rounds} {title}; {workers} at once, {:.0} s", taken.as_secs_f64()));
    table(&[timed_head(), timed("after ADD returned", &came), timed("after DEL returned", &went)]);
    println!();
    let late = lives.iter().map(|life| life.late).sum();
    let stale = lives.iter().map(|life| life.stale).sum();
    none("first answers after ADD that were wrong or missing", late);
    none("first answers after DEL that were wrong or missing", stale);
}

fn address(one: &Attachment) -> std::net::Ipv4Addr {
    let result = one.result.as_ref().unwrap();
    let text = result["ips"][0]["address"].as_str().unwrap();
    text.split('/').next().unwrap().parse().unwrap()
}

/// Killed and started again at once: for how long nobody answers.
#[test]
#[ignore = "measures"]
fn restart_with_many_names() {
    let rounds = amount("CLEAT_NAMES_ROUNDS", 5);
    let (name, address) = numbered(MANY - 1);
    let who = [Who::Netd, Who::Aardvark, Who::Dnsmasq];
    let mut servers: Vec<Server> = who.into_iter().map(|who| Server::start(who, MANY)).collect();
    let mut gaps = vec![Samples::default(); servers.len()];
    for round in 0..rounds {
        for turn in 0..servers.len() {
            let at = (round + turn) % servers.len();
            let server = &mut servers[at];
            let mut asker = server.asker();
            server.kill();
            let name = name.clone();
            let asking =
                thread::spawn(move || asker.until(&name, |told| told == Told::Address(address)));
            server.run();
            gaps[at].push(asking.join().unwrap());
        }
    }
    section("killed and started again, 10,000 names: until the last name is answered");
    let rows = servers.iter().zip(&gaps).map(|(server, gap)| timed(server.who.name(), gap));
    table(&std::iter::once(timed_head()).chain(rows).collect::<Vec<_>>());
}

/// `nft flush ruleset` by somebody else.
#[test]
#[ignore = "measures"]
fn rules_that_are_flushed() {
    let attachments = amount("CLEAT_NAMES_ATTACHED", 1000);
    let rounds = amount("CLEAT_NAMES_ROUNDS", 5);
    let node = Node::served(Lab::new());
    let chain = network();
    let pool = Pool::new(attachments);
    node.inside(|| {
        for number in 0..attachments {
            node.add(&chain, &mut container(number + 1, pool.path(number)));
        }
    });
    let _netd = quiet_netd(&node.lab);
    let rules = || {
        let text = node.lab.host.sh("nft -s list ruleset");
        let mut words: Vec<String> =
            text.split([' ', '\n', '\t', ',']).filter(|w| !w.is_empty()).map(Into::into).collect();
        // A set has its elements in no order.
        words.sort();
        words
    };
    let before = rules();
    let mut repaired = Samples::default();
    for _ in 0..rounds {
        node.lab.host.sh("nft flush ruleset");
        repaired.push(time(|| {
            let start = Instant::now();
            while rules() != before {
                assert!(start.elapsed() < Duration::from_secs(30), "the rules do not come back");
                thread::sleep(Duration::from_millis(10));
            }
        }));
        // Repairs that follow each other closely are slowed down on purpose.
        thread::sleep(Duration::from_secs(2));
    }
    section(&format!("nft flush ruleset with {attachments} attachments, until all is back"));
    table(&[timed_head(), timed("cleat", &repaired)]);
    println!();
    verdict("flushed rules are back, s", repaired.median() / 1000.0, 1.0);
}

/// As many questions as one container can send, for long.
#[test]
#[ignore = "measures"]
fn flood() {
    let seconds = amount("CLEAT_FLOOD_SECONDS", 20);
    let server = Server::start(Who::Netd, MANY);
    let _upstream = respond(&server.lab.lan, Lab::LAN[0]);
    let local = Questions::new("flood", (0..MANY).map(|number| numbered(number).0));
    let strange = Questions::new("strange", (0..100_000).map(|n| format!("x{n}.example.com")));
    let mut rows = vec![row(["flood", "answers per second", "lost", "MiB before", "MiB after"])];
    let before = server.resident();
    let mut largest = before;
    for (what, questions) in [("names of this node", &local), ("names elsewhere", &strange)] {
        let held = server.resident();
        let by = Transport::Udp;
        let load = Load { questions, by, clients: 20, seconds, once: false };
        let came = load.on(&server);
        let after = server.resident();
        largest = largest.max(after);
        rows.push(vec![
            what.to_owned(),
            format!("{:.0}", came.per_second),
            came.lost.to_string(),
            format!("{held:.1}"),
            format!("{after:.1}"),
        ]);
    }
    section(&format!("a flood of {seconds} s each, 10,000 names"));
    table(&rows);
    println!();
    verdict("memory after floods, to before", largest / before, 1.5);
    // It still answers, at once.
    let mut asker = server.asker();
    let (name, address) = numbered(1);
    let mut told = None;
    let taken = time(|| told = asker.ask(&name, Duration::from_secs(1)));
    assert_eq!(told, Some(Told::Address(address)), "after {} ms", milliseconds(taken));
}
