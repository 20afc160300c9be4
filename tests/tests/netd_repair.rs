//! A running netd: what others do is undone within a second, and connections go on meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cleat_tests::{Attached, Chain, Lab, Namespace, Netd, Snapshot, Transport, ranges};
use serde_json::json;

/// How long anything may be away.
const AWAY: Duration = Duration::from_secs(1);

fn chain(lab: &Lab) -> Chain<'_> {
    lab.chain(json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
        {"type": "bridge", "bridge": "br0", "isDefaultGateway": true, "ipMasq": true,
            "ipam": ranges(&["10.88.0.0/24", "fd00:88::/64"])},
        {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "firewall"}]}))
        .capabilities(json!({"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}))
}

/// A connection whose other end sends back what it gets.
struct Echo {
    what: String,
    near: TcpStream,
}

impl Echo {
    /// From a namespace to a listener that is reached under this address.
    #[track_caller]
    fn connect(from: &Namespace, listener: &TcpListener, at: &str) -> Self {
        let address: SocketAddr = at.parse().unwrap();
        let near = from.run(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)));
        let near = near.unwrap_or_else(|e| panic!("{at}: {e}"));
        let (mut far, _) = listener.accept().unwrap();
        std::thread::spawn(move || {
            let mut byte = [0];
            while far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
        });
        near.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self { what: at.to_owned(), near }
    }

    /// Both ways still work.
    #[track_caller]
    fn goes_on(&mut self) {
        let mut byte = [0];
        let outcome = self.near.write_all(b"x").and_then(|()| self.near.read_exact(&mut byte));
        outcome.unwrap_or_else(|e| panic!("the connection to {} broke: {e}", self.what));
    }
}

#[track_caller]
fn within(limit: Duration, what: &str, netd: &Netd, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}\n{}", netd.said());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How many tables, chains, rules and elements there are of ours.
fn size(lab: &Lab) -> (usize, usize) {
    let script = "for t in 'inet cleat' 'bridge cleat'; do nft list table $t 2>/dev/null; done";
    let text = lab.host.sh(&format!("{script} || true"));
    (text.lines().count(), text.split_whitespace().count())
}

/// What differs, but for the daemon's own files and its table, whose flags old versions of nft
/// print at random.
fn difference(lab: &Lab, before: &Snapshot) -> String {
    // Who this node is among others, and what it knows of them, netd keeps.
    let identity = ["file run/overlay/session.json", "file state/overlay/"];
    let own = [&["file run/served/", "cleat-guard"][..], &identity].concat();
    let all = before.difference(&lab.snapshot());
    let lines = all.lines().filter(|line| !own.iter().any(|own| line.contains(own)));
    let is_off = |path: &&&str| lab.host.sysctl(path).as_deref() != Some("1");
    let switches = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];
    lines.chain(switches.iter().filter(is_off).copied()).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn assert_as_before(lab: &Lab, before: &Snapshot, limit: Duration, what: &str) {
    let start = Instant::now();
    loop {
        let left = difference(lab, before);
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < limit, "{what}: not as before:\n{left}");
    }
}

#[test]
fn a_flush_is_undone_and_connections_go_on() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let netd = lab.netd();
    let container = lab.container();
    let attached = chain(&lab).attach(&container);
    let gateway = attached.result["ips"][0]["gateway"].as_str().unwrap();
    assert_eq!(gateway, "10.88.0.1");
    let outside = lab.lan.run(|| TcpListener::bind("[::]:9000").unwrap());
    let inside = container.ns.run(|| TcpListener::bind("[::]:80").unwrap());
    let mut streams = [
        Echo::connect(&container.ns, &outside, "192.0.2.2:9000"),
        Echo::connect(&container.ns, &outside, "[2001:db8::2]:9000"),
        Echo::connect(&lab.lan, &inside, "192.0.2.1:8080"),
        Echo::connect(&lab.lan, &inside, "[2001:db8::1]:8080"),
        Echo::connect(&lab.host, &inside, "127.0.0.1:8080"),
    ];
    // The host's own service, which nobody but the host may reach.
    let secret = lab.host.serve_at("127.0.0.1:7000".parse().unwrap());
    // From a container whose own loopback is off, so that its question leaves it.
    let thief = lab.container();
    let stolen = chain(&lab).capabilities(json!({})).attach(&thief);
    thief.ns.ip("link set lo down");
    thief.ns.set_sysctl("net/ipv4/conf/eth0/route_localnet", "1");
    thief.ns.ip("route add 127.0.0.0/8 via 10.88.0.1");
    let whole = size(&lab);
    for round in 0..10 {
        lab.host.sh("nft flush ruleset");
        thief.ns.ask_as(&stolen.v4(), "127.0.0.1:7000").unwrap();
        streams.iter_mut().for_each(Echo::goes_on);
        within(AWAY, &format!("the ruleset is back, {round}"), &netd, || size(&lab) == whole);
        streams.iter_mut().for_each(Echo::goes_on);
    }
    assert!(secret.askers().is_empty(), "the host's loopback opened");
    Echo::connect(&lab.lan, &inside, "192.0.2.1:8080").goes_on();
    // Without the daemon the thief would have been heard.
    drop(netd);
    lab.host.sh("nft flush ruleset");
    let start = Instant::now();
    while secret.askers().is_empty() {
        assert!(start.elapsed() < AWAY * 5, "the test's own question never left");
        thief.ns.ask_as(&stolen.v4(), "127.0.0.1:7000").unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_is_taken_away_is_back_within_a_second() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let netd = lab.netd();
    let container = lab.container();
    let attached = chain(&lab).attach(&container);
    let veth = attached.result["interfaces"][1]["name"].as_str().unwrap().to_owned();
    let whole = lab.snapshot();
    for damage in [
        "nft delete table inet cleat",
        "nft delete element inet cleat masq4 { 10.88.0.2 }",
        "nft flush chain inet cleat into_open",
        "ip link del br0",
        "ip link set br0 down",
        "ip addr del 10.88.0.1/24 dev br0",
        "ip addr del fd00:88::1/64 dev br0",
        "ip link set VETH nomaster",
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv6.conf.all.forwarding=0",
    ] {
        lab.host.sh(&damage.replace("VETH", &veth));
        // A snapshot alone takes some tenths of a second.
        assert_as_before(&lab, &whole, AWAY * 2, &format!("{damage}: {}", netd.said()));
        assert!(container.ns.ping(Lab::LAN[0]), "{damage}");
    }
}

#[test]
fn a_container_that_is_gone_is_released_by_itself() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let before = chain(&lab).used();
    let netd = lab.netd();
    let with_netd = lab.snapshot();
    let container = lab.container();
    chain(&lab).attach(&container);
    container.ns.delete();
    within(AWAY * 5, "the address is free", &netd, || lab.leased("net").is_empty());
    netd.wait_to_say("its container is gone");
    assert_as_before(&lab, &with_netd, AWAY * 3, "released");
    drop(netd);
    assert_as_before(&lab, &before, AWAY * 3, "in the end");
}

#[test]
fn what_happened_while_it_was_away_is_mended_on_start() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let (stays, goes) = (lab.container(), lab.container());
    let published = chain(&lab);
    published.attach(&stays);
    published.clone().capabilities(json!({})).attach(&goes);
    lab.host.sh("nft flush ruleset; ip link set br0 down; ip neigh flush dev br0 nud permanent");
    goes.ns.delete();
    let netd = lab.netd();
    within(AWAY * 5, "the address is free", &netd, || lab.leased("net").len() == 2);
    let _server = stays.ns.serve(80);
    within(AWAY * 5, "the port is published", &netd, || {
        lab.lan.ask(Transport::Tcp, "192.0.2.1:8080").is_ok()
    });
    assert!(stays.ns.ping(Lab::LAN[1]));
    // It stops, and nothing stops with it.
    drop(netd);
    lab.lan.ask(Transport::Tcp, "[2001:db8::1]:8080").unwrap();
    assert!(stays.ns.ping(Lab::LAN[0]));
}

/// Hundreds of changes by plugins a second are none that concern it.
#[test]
fn beside_attach_and_detach_it_finds_nothing() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let before = chain(&lab).used();
    let netd = lab.netd();
    let containers: Vec<_> = (0..10).map(|_| lab.container()).collect();
    cleat_tests::at_once(&containers, |index, container| {
        let port = 9000 + index;
        let chain = chain(&lab).capabilities(json!({"portMappings": [
            {"hostPort": port, "containerPort": 80, "protocol": "tcp"}]}));
        for _ in 0..5 {
            let attached = chain.attach(container);
            assert!(container.ns.ping("10.88.0.1"), "{index}: attached, and cut off");
            chain.check(container, &attached).unwrap();
            chain.detach(container, &attached);
        }
    });
    assert!(!netd.said().contains("repair.done"), "{}", netd.said());
    drop(netd);
    assert_as_before(&lab, &before, AWAY * 3, "in the end");
}

/// Every flush crosses with attaches and detaches that have begun; in the end nobody lacks
/// anything, and nothing is left of those that are gone.
#[test]
fn flushes_amid_attach_and_detach_lose_nothing() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let netd = lab.netd();
    let before = chain(&lab).used();
    let containers: Vec<_> = (0..8).map(|_| lab.container()).collect();
    let is_done = AtomicBool::new(false);
    let attached = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Whatever becomes of the others, it ends.
            let start = Instant::now();
            while !is_done.load(Ordering::Relaxed) && start.elapsed() < AWAY * 30 {
                lab.host.sh("nft flush ruleset");
                std::thread::sleep(Duration::from_millis(150));
            }
        });
        let attached = cleat_tests::at_once(&containers, |index, container| {
            let port = 9000 + index;
            let chain = chain(&lab).capabilities(json!({"portMappings": [
                {"hostPort": port, "containerPort": 80, "protocol": "tcp"}]}));
            for _ in 0..5 {
                let attached = chain.attach(container);
                chain.detach(container, &attached);
            }
            (chain.clone(), chain.attach(container))
        });
        is_done.store(true, Ordering::Relaxed);
        attached
    });
    let is_whole = |(chain, attached): &(Chain<'_>, Attached), container| {
        chain.check(container, attached).is_ok()
    };
    let all = || attached.iter().zip(&containers).all(|(a, container)| is_whole(a, container));
    within(AWAY * 5, "every attachment is whole", &netd, all);
    for (index, container) in containers.iter().enumerate() {
        let _server = container.ns.serve(80);
        lab.lan.ask(Transport::Tcp, &format!("192.0.2.1:{}", 9000 + index)).unwrap();
        assert!(container.ns.ping(Lab::LAN[0]));
    }
    for ((chain, attached), container) in attached.iter().zip(&containers) {
        chain.detach(container, attached);
    }
    assert_as_before(&lab, &before, AWAY * 5, &netd.said());
}
