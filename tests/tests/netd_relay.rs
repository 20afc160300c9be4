//! Published ports at ::1: netd relays them while they are published, by stream and by datagram.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use cleat_tests::{Attached, Chain, Container, Lab, Netd, Transport, ranges, wait_until};
use serde_json::{Value, json};

const HERE: &str = "[::1]:8080";

fn chain<'l>(lab: &'l Lab, subnets: &[&str], mappings: Value) -> Chain<'l> {
    let bridge = json!({"type": "bridge", "bridge": "br0", "isDefaultGateway": true,
        "ipMasq": true, "inboundPolicy": "published", "ipam": ranges(subnets)});
    let plugins = json!([bridge, {"type": "portmap", "capabilities": {"portMappings": true}}]);
    lab.chain(json!({"cniVersion": "1.0.0", "name": "net", "plugins": plugins}))
        .capabilities(json!({"portMappings": mappings}))
}

fn both(port: u16) -> Value {
    json!([{"hostPort": port, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": port, "containerPort": 80, "protocol": "udp"}])
}

/// A container that port 8080 leads to, and a running netd.
fn published<'l>(lab: &'l Lab, subnets: &[&str]) -> (Chain<'l>, Container, Attached, Netd) {
    let netd = lab.netd();
    let (chain, container) = (chain(lab, subnets, both(8080)), lab.container());
    let attached = chain.attach(&container);
    wait_until("port 8080 is listened at", || listens(lab, HERE));
    (chain, container, attached, netd)
}

fn listens(lab: &Lab, at: &str) -> bool {
    let port = at.rsplit(':').next().unwrap();
    !lab.host.sh(&format!("ss -Htln 'src [::1]:{port}'")).is_empty()
}

/// A machine that is stopped and goes on interrupts what waits with a deadline.
#[track_caller]
fn patiently<T>(mut receive: impl FnMut() -> std::io::Result<T>) -> T {
    loop {
        match receive() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            outcome => return outcome.unwrap(),
        }
    }
}

fn connect(lab: &Lab) -> TcpStream {
    let stream = lab.host.run(|| TcpStream::connect(HERE).unwrap());
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// What serves inside of a container, for tests that play the server themselves.
fn listener(container: &Container) -> TcpListener {
    container.ns.run(|| TcpListener::bind("[::]:80").unwrap())
}

#[test]
fn streams_and_datagrams_arrive_and_stop_with_the_port() {
    for subnets in
        [&["10.88.0.0/24"] as &[&str], &["fd00:88::/64"], &["10.88.0.0/24", "fd00:88::/64"]]
    {
        let lab = Lab::new();
        let (chain, container, attached, _netd) = published(&lab, subnets);
        let serving = container.ns.serve(80);
        for by in [Transport::Tcp, Transport::Udp] {
            lab.host.ask(by, HERE).unwrap_or_else(|e| panic!("{subnets:?} {by:?}: {e}"));
        }
        // Of two families the newer one is taken.
        let of_six = serving.askers().iter().all(|asker| asker.is_ipv6());
        assert_eq!(of_six, subnets.iter().any(|s| s.contains(':')), "{:?}", serving.askers());
        chain.detach(&container, &attached);
        wait_until("nobody listens any more", || !listens(&lab, HERE));
        lab.host.ask(Transport::Tcp, HERE).unwrap_err();
    }
}

#[test]
fn either_side_may_end_while_the_other_goes_on() {
    let lab = Lab::new();
    let (_chain, container, _attached, _netd) = published(&lab, &["10.88.0.0/24"]);
    let server = listener(&container);
    for client_ends_first in [true, false] {
        let mut client = connect(&lab);
        let (mut inside, _) = server.accept().unwrap();
        let (first, second) =
            if client_ends_first { (&mut client, &mut inside) } else { (&mut inside, &mut client) };
        first.write_all(b"all that I have").unwrap();
        first.shutdown(std::net::Shutdown::Write).unwrap();
        let mut heard = String::new();
        second.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "all that I have");
        // The other direction is still open.
        second.write_all(b"answer").unwrap();
        second.shutdown(std::net::Shutdown::Write).unwrap();
        let mut heard = String::new();
        first.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "answer");
    }
}

#[test]
fn much_goes_through_whole_in_both_directions_at_once() {
    const SIZE: usize = 16 << 20;
    let lab = Lab::new();
    let (_chain, container, _attached, _netd) = published(&lab, &["10.88.0.0/24"]);
    let server = listener(&container);
    let data: Vec<u8> = (0..SIZE).map(|n| (n * 7 + n / 4096) as u8).collect();
    let exchange = |stream: TcpStream| {
        let mut receiving = stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut stream = &stream;
                stream.write_all(&data).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let mut heard = Vec::new();
            receiving.read_to_end(&mut heard).unwrap();
            assert!(heard == data, "{} bytes of {SIZE}, or others", heard.len());
        });
    };
    std::thread::scope(|scope| {
        scope.spawn(|| exchange(server.accept().unwrap().0));
        exchange(connect(&lab));
    });
}

#[test]
fn a_reset_is_a_reset_and_nobody_inside_is_too() {
    let lab = Lab::new();
    let (_chain, container, _attached, _netd) = published(&lab, &["10.88.0.0/24"]);
    let mut nobody = connect(&lab);
    let error = nobody.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let server = listener(&container);
    let mut client = connect(&lab);
    let (inside, _) = server.accept().unwrap();
    client.write_all(b"never read").unwrap();
    wait_until("it is there", || inside.peek(&mut [0; 8]).is_ok_and(|length| length > 0));
    // With something unread it ends by a reset.
    drop(inside);
    let error = client.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn clients_of_datagrams_are_kept_apart() {
    let lab = Lab::new();
    let (_chain, container, _attached, _netd) = published(&lab, &["10.88.0.0/24"]);
    let inside = container.ns.run(|| UdpSocket::bind("0.0.0.0:80").unwrap());
    inside.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let clients: Vec<UdpSocket> = (0..8)
        .map(|_| {
            let socket = lab.host.run(|| UdpSocket::bind("[::1]:0").unwrap());
            socket.connect(HERE).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            socket
        })
        .collect();
    for (number, client) in clients.iter().enumerate() {
        client.send(&[number as u8; 1400]).unwrap();
    }
    let mut heard: Vec<(u8, SocketAddr)> = Vec::new();
    for _ in &clients {
        let mut buffer = [0; 2000];
        let (length, from) = patiently(|| inside.recv_from(&mut buffer));
        assert_eq!(length, 1400);
        heard.push((buffer[0], from));
    }
    // In another order than they came.
    for (number, from) in heard.iter().rev() {
        inside.send_to(&[*number, *number], from).unwrap();
    }
    for (number, client) in clients.iter().enumerate() {
        let mut buffer = [0; 16];
        assert_eq!(patiently(|| client.recv(&mut buffer)), 2);
        assert_eq!(buffer[0], number as u8);
    }
}

#[test]
fn a_port_that_somebody_has_is_told_and_taken_when_it_is_free() {
    let lab = Lab::new();
    let mut netd = lab.netd();
    let held = lab.host.run(|| (TcpListener::bind(HERE).unwrap(), UdpSocket::bind(HERE).unwrap()));
    let (chain, container) = (chain(&lab, &["10.88.0.0/24"], both(8080)), lab.container());
    let _attached = chain.attach(&container);
    netd.wait_for("the trouble is told", |netd| {
        netd.said().contains("another program listens at [::1]:8080/tcp")
            && netd.said().contains("another program listens at [::1]:8080/udp")
    });
    drop(held);
    let _serving = container.ns.serve(80);
    wait_until("it is reached", || {
        lab.host.ask(Transport::Tcp, HERE).is_ok() && lab.host.ask(Transport::Udp, HERE).is_ok()
    });
}

#[test]
fn what_is_published_elsewhere_is_not_relayed() {
    let lab = Lab::new();
    let _netd = lab.netd();
    let mappings = json!([
        {"hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"},
        {"hostPort": 8082, "containerPort": 80, "protocol": "tcp", "hostIP": "192.0.2.1"},
        {"hostPort": 8083, "containerPort": 80, "protocol": "tcp"}]);
    let (chain, container) = (chain(&lab, &["10.88.0.0/24"], mappings), lab.container());
    let _attached = chain.attach(&container);
    wait_until("the one at any address is there", || listens(&lab, "[::1]:8083"));
    assert!(!listens(&lab, "[::1]:8081") && !listens(&lab, "[::1]:8082"));
}

#[test]
fn a_netd_that_starts_later_finds_what_is_published() {
    let lab = Lab::new();
    let (chain, container) = (chain(&lab, &["10.88.0.0/24"], both(8080)), lab.container());
    let _attached = chain.attach(&container);
    let _serving = container.ns.serve(80);
    for _ in 0..2 {
        let netd = lab.netd();
        // No waiting: a netd that is ready listens.
        lab.host.ask(Transport::Tcp, HERE).unwrap();
        lab.host.ask(Transport::Udp, HERE).unwrap();
        netd.kill();
    }
}

#[test]
fn a_thousand_ports_are_within_the_limit_of_descriptors() {
    let lab = Lab::new();
    let netd = lab.netd();
    let limits = fs::read_to_string(format!("/proc/{}/limits", netd.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "the limit is raised as far as it goes: {line}");
    let mappings = json!([{"hostPort": 20000, "containerPort": 20000, "range": 1000,
        "protocol": "tcp"}]);
    let (chain, container) = (chain(&lab, &["10.88.0.0/24"], mappings), lab.container());
    let attached = chain.attach(&container);
    let listening = || lab.host.sh("ss -Htln 'src [::1]'").lines().count();
    wait_until("all are listened at", || listening() == 1000);
    let _serving = container.ns.serve(20999);
    lab.host.ask(Transport::Tcp, "[::1]:20999").unwrap();
    chain.detach(&container, &attached);
    wait_until("none is any more", || listening() == 0);
    drop(netd);
}

#[test]
fn a_limit_that_is_reached_is_told_and_the_rest_works() {
    let lab = Lab::new();
    let mut netd = lab.netd_through(&json!({}), &["prlimit", "--nofile=128:128"]);
    let mappings = json!([{"hostPort": 20000, "containerPort": 20000, "range": 100,
        "protocol": "tcp"}]);
    let (chain, container) = (chain(&lab, &["10.88.0.0/24"], mappings), lab.container());
    let _attached = chain.attach(&container);
    netd.wait_for("the trouble is told", |netd| {
        netd.said().contains("file descriptors have run out")
    });
    let _serving = container.ns.serve(20000);
    lab.host.ask(Transport::Tcp, "[::1]:20000").unwrap();
}
