//! Ten thousand published ports: what a connection to the last one costs beside the first.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use cleat_tests::{Container, Lab, Programs};
use serde_json::{Value, json};

use crate::node::{Attachment, Node, bridge};
use crate::report::{compare, section, table, timed, timed_head};
use crate::timing::{Samples, rest, time};

const CONTAINERS: usize = 10;
const EACH: usize = 1000;
const FIRST: usize = 10_000;
/// No more than a listener's queue holds.
const BATCH: usize = 50;
const BATCHES: usize = 40;

/// Attaches a container that publishes its thousand ports on ports 1, 2, … of its own.
fn attach(node: &Node, chain: &Value, number: usize, container: &Container) {
    let mut one = Attachment::new(number, container.ns.path().to_str().unwrap());
    let ports = (0..EACH).map(|port| {
        let host = FIRST + number * EACH + port;
        json!({"hostPort": host, "containerPort": port + 1, "protocol": "tcp"})
    });
    one.ports = ports.collect();
    node.inside(|| node.add(chain, &mut one));
}

/// One connection.
fn connect(port: usize) -> Duration {
    let to: SocketAddr = format!("{}:{port}", Lab::HOST[0]).parse().unwrap();
    let mut stream = None;
    let taken = time(|| stream = TcpStream::connect(to).ok());
    assert!(stream.is_some(), "no answer from published port {port}");
    taken
}

#[test]
#[ignore = "measures"]
fn published_ports() {
    let node = Node::of(Lab::new(), Programs::under_test());
    let mut chain = bridge(0);
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    chain["plugins"].as_array_mut().unwrap().push(portmap);
    let containers: Vec<Container> = (0..CONTAINERS).map(|_| node.lab.container()).collect();
    for (number, container) in containers.iter().enumerate() {
        attach(&node, &chain, number, container);
    }
    rest();
    let last = FIRST + CONTAINERS * EACH - 1;
    let listen = |container: &Container, port: usize| {
        container.ns.run(|| TcpListener::bind(("0.0.0.0", port as u16)).unwrap())
    };
    let listeners = [listen(&containers[0], 1), listen(&containers[CONTAINERS - 1], EACH)];
    let (mut to_first, mut to_last) = (Samples::default(), Samples::default());
    for batch in 0..BATCHES {
        let (one, two) = node.lab.lan.run(|| {
            (0..BATCH).map(|_| (connect(FIRST), connect(last))).collect::<(Vec<_>, Vec<_>)>()
        });
        for listener in &listeners {
            (0..BATCH).for_each(|_| drop(listener.accept().unwrap()));
        }
        // The first batch resolves neighbours.
        if batch > 0 {
            one.into_iter().for_each(|sample| to_first.push(sample));
            two.into_iter().for_each(|sample| to_last.push(sample));
        }
        thread::sleep(Duration::from_millis(5));
    }
    section("10,000 published ports: connect from the LAN");
    let rows = [
        timed_head(),
        timed("to the first published", &to_first),
        timed("to the last published", &to_last),
    ];
    table(&rows);
    println!();
    compare("last to first", &to_last, &to_first, 1.1);
}
