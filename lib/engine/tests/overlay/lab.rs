//! Hosts on a LAN, each a namespace with folders of its own, with one overlay network.

use std::net::IpAddr;
use std::path::PathBuf;

use cleat_engine::kernel::{Mac, Rtnl};
use cleat_engine::names::NamesPlan;
use cleat_engine::overlay::{
    Applied, OverlayNetwork, Peer, Segment, bridge_name, segment, vtep_mac, vxlan_name,
};
use cleat_engine::plan::{
    AntiSpoof, AttachmentPlan, BridgePlan, Driver, Grant, Grants, Inbound, Lessor, NetworkPlan,
    RouteGrant,
};
use cleat_engine::ruleset::Ruleset;
use cleat_engine::{AttachmentId, Dirs, Node, repair};
use cleat_tests::{Namespace, Transport, wait_until};
use ipnet::IpNet;

/// Underlays.
pub(crate) const WITH_V4: bool = true;
pub(crate) const WITH_V6: bool = false;

const NETWORK: &str = "blue";

/// A host.
pub(crate) struct Host {
    pub(crate) ns: Namespace,
    folder: tempfile::TempDir,
    id: String,
    outer: IpAddr,
    blocks: Vec<IpNet>,
    statics: Vec<IpAddr>,
}

/// Hosts 192.0.2.1, .2, … and 2001:db8::1, ::2, … on a LAN whose own address ends in 250 (::fa).
/// Host n has the blocks 10.77.n.0/24 and fd77:0:0:n::/64, counted from 1.
pub(crate) struct Hosts {
    pub(crate) lan: Namespace,
    all: Vec<Host>,
}

/// A container.
pub(crate) struct Container {
    pub(crate) ns: Namespace,
    pub(crate) addresses: Vec<String>,
}

impl Container {
    pub(crate) fn reaches(&self, address: &str) -> bool {
        self.ns.ping(address)
    }

    pub(crate) fn reaches_in_one_piece(&self, address: &str, mtu: u64) -> bool {
        let size = (mtu - 28).to_string();
        let mut ping = self.ns.command("ping");
        ping.args(["-n", "-c1", "-W1", "-M", "do", "-s", &size, address]);
        ping.output().unwrap().status.success()
    }

    pub(crate) fn asks(&self, address: &str, port: u16) -> bool {
        self.ns.ask(Transport::Tcp, &format!("{address}:{port}")).is_ok()
    }

    pub(crate) fn mtu(&self) -> u64 {
        self.ns.link("eth0").unwrap()["mtu"].as_u64().unwrap()
    }
}

struct Fixed(Grants);

impl Lessor for Fixed {
    fn lease(&mut self) -> cleat_engine::Result<Grants> {
        Ok(self.0.clone())
    }

    fn release(&mut self) -> cleat_engine::Result<()> {
        Ok(())
    }

    fn check(&mut self) -> cleat_engine::Result<()> {
        Ok(())
    }

    fn leases(&self) -> Option<PathBuf> {
        None
    }
}

impl Host {
    fn node(&self) -> Node {
        let at = |name: &str| self.folder.path().join(name);
        let dirs =
            Dirs { run: at("run"), state: at("state"), net: at("net"), config: at("config") };
        Node::new(dirs, |warning| panic!("{warning}"))
    }

    pub(crate) fn rebuild_rules(&self) {
        self.ns.run(|| Ruleset::open(&self.node()).rebuild(None).unwrap());
    }

    /// Mends what netd's repair finds, and tells it.
    pub(crate) fn repair(&self) -> Vec<String> {
        self.ns.run(|| {
            let node = self.node();
            let findings = repair::survey(&node).unwrap().findings;
            findings.iter().for_each(|finding| repair::mend(&node, finding).unwrap());
            findings.iter().map(|finding| format!("{finding:?}")).collect()
        })
    }

    /// What a shell line says, whether or not it succeeds.
    pub(crate) fn try_sh(&self, line: &str) -> String {
        let output = self.ns.command("sh").args(["-c", line]).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// All that names the network's devices or addresses.
    pub(crate) fn traces(&self) -> String {
        let all = "ip -br link; ip addr; ip route; ip -6 route; nft -s list ruleset";
        self.ns.sh(&format!("{{ {all}; }} | grep -e clb -e clx -e 10.77 -e fd77 || true"))
    }
}

impl Hosts {
    pub(crate) fn new(count: usize, underlay: bool) -> Self {
        assert!(rustix::process::geteuid().is_root(), "run this test as root");
        let lan = Namespace::create("switch");
        lan.sh("ip link add lan type bridge; ip addr add 192.0.2.250/24 dev lan; \
             ip addr add 2001:db8::fa/64 dev lan nodad; ip link set lan up");
        let host = |n: usize| {
            let outer = if underlay { format!("192.0.2.{n}") } else { format!("2001:db8::{n}") };
            Host {
                ns: Namespace::create("host"),
                folder: tempfile::tempdir().unwrap(),
                id: format!("host-{n}"),
                outer: outer.parse().unwrap(),
                blocks: vec![
                    format!("10.77.{n}.0/24").parse().unwrap(),
                    format!("fd77:0:0:{n}::/64").parse().unwrap(),
                ],
                statics: Vec::new(),
            }
        };
        let hosts = Self { lan, all: (1..=count).map(host).collect() };
        for n in 0..count {
            hosts.of(n).ns.ip("link set lo up");
            hosts.cable(n, &format!("192.0.2.{}", n + 1));
        }
        (0..count).for_each(|n| hosts.await_lan(n));
        hosts
    }

    pub(crate) fn of(&self, n: usize) -> &Host {
        &self.all[n]
    }

    pub(crate) fn plug(&self, n: usize, address: &str) {
        self.cable(n, address);
        self.await_lan(n);
    }

    /// The kernel notices a carrier within a second.
    fn await_lan(&self, n: usize) {
        let answers = || ["192.0.2.250", "2001:db8::fa"].iter().all(|a| self.of(n).ns.ping(a));
        wait_until("the LAN answers", answers);
    }

    fn cable(&self, n: usize, address: &str) {
        let name = self.of(n).ns.name();
        self.lan.sh(&format!(
            "ip link add p{n} type veth peer name eth0 netns {name}; \
             ip link set p{n} mtu 9000 master lan up"
        ));
        self.of(n).ns.sh(&format!(
            "sysctl -qw net.ipv6.conf.eth0.accept_dad=0; \
             ip addr add {address}/24 dev eth0; ip addr add 2001:db8::{}/64 dev eth0 nodad; \
             ip link set eth0 up",
            n + 1
        ));
    }

    /// A cable of their own between the first two hosts.
    pub(crate) fn connect(&self, link: &str, addresses: [&str; 2]) {
        let (first, second) = (&self.of(0).ns, &self.of(1).ns);
        first.ip(&format!("link add {link} type veth peer name {link} netns {}", second.name()));
        for (ns, address) in [first, second].into_iter().zip(addresses) {
            ns.sh(&format!(
                "sysctl -qw net.ipv6.conf.{link}.accept_dad=0; \
                 ip addr add {address}/64 dev {link} nodad; ip link set {link} up"
            ));
        }
        wait_until("the cable carries", || first.ping(addresses[1]));
    }

    pub(crate) fn rules(&self, n: usize) -> String {
        self.of(n).ns.sh("nft list table inet cleat")
    }

    pub(crate) fn unplug(&self, n: usize) {
        self.lan.ip(&format!("link del p{n}"));
    }

    pub(crate) fn set_outer(&mut self, n: usize, address: &str) {
        self.all[n].outer = address.parse().unwrap();
    }

    pub(crate) fn set_id(&mut self, n: usize, id: &str) {
        self.all[n].id = id.to_owned();
    }

    pub(crate) fn set_statics(&mut self, n: usize, addresses: &[&str]) {
        self.all[n].statics = addresses.iter().map(|a| a.parse().unwrap()).collect();
    }

    pub(crate) fn vxlan(&self) -> String {
        vxlan_name(NETWORK)
    }

    pub(crate) fn bridge(&self) -> String {
        bridge_name(NETWORK)
    }

    pub(crate) fn mac(&self, n: usize) -> Mac {
        vtep_mac(&self.of(n).id, network().vni)
    }

    fn segment(&self, n: usize) -> Segment {
        let host = self.of(n);
        let mut peers = Vec::new();
        for (other, peer) in self.all.iter().enumerate().filter(|(other, _)| *other != n) {
            let (mac, outer) = (self.mac(other), peer.outer);
            let singles = peer.statics.iter().map(|address| IpNet::from(*address));
            let blocks = peer.blocks.iter().copied().chain(singles);
            peers.extend(blocks.map(|block| Peer { block, mac, outer }));
        }
        Segment {
            network: network(),
            mac: self.mac(n),
            local: host.outer,
            blocks: host.blocks.clone(),
            statics: host.statics.clone(),
            peers,
            senders: Vec::new(),
            complete: true,
        }
    }

    pub(crate) fn apply_with(
        &self,
        n: usize,
        change: impl FnOnce(&mut Segment),
    ) -> Result<Applied, String> {
        let mut wanted = self.segment(n);
        change(&mut wanted);
        let host = self.of(n);
        host.ns.run(|| {
            let mut rtnl = Rtnl::open().unwrap();
            segment::apply(&host.node(), &mut rtnl, &wanted).map_err(|e| e.to_string())
        })
    }

    pub(crate) fn try_apply(&self, n: usize) -> Result<Applied, String> {
        self.apply_with(n, |_| {})
    }

    pub(crate) fn apply(&self, n: usize) -> Applied {
        self.try_apply(n).unwrap()
    }

    pub(crate) fn apply_all(&self) -> Vec<Applied> {
        (0..self.all.len()).map(|n| self.apply(n)).collect()
    }

    pub(crate) fn remove(&self, n: usize) {
        let host = self.of(n);
        host.ns.run(|| {
            segment::remove(&host.node(), &mut Rtnl::open().unwrap(), &network()).unwrap();
        });
    }

    /// A container in the host's blocks, at this place in each.
    pub(crate) fn container(&self, n: usize, place: u8) -> Container {
        let at = |block: &IpNet| {
            let address: IpAddr = match block {
                IpNet::V4(v4) => {
                    let [a, b, c, _] = v4.network().octets();
                    IpAddr::from([a, b, c, place])
                }
                IpNet::V6(v6) => {
                    let mut segments = v6.network().segments();
                    segments[7] = place.into();
                    IpAddr::from(segments)
                }
            };
            IpNet::new(address, block.prefix_len()).unwrap()
        };
        let addresses: Vec<IpNet> = self.of(n).blocks.iter().map(at).collect();
        self.attach(n, &format!("c{place}"), &addresses, Vec::new())
    }

    /// A container with single addresses.
    pub(crate) fn single(&self, n: usize, owner: &str, addresses: &[&str]) -> Container {
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let gateways = self.gateways(n).into_iter();
        let routes = gateways
            .map(|g| RouteGrant { scope: Some(253), ..RouteGrant::to(IpNet::from(g), None) });
        let singles: Vec<IpNet> = addresses.into_iter().map(IpNet::from).collect();
        self.attach(n, owner, &singles, routes.collect())
    }

    fn gateways(&self, n: usize) -> Vec<IpAddr> {
        let first = |block: &IpNet| block.hosts().find(|host| *host != block.network()).unwrap();
        self.of(n).blocks.iter().map(first).collect()
    }

    fn attach(
        &self,
        n: usize,
        owner: &str,
        addresses: &[IpNet],
        routes: Vec<RouteGrant>,
    ) -> Container {
        let ns = Namespace::create("c");
        let gateways = self.gateways(n);
        let gateway = |of: IpAddr| gateways.iter().copied().find(|g| g.is_ipv4() == of.is_ipv4());
        let grants = Grants {
            addresses: addresses
                .iter()
                .map(|address| Grant { address: *address, gateway: gateway(address.addr()) })
                .collect(),
            routes,
        };
        let driver = BridgePlan {
            bridge: self.bridge(),
            gateway: true,
            default_gateway: true,
            overlay: true,
            ..BridgePlan::default()
        };
        let plan = AttachmentPlan {
            id: AttachmentId {
                network: NETWORK.to_owned(),
                owner: owner.to_owned(),
                slot: "eth0".to_owned(),
            },
            network: NetworkPlan {
                inbound: Inbound::Published,
                masquerade: true,
                anti_spoof: AntiSpoof::Held,
                permanent_neighbours: true,
                ..NetworkPlan::new(NETWORK, Driver::Bridge(driver))
            },
            netns: ns.path(),
            mac: None,
            names: NamesPlan::default(),
            gateway_priority: 0,
        };
        let host = self.of(n);
        host.ns.run(|| cleat_engine::attach(&host.node(), &plan, &mut Fixed(grants)).unwrap());
        let addresses = addresses.iter().map(|net| net.addr().to_string()).collect();
        Container { ns, addresses }
    }

    /// What the hosts look like, for whoever reads of a failure.
    pub(crate) fn show(&self) -> String {
        let look =
            "ip -br addr; ip route; ip -6 route; ip neigh; ip neigh show proxy; bridge fdb show";
        self.all.iter().map(|h| format!("--- {}\n{}", h.id, h.ns.sh(look))).collect()
    }
}

fn network() -> OverlayNetwork {
    let subnets = vec!["10.77.0.0/16".parse().unwrap(), "fd77::/48".parse().unwrap()];
    OverlayNetwork {
        block_v6: 64,
        ..OverlayNetwork::new(NETWORK, "0123456789abcdef", 4100, subnets)
    }
}
