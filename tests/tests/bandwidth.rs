//! The bandwidth plugin: limits in both directions, on any kind of interface.
//@ vm-modules: ifb sch_tbf

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use cleat_tests::{Attached, Container, End, Lab, Namespace, Programs, ranges};
use serde_json::{Value, json};

/// Bits per second and bits: 1 MB/s after 40 KB.
const RATE: u64 = 8_000_000;
const BURST: u64 = 320_000;
/// What is sent: 600 ms at that rate, less what the burst saves.
const BYTES: usize = 600_000;
/// Less than it can take with the limit, far more than it takes without.
const LIMITED: Duration = Duration::from_millis(450);

fn bridge() -> Value {
    json!({"type": "bridge", "bridge": "br0", "isGateway": true, "ipam": ranges(&["10.88.0.0/24"])})
}

fn macvlan() -> Value {
    json!({"type": "macvlan", "master": "eth0", "ipam": {"type": "host-local", "ranges": [
        [{"subnet": "192.0.2.0/24", "rangeStart": "192.0.2.100"}]]}})
}

fn network(main: Value, limits: Value) -> Value {
    let mut plugin = json!({"type": "bandwidth", "capabilities": {"bandwidth": true}});
    for (key, value) in limits.as_object().unwrap() {
        plugin[key] = value.clone();
    }
    json!({"cniVersion": "1.0.0", "name": "net", "plugins": [main, plugin]})
}

fn both() -> Value {
    json!({"ingressRate": RATE, "ingressBurst": BURST, "egressRate": RATE, "egressBurst": BURST})
}

/// How long it takes to send so much from one namespace to an address in another.
fn time(from: &Namespace, to: &Namespace, address: &str) -> Duration {
    let address: SocketAddr = format!("{address}:9100").parse().unwrap();
    let listener = to.run(|| TcpListener::bind(address).unwrap());
    let receiver = thread::spawn(move || {
        let mut got = Vec::new();
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.read_to_end(&mut got).unwrap();
        got.len()
    });
    let start = Instant::now();
    let mut stream = from.run(|| TcpStream::connect(address).unwrap());
    stream.write_all(&vec![0; BYTES]).unwrap();
    drop(stream);
    assert_eq!(receiver.join().unwrap(), BYTES);
    start.elapsed()
}

/// To the container, and from it.
fn times(
    lab: &Lab,
    other: &Namespace,
    address: &str,
    container: &Container,
    own: &str,
) -> [bool; 2] {
    assert!(other.ping(own), "{} reaches {own}", lab.host.name());
    [time(other, &container.ns, own), time(&container.ns, other, address)].map(|t| t > LIMITED)
}

fn attach<'l>(lab: &'l Lab, conflist: Value) -> (cleat_tests::Chain<'l>, Container, Attached) {
    let chain = lab.chain(conflist);
    let container = lab.container();
    let attached = chain.attach(&container);
    (chain, container, attached)
}

#[test]
fn each_direction_has_its_limit() {
    let (to, from) = (
        json!({"ingressRate": RATE, "ingressBurst": BURST}),
        json!({"egressRate": RATE, "egressBurst": BURST}),
    );
    for (limits, want) in [
        (to, [true, false]),
        (from, [false, true]),
        (both(), [true, true]),
        (json!({}), [false; 2]),
    ] {
        let lab = Lab::still();
        let (chain, container, attached) = attach(&lab, network(bridge(), limits.clone()));
        let limited = times(&lab, &lab.host, "10.88.0.1", &container, &attached.v4());
        assert_eq!(limited, want, "{limits}: to the container, and from it");
        // The reference's CHECK panics where there is nothing to check.
        if !lab.is_reference() {
            chain.check(&container, &attached).unwrap();
        }
    }
}

#[test]
fn an_interface_without_a_host_end_is_limited_too() {
    let lab = Lab::new();
    if lab.is_reference() {
        // It knows veth only.
        return;
    }
    let (chain, container, attached) = attach(&lab, network(macvlan(), both()));
    let limited = times(&lab, &lab.lan, Lab::LAN[0], &container, &attached.v4());
    assert_eq!(limited, [true, true]);
    chain.check(&container, &attached).unwrap();
    assert!(!lab.snapshot().mentions("bwp"), "nothing is on the host");
    chain.detach(&container, &attached);
    assert!(container.ns.ip_json("link").as_array().unwrap().iter().all(|l| l["ifname"] == "lo"));
}

#[test]
fn runtimes_ask_by_capability_and_for_no_burst_at_all() {
    let lab = Lab::still();
    // As runtimes written in Go send it.
    let asked = json!({"bandwidth": {"IngressRate": RATE, "IngressBurst": u32::MAX,
        "EgressRate": 0, "EgressBurst": 0}});
    let chain = lab.chain(network(bridge(), json!({}))).capabilities(asked);
    let container = lab.container();
    let attached = chain.attach(&container);
    chain.check(&container, &attached).unwrap();
    if lab.is_reference() {
        // It lets half a gigabyte pass first.
        return;
    }
    let limited = times(&lab, &lab.host, "10.88.0.1", &container, &attached.v4());
    assert_eq!(limited, [true, false]);
}

#[test]
fn results_are_the_references() {
    for limits in [both(), json!({"ingressRate": RATE, "ingressBurst": BURST}), json!({})] {
        let made_by = |programs: &Programs| {
            let lab = Lab::still();
            let chain = lab.chain(network(bridge(), limits.clone())).by(programs);
            let container = lab.container();
            let mut result = chain.attach(&container).without_names(&container);
            for interface in result["interfaces"].as_array_mut().unwrap() {
                if interface["name"].as_str().unwrap().starts_with("bwp") {
                    interface["name"] = json!("IFB");
                }
            }
            result
        };
        assert_eq!(made_by(&Programs::under_test()), made_by(&Programs::reference()), "{limits}");
    }
}

#[test]
fn bad_limits_are_refused_before_anything_is_made() {
    let lab = Lab::still();
    let container = lab.container();
    let alone = lab.chain(network(bridge(), json!({})));
    let attached = alone.attach(&container);
    let before = lab.snapshot();
    for (limits, text) in [
        (json!({"ingressRate": RATE}), "ingressBurst"),
        (json!({"egressBurst": BURST}), "egressRate"),
        (json!({"ingressRate": -1, "ingressBurst": 1}), "ngress"),
        (json!({"ingressRate": "fast"}), "ngress"),
        (json!({"latency": 60_000}), "latency"),
    ] {
        if lab.is_reference() {
            return;
        }
        let conflist = network(bridge(), limits.clone());
        let chain = lab.chain(conflist.clone());
        let section = &conflist["plugins"][1];
        let call = chain.invocation(section, "ADD", &container, Some(&attached.result));
        let outcome = call.run();
        assert!(outcome.error_text().contains(text), "{limits}: {outcome:?}");
        lab.assert_as_before(&before);
    }
}

#[test]
fn somebody_elses_shaping_is_left_alone() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let conflist = network(bridge(), both());
    let chain = lab.chain(conflist.clone());
    let container = lab.container();
    let main = &conflist["plugins"][0];
    let result = chain.invocation(main, "ADD", &container, None).run().ok();
    let host_end = result["interfaces"][1]["name"].as_str().unwrap();
    lab.host.sh(&format!("tc qdisc add dev {host_end} ingress"));
    let before = lab.snapshot();
    let section = &conflist["plugins"][1];
    let outcome = chain.invocation(section, "ADD", &container, Some(&result)).run();
    assert!(outcome.error_text().contains(host_end), "{outcome:?}");
    lab.assert_as_before(&before);
    assert!(lab.host.sh(&format!("tc qdisc show dev {host_end}")).contains("ingress"));
}

#[test]
fn detach_leaves_nothing_however_the_container_ended() {
    for main in [bridge(), macvlan()] {
        for end in End::ALL {
            let lab = Lab::still();
            if lab.is_reference() {
                return;
            }
            let chain = lab.chain(network(main.clone(), both()));
            let before = chain.used();
            chain.comes_and_goes(end, &before);
        }
    }
}

#[test]
fn detached_alone_the_link_is_unlimited_again() {
    let lab = Lab::still();
    let conflist = network(bridge(), both());
    let (chain, container, attached) = attach(&lab, conflist.clone());
    let section = &conflist["plugins"][1];
    chain.invocation(section, "DEL", &container, Some(&attached.result)).run().ok();
    if lab.is_reference() {
        return;
    }
    let limited = times(&lab, &lab.host, "10.88.0.1", &container, &attached.v4());
    assert_eq!(limited, [false, false]);
}

#[test]
fn check_names_what_differs() {
    let lab = Lab::still();
    let (chain, container, attached) = attach(&lab, network(bridge(), both()));
    let name = |index: usize| attached.result["interfaces"][index]["name"].as_str().unwrap();
    let (host_end, ifb) = (name(1), name(3));
    chain.check(&container, &attached).unwrap();
    lab.host
        .sh(&format!("tc qdisc change dev {host_end} root tbf rate 5mbit burst 40k latency 25ms"));
    let text = chain.check(&container, &attached).unwrap_err().error_text();
    if !lab.is_reference() {
        assert!(text.contains(host_end) && text.contains("625000"), "{text}");
    }
    lab.host.ip(&format!("link del {ifb}"));
    chain.check(&container, &attached).unwrap_err().error();
}

#[test]
fn collection_removes_what_is_no_longer_valid() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let mut conflist = network(bridge(), both());
    conflist["cniVersion"] = json!("1.1.0");
    let chain = lab.chain(conflist);
    let before = chain.used();
    let container = lab.container();
    chain.attach(&container);
    chain.gc(&[]).unwrap();
    lab.assert_as_before(&before);
}
