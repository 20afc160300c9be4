//! One stream and one question at a time between containers of two nodes: over our overlay, over a
//! VXLAN set up by hand, and over nothing but a pair of links.

use std::net::{Ipv6Addr, UdpSocket};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cleat_tests::{Fleet, Namespace, require, wait_until};
use serde_json::Value;

use crate::overlay::Overlay;
use crate::report::{compare, reached, row, section, table, timed, timed_head};
use crate::timing::{Contestant, interleaved, time};
use crate::tools::amount;

const PORT: u16 = 9001;
/// Questions in a row.
const QUESTIONS: u32 = 2000;
/// Of containers, everywhere.
const MTU: u32 = 1450;

/// Two namespaces, and a server in the second one.
struct Pair {
    from: Namespace,
    address: String,
    server: Child,
    stop: Arc<AtomicBool>,
    echo: Option<JoinHandle<()>>,
}

impl Pair {
    fn new(from: &Namespace, to: &Namespace, address: &str) -> Self {
        let mut server = to.command("setpriv");
        server.args(["--pdeathsig", "KILL", "iperf3", "-s"]).stdout(Stdio::null());
        let server = server.stderr(Stdio::null()).spawn().unwrap();
        let socket = to.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT)).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let ends = stop.clone();
        let echo = thread::spawn(move || {
            let mut buffer = [0; 64];
            while !ends.load(Ordering::Relaxed) {
                if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                    socket.send_to(&buffer[..length], peer).unwrap();
                }
            }
        });
        wait_until("the other end answers", || from.ping(address));
        let listens = || to.sh("ss -Hltn sport = 5201").contains("5201");
        wait_until("iperf3 serves", listens);
        let (from, address) = (from.clone(), address.to_owned());
        Self { from, address, server, stop, echo: Some(echo) }
    }

    /// Bits per second of one stream.
    fn stream(&self, seconds: usize) -> f64 {
        let mut client = self.from.command("iperf3");
        let seconds = seconds.to_string();
        client.args(["-c", &self.address, "-t", &seconds, "-J"]);
        let output = client.output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let rate = said["end"]["sum_received"]["bits_per_second"].as_f64();
        rate.unwrap_or_else(|| panic!("iperf3: {said}"))
    }

    /// The time of one question and its answer, over many in a row.
    fn question(&self) -> Duration {
        let to = (self.address.as_str(), PORT);
        self.from.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            socket.connect(to).unwrap();
            let mut buffer = [0; 64];
            let all = time(|| {
                for _ in 0..QUESTIONS {
                    socket.send(&buffer[..32]).unwrap();
                    socket.recv(&mut buffer).unwrap();
                }
            });
            all / QUESTIONS
        })
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.echo.take().map(JoinHandle::join);
    }
}

/// As the manual page of `ip` has it: on each node a bridge with the VXLAN device and a container.
fn by_hand(fleet: &Fleet) -> [Namespace; 2] {
    let container = |number: usize| {
        let (host, ns) = (&fleet[number].lab.host, Namespace::create("c"));
        let own = &fleet[number].lab.addresses()[0];
        let other = &fleet[3 - number].lab.addresses()[0];
        let vxlan = format!("id 42 dstport 4789 local {own} remote {other} dev eth0");
        host.sh(&format!(
            "ip link add br7 type bridge; ip link set br7 up; \
             ip link add vx7 mtu {MTU} type vxlan {vxlan}; ip link set vx7 master br7 up; \
             ip link add port type veth peer name eth0 netns {}; ip link set port master br7 up",
            ns.name()
        ));
        ns.sh(&format!("ip link set eth0 mtu {MTU} up; ip addr add 10.88.0.{number}/24 dev eth0"));
        ns
    };
    [container(1), container(2)]
}

fn bare() -> [Namespace; 2] {
    let [one, two] = ["one", "two"].map(Namespace::create);
    one.ip(&format!("link add eth0 type veth peer name eth0 netns {}", two.name()));
    for (ns, last) in [(&one, 1), (&two, 2)] {
        ns.sh(&format!("ip link set eth0 mtu {MTU} up; ip addr add 10.99.0.{last}/24 dev eth0"));
    }
    [one, two]
}

#[test]
#[ignore = "measures"]
fn overlay_traffic() {
    require(&[("iperf3", "iperf3"), ("ss", "iproute2")]);
    let rounds = amount("CLEAT_TRAFFIC_ROUNDS", 9);
    let seconds = amount("CLEAT_TRAFFIC_SECONDS", 1);
    let overlay = Overlay::of(2, "10.77.0.0/16");
    let ends = [1, 2].map(|number| overlay.fleet[number].lab.container());
    let attached = [1, 2].map(|number| overlay.attach(number, &ends[number - 1], "end"));
    assert_eq!(ends[0].ns.link("eth0").unwrap()["mtu"], MTU);
    let fleet = Fleet::new(2);
    let (hand, veth) = (by_hand(&fleet), bare());
    let pairs = [
        Pair::new(&ends[0].ns, &ends[1].ns, &attached[1].v4()),
        Pair::new(&hand[0], &hand[1], "10.88.0.2"),
        Pair::new(&veth[0], &veth[1], "10.99.0.2"),
    ];
    let names = ["cleat", "VXLAN by hand", "a pair of links"];
    let mut rates = [const { Vec::<f64>::new() }; 3];
    for round in 0..=rounds {
        for turn in 0..pairs.len() {
            let who = (round + turn) % pairs.len();
            let rate = pairs[who].stream(seconds);
            // The first round is for the caches.
            if round > 0 {
                rates[who].push(rate / 1e9);
            }
        }
    }
    let contestant = |pair| -> Contestant<'_> { Box::new(move |_| vec![Pair::question(pair)]) };
    let mut all: Vec<Contestant<'_>> = pairs.iter().map(contestant).collect();
    let questions = interleaved(rounds, &mut all);
    section("overlay: between containers of two nodes, one stream, and one question at a time");
    let mut rows = vec![row(["Gbit/s", "median", "maximum", "rounds"])];
    for (name, rates) in names.iter().zip(&mut rates) {
        rates.sort_by(f64::total_cmp);
        let [median, most] = [rates[rates.len() / 2], rates[rates.len() - 1]];
        let count = rates.len().to_string();
        rows.push(row([name, &format!("{median:.2}"), &format!("{most:.2}"), &count]));
    }
    table(&rows);
    println!();
    let mut rows = vec![timed_head()];
    for (name, samples) in names.iter().zip(&questions) {
        rows.push(timed(name, &samples[0]));
    }
    table(&rows);
    println!();
    let at = |who: usize, place: usize| rates[who][place];
    let (middle, top) = (rounds / 2, rounds - 1);
    let by_maximum = at(0, top) / at(1, top);
    let what = format!("a stream, to VXLAN by hand (by maximum {by_maximum:.2})");
    reached(&what, at(0, middle) / at(1, middle), 0.97);
    compare("a question, to VXLAN by hand", &questions[0][0], &questions[1][0], 1.03);
}
