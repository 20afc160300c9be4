//! Answers per second: names of this node, and names that others have to be asked for; and the
//! memory that they take.

use cleat_tests::{Lab, Transport, numbered};

use crate::load::{Came, Load, Questions, Rates};
use crate::name_servers::{Server, Who, respond};
use crate::report::{reached, row, section, table, verdict};
use crate::timing::rest;
use crate::tools::amount;

const FEW: usize = 10;
const MANY: usize = 10_000;
/// netd's memory with many names, in MiB.
const MOST_MEMORY: f64 = 16.0;
/// Questions that nobody has asked yet, for a round of cold answers.
const FRESH: usize = 100_000;

fn rounds() -> usize {
    amount("CLEAT_NAMES_ROUNDS", 5)
}

fn seconds() -> usize {
    amount("CLEAT_NAMES_SECONDS", 1)
}

/// Each server under the load of its round, another one first in each round.
fn in_turns(servers: &[Server], load: impl Fn(usize, &Server) -> Came) -> Vec<Rates> {
    let mut rates = vec![Rates::default(); servers.len()];
    for round in 0..rounds() {
        for turn in 0..servers.len() {
            let who = (round + turn) % servers.len();
            rates[who].push(load(round, &servers[who]));
        }
    }
    rates
}

fn of(servers: &[Server], rates: &[Rates], who: Who) -> f64 {
    let at = servers.iter().position(|server| server.who == who).unwrap();
    rates[at].median()
}

#[test]
#[ignore = "measures"]
fn local_names() {
    let mut memory = vec![row(["memory, MiB", "10 names", "10,000 names", "after the load"])];
    memory.extend(Who::ALL.map(|who| vec![who.name().to_owned()]));
    let mut largest: f64 = 0.0;
    for count in [FEW, MANY] {
        let servers: Vec<Server> =
            Who::ALL.into_iter().map(|who| Server::start(who, count)).collect();
        rest();
        for (row, server) in memory.iter_mut().skip(1).zip(&servers) {
            row.push(format!("{:.1}", server.resident()));
        }
        let questions = Questions::new("local", (0..count).map(|number| numbered(number).0));
        for by in [Transport::Udp, Transport::Tcp] {
            for clients in [1, 20] {
                let (questions, seconds) = (&questions, seconds());
                let load = Load { questions, by, clients, seconds, once: false };
                let rates = in_turns(&servers, |_, server| load.on(server));
                section(&format!("{count} names of this node, {by:?}, {clients} clients"));
                let rows = servers.iter().zip(&rates).map(|(s, r)| r.row(s.who.name()));
                table(&std::iter::once(Rates::head()).chain(rows).collect::<Vec<_>>());
                println!();
                let ours = of(&servers, &rates, Who::Netd);
                let floor = of(&servers, &rates, Who::Responder);
                let aardvark = of(&servers, &rates, Who::Aardvark);
                reached("answers per second, to the floor", ours / floor, 0.8);
                reached("answers per second, to aardvark-dns", ours / aardvark, 1.3);
            }
        }
        if count == MANY {
            for (row, server) in memory.iter_mut().skip(1).zip(&servers) {
                row.push(format!("{:.1}", server.resident()));
            }
            largest = servers[0].resident();
        }
    }
    section("memory of name servers");
    table(&memory);
    println!();
    verdict("netd with 10,000 names, after the load, MiB", largest, MOST_MEMORY);
}

/// What of netd's memory is its own and what is the program's file, without the others beside it.
#[test]
#[ignore = "measures"]
fn memory_of_names() {
    let head = row(["netd's memory, MiB", "all", "its own", "of the program"]);
    let mut most = 0.0;
    let mut rows = vec![head];
    let mut line = |what: String, server: &Server| {
        let parts = ["VmRSS:", "RssAnon:", "RssFile:"].map(|part| server.memory(part));
        rows.push(std::iter::once(what).chain(parts.map(|mib| format!("{mib:.1}"))).collect());
    };
    for count in [FEW, MANY] {
        let server = Server::start(Who::Netd, count);
        // The first survey of the node is over, and what it took given back.
        rest();
        line(format!("{count} names"), &server);
        let questions = Questions::new("memory", (0..count).map(|number| numbered(number).0));
        for by in [Transport::Udp, Transport::Tcp] {
            Load { questions: &questions, by, clients: 20, seconds: seconds(), once: false }
                .on(&server);
        }
        line(format!("{count} names, after a load"), &server);
        most = server.resident();
    }
    section("memory by names");
    table(&rows);
    println!();
    verdict("netd with 10,000 names, after a load, MiB", most, MOST_MEMORY);
}

#[test]
#[ignore = "measures"]
fn forwarded_names() {
    let who = [Who::Netd, Who::Aardvark, Who::Dnsmasq];
    let servers: Vec<Server> = who.into_iter().map(|who| Server::start(who, FEW)).collect();
    let _upstreams: Vec<_> =
        servers.iter().map(|server| respond(&server.lab.lan, Lab::LAN[0])).collect();
    let few = Questions::new("warm", (0..100).map(|n| format!("w{n}.example.com")));
    for (title, cold) in [("never asked before", true), ("asked before", false)] {
        let warm = Load {
            questions: &few,
            by: Transport::Udp,
            clients: 20,
            seconds: seconds(),
            once: false,
        };
        let rates = in_turns(&servers, |round, server| {
            let fresh = |n| format!("c{round}-{n}.{}.example.com", server.who.name());
            if cold {
                let questions = Questions::new("cold", (0..FRESH).map(fresh));
                Load { questions: &questions, once: true, ..warm }.on(server)
            } else {
                // The first answers fill a cache.
                Load { once: true, ..warm }.on(server);
                warm.on(server)
            }
        });
        section(&format!("names elsewhere, {title}, UDP, 20 clients"));
        let rows = servers.iter().zip(&rates).map(|(s, r)| r.row(s.who.name()));
        table(&std::iter::once(Rates::head()).chain(rows).collect::<Vec<_>>());
        println!();
        let ratio = of(&servers, &rates, Who::Netd) / of(&servers, &rates, Who::Aardvark);
        let goal = if cold { 1.0 } else { 5.0 };
        reached("answers per second, to aardvark-dns", ratio, goal);
    }
}
