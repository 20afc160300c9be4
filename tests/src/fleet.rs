//! Many nodes on one switch, which is a namespace with a bridge: what passes between them can be
//! cut there, silently, and healed.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::Index;
use std::sync::Mutex;

use crate::etcd::Etcd;
use crate::lab::{Lab, station, wait_until};
use crate::namespace::Namespace;
use crate::node::Node;

/// The switch's port of a node; the nodes count from 1.
pub(crate) fn port_of(node: usize) -> String {
    format!("n{node}")
}

/// What does not pass the switch. Nobody is told: packets are lost, links stay up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// Anything from and to a node.
    Node(usize),
    /// Anything between two nodes.
    Between(usize, usize),
    /// Anything between a node and etcd.
    Store(usize),
    /// Anything from and to a member of etcd.
    Member(usize),
}

/// Nodes `fleet[1]`, `fleet[2]`, …: node N is 192.0.2.N+10 and 2001:db8::N+10 (in decimal digits)
/// until it is given others; the switch is [`Lab::LAN`], and everyone's default route.
#[derive(Debug)]
pub struct Fleet {
    nodes: Vec<Node>,
    /// The switch's namespace; `br0` is the bridge, its ports are `n1`, … and etcd's `m1`, ….
    pub switch: Namespace,
    cuts: Mutex<BTreeSet<Cut>>,
}

impl Fleet {
    /// So many nodes, when all of them reach the switch.
    pub fn new(count: usize) -> Self {
        let switch = Namespace::create("switch");
        switch.ip("link add br0 type bridge forward_delay 0 mcast_snooping 0");
        station(&switch, "br0", &Lab::LAN.map(str::to_owned));
        // Nodes with addresses elsewhere go on reaching each other.
        switch.set_sysctl("net/ipv4/ip_forward", "1");
        let nodes = (1..=count).map(|number| Node::new(number, &switch)).collect();
        let fleet = Self { nodes, switch, cuts: Mutex::default() };
        for node in fleet.nodes() {
            wait_until("a node is on the switch", || node.lab.host.has_link_local("eth0"));
        }
        fleet
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Connects one node more, which is the last of [`Self::nodes`].
    pub fn grow(&mut self) -> &Node {
        self.nodes.push(Node::new(self.nodes.len() + 1, &self.switch));
        self.nodes.last().unwrap()
    }

    /// Lets something pass no longer.
    pub fn cut(&self, cut: Cut) {
        self.cuts.lock().unwrap().insert(cut);
        self.lay();
    }

    /// Lets it pass again.
    pub fn heal(&self, cut: Cut) {
        self.cuts.lock().unwrap().remove(&cut);
        self.lay();
    }

    /// Lets everything pass again.
    pub fn heal_all(&self) {
        self.cuts.lock().unwrap().clear();
        self.lay();
    }

    /// What comes to a node is delayed, lost, duplicated or reordered, in the words of `tc qdisc
    /// … netem`; nothing if empty. Needs a kernel with sch_netem.
    pub fn impair(&self, node: usize, how: &str) {
        let port = port_of(node);
        match how {
            "" => self.switch.sh(&format!("tc qdisc del dev {port} root")),
            how => self.switch.sh(&format!("tc qdisc replace dev {port} root netem {how}")),
        };
    }

    fn lay(&self) {
        let mut rules = String::new();
        for cut in self.cuts.lock().unwrap().iter() {
            rules.push_str(&cut.rules());
        }
        self.switch.nft(&format!(
            "table bridge fleet\ndelete table bridge fleet\ntable bridge fleet {{\n\
             chain in {{ type filter hook prerouting priority -300\n{}}}\n\
             chain through {{ type filter hook forward priority -300\n{rules}}}\n\
             chain out {{ type filter hook postrouting priority -300\n{}}}\n}}",
            // A bridge knows where a frame leaves only later, and what it sends itself came in nowhere.
            only(&rules, "iifname", "oifname"),
            only(&rules, "oifname", "iifname"),
        ));
    }
}

impl Index<usize> for Fleet {
    type Output = Node;

    fn index(&self, number: usize) -> &Node {
        &self.nodes[number - 1]
    }
}

impl Cut {
    fn rules(self) -> String {
        let both = |port: &str| format!("iifname \"{port}\" drop\noifname \"{port}\" drop\n");
        let mut rules = String::new();
        match self {
            Self::Node(node) => rules = both(&port_of(node)),
            Self::Member(member) => rules = both(&Etcd::port_of(member)),
            Self::Between(one, other) => {
                for (from, to) in [(one, other), (other, one)] {
                    let (from, to) = (port_of(from), port_of(to));
                    writeln!(rules, "iifname \"{from}\" oifname \"{to}\" drop").unwrap();
                }
            }
            Self::Store(node) => {
                let port = port_of(node);
                for (family, members) in ["ip", "ip6"].iter().zip(Etcd::ADDRESSES) {
                    writeln!(rules, "iifname \"{port}\" {family} daddr {members} drop").unwrap();
                    writeln!(rules, "oifname \"{port}\" {family} saddr {members} drop").unwrap();
                }
            }
        }
        rules
    }
}

/// The rules that name one side only.
fn only(rules: &str, has: &str, lacks: &str) -> String {
    let fits = |line: &&str| line.contains(has) && !line.contains(lacks);
    rules.lines().filter(fits).fold(String::new(), |all, line| all + line + "\n")
}
