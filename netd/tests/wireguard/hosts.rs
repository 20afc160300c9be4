//! Two hosts on a switch with an encrypted network between them, and somebody who reads all that
//! passes the switch.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use cleat_engine::kernel::Rtnl;
use cleat_engine::overlay::wireguard::{self, Applied, Tunnels};
use cleat_engine::overlay::{OverlayNetwork, Peer, Segment, bridge_name, segment, vtep_mac};
use cleat_engine::plan::Inbound;
use cleat_engine::{Dirs, Node};
use cleat_netd::overlay::wireguard::Wireguard;
use cleat_tests::{Fleet, Namespace};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};

/// What the packets of [`Container::pings`] are full of.
const MARK: &[u8] = b"do not read this";
const PORT: u16 = 51871;

/// One of two.
pub(crate) struct Host {
    pub(crate) number: usize,
    pub(crate) keys: RefCell<Wireguard>,
    folder: tempfile::TempDir,
}

pub(crate) struct Hosts {
    pub(crate) fleet: Fleet,
    all: [Host; 2],
    /// Which of a node's two addresses is used.
    family: usize,
}

/// A container in a host's blocks.
pub(crate) struct Container {
    pub(crate) ns: Namespace,
    pub(crate) addresses: [String; 2],
}

impl Hosts {
    /// On an underlay of IPv4 or IPv6.
    pub(crate) fn on(v6: bool) -> Self {
        let host = |number: usize| {
            let folder = tempfile::tempdir().unwrap();
            let keys = Wireguard::open(folder.path(), &name(number), PORT, 1000).unwrap();
            Host { number, keys: RefCell::new(keys), folder }
        };
        let hosts = Self { fleet: Fleet::new(2), all: [host(1), host(2)], family: v6.into() };
        hosts.tell();
        hosts
    }

    pub(crate) fn host(&self, number: usize) -> &Host {
        &self.all[number - 1]
    }

    /// Each hears what the other announces.
    pub(crate) fn tell(&self) {
        for [one, other] in [[1, 2], [2, 1]] {
            let shown = self.host(other).keys.borrow().announcement().clone();
            self.host(one).keys.borrow_mut().judge(&name(other), &shown).unwrap();
        }
    }

    pub(crate) fn outer(&self, number: usize) -> IpAddr {
        self.fleet[number].lab.addresses()[self.family].parse().unwrap()
    }

    /// The devices of a host.
    pub(crate) fn tunnel(&self, number: usize) -> Applied {
        let other = 3 - number;
        self.tunnel_to(number, &[(&name(other), self.outer(other))])
    }

    pub(crate) fn tunnel_to(&self, number: usize, nodes: &[(&str, IpAddr)]) -> Applied {
        let tunnels = self.host(number).keys.borrow().tunnels(nodes.iter().copied(), true);
        self.apply(number, &tunnels)
    }

    pub(crate) fn apply(&self, number: usize, tunnels: &Tunnels) -> Applied {
        self.fleet[number].lab.host.run(|| {
            let mut rtnl = Rtnl::open().unwrap();
            wireguard::apply(&mut rtnl, tunnels).unwrap()
        })
    }

    /// The network on a host.
    pub(crate) fn segment(&self, number: usize) -> Result<segment::Applied, String> {
        let other = 3 - number;
        let peer = self.host(number).keys.borrow().address_of(&name(other)).unwrap();
        let mac = |number: usize| vtep_mac(&name(number), network().vni);
        let wanted = Segment {
            network: network(),
            mac: mac(number),
            local: self.host(number).keys.borrow().address().into(),
            blocks: blocks(number).map(|block| block.parse().unwrap()).to_vec(),
            statics: Vec::new(),
            peers: blocks(other)
                .map(|block| Peer {
                    block: block.parse().unwrap(),
                    mac: mac(other),
                    outer: peer.into(),
                })
                .to_vec(),
            senders: self
                .host(number)
                .keys
                .borrow()
                .addresses_of(&name(other))
                .into_iter()
                .map(IpAddr::from)
                .collect(),
            complete: true,
        };
        let folder = self.host(number).folder.path();
        let at = |name: &str| folder.join(name);
        self.fleet[number].lab.host.run(|| {
            let dirs =
                Dirs { run: at("run"), state: at("state"), net: at("net"), config: at("config") };
            let node = Node::new(dirs, |warning| panic!("{warning}"));
            segment::apply(&node, &mut Rtnl::open().unwrap(), &wanted).map_err(|e| e.to_string())
        })
    }

    /// Everything on both.
    pub(crate) fn everything(&self) {
        for number in [1, 2] {
            self.tunnel(number);
            let applied = self.segment(number).unwrap();
            assert!(applied.refused.is_empty(), "{applied:?}");
        }
    }

    /// What the host's part of the network is, as text.
    pub(crate) fn show(&self, number: usize) -> String {
        let lines = "ip -br addr; ip -6 route show table all; ip -6 rule; bridge fdb; ip -s link; \
                     nft list ruleset";
        self.fleet[number].lab.host.sh(lines)
    }

    pub(crate) fn container(&self, number: usize) -> Container {
        let (host, ns) = (&self.fleet[number].lab.host, Namespace::create("c"));
        let bridge = bridge_name(&network().name);
        host.ip(&format!("link add port type veth peer name eth0 netns {}", ns.name()));
        host.ip(&format!("link set port master {bridge} up"));
        let mtu = host.link(&bridge).unwrap()["mtu"].clone();
        ns.set_sysctl("net/ipv6/conf/eth0/accept_dad", "0");
        ns.ip(&format!("link set eth0 mtu {mtu} up"));
        let addresses = [format!("10.77.{number}.5"), format!("fd77:0:0:{number}::5")];
        for (address, length) in addresses.iter().zip([24, 64]) {
            let gateway = address.replace(".5", ".1").replace("::5", "::1");
            ns.ip(&format!("addr add {address}/{length} dev eth0"));
            host.ip(&format!("addr replace {gateway}/{length} dev {bridge}"));
            ns.ip(&format!("route add default via {gateway}"));
        }
        Container { ns, addresses }
    }
}

impl Container {
    /// One marked echo request answered within two seconds, to each address of the other.
    pub(crate) fn pings(&self, other: &Self) -> [bool; 2] {
        let pattern: String = MARK.iter().map(|byte| format!("{byte:02x}")).collect();
        [0, 1].map(|family| {
            let mut ping = self.ns.command("ping");
            ping.args(["-n", "-c", "1", "-W", "2", "-s", "200", "-p", &pattern]);
            ping.arg(&other.addresses[family]).output().unwrap().status.success()
        })
    }
}

fn name(number: usize) -> String {
    format!("host-{number}")
}

fn blocks(number: usize) -> [String; 2] {
    [format!("10.77.{number}.0/24"), format!("fd77:0:0:{number}::/64")]
}

pub(crate) fn network() -> OverlayNetwork {
    OverlayNetwork {
        name: "secret".to_owned(),
        id: "0123456789abcdef".to_owned(),
        vni: 4096,
        subnets: vec!["10.77.0.0/16".parse().unwrap(), "fd77::/48".parse().unwrap()],
        block_v4: 24,
        block_v6: 64,
        encrypted: true,
        mtu: None,
        port: 4789,
        inbound: Inbound::Open,
        dns: false,
        created: 0,
        labels: Default::default(),
    }
}

/// Reads every frame on a switch.
pub(crate) struct Reader {
    stop: Arc<AtomicBool>,
    counts: Arc<[AtomicUsize; 2]>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    pub(crate) fn at(switch: &Namespace) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let (ends, counted) = (stop.clone(), counts.clone());
        const EVERYTHING: u16 = 3;
        let protocol = Protocol::from_raw(u32::from(EVERYTHING.to_be()).try_into().unwrap());
        let socket = switch.run(|| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            socket_with(AddressFamily::PACKET, SocketType::RAW, flags, Some(protocol)).unwrap()
        });
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            while !ends.load(Ordering::Relaxed) {
                match recv(&socket, buffer.as_mut_slice(), RecvFlags::empty()) {
                    Ok((size, _)) => {
                        let kind = usize::from(!is_clear(&buffer[..size]));
                        let is_of_ours = kind == 0 || is_wireguard(&buffer[..size]);
                        counted[kind].fetch_add(usize::from(is_of_ours), Ordering::Relaxed);
                    }
                    Err(_) => thread::sleep(std::time::Duration::from_millis(1)),
                }
            }
        });
        Self { stop, counts, thread: Some(thread) }
    }

    /// Frames that say what nobody was to read, or that are VXLAN at all.
    pub(crate) fn clear(&self) -> usize {
        self.counts[0].load(Ordering::Relaxed)
    }

    /// Frames of WireGuard.
    pub(crate) fn encrypted(&self) -> usize {
        self.counts[1].load(Ordering::Relaxed)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn is_clear(frame: &[u8]) -> bool {
    frame.windows(MARK.len()).any(|part| part == MARK) || udp_port(frame) == Some(4789)
}

fn is_wireguard(frame: &[u8]) -> bool {
    udp_port(frame).is_some_and(|port| port == PORT || port == PORT + 1)
}

/// The port that a frame's datagram goes to.
fn udp_port(frame: &[u8]) -> Option<u16> {
    const UDP: u8 = 17;
    let (protocol, header) = match frame.get(12..14)? {
        [0x08, 0x00] => (*frame.get(23)?, 14 + 20),
        [0x86, 0xdd] => (*frame.get(20)?, 14 + 40),
        _ => return None,
    };
    let port = frame.get(header + 2..header + 4)?;
    (protocol == UDP).then(|| u16::from_be_bytes([port[0], port[1]]))
}
