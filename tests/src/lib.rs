//! The lab: nodes and containers as network namespaces, the programs under test run from outside
//! as a runtime runs them, and what they leave in the kernel and on disk made comparable.
//!
//! A test names what it needs and gets it private: folders, a host namespace with a LAN behind it,
//! containers. All of it goes when the values go, after a panic too. The lab refuses to look inside
//! the programs: whatever a suite asserts, a user could see.

mod certificates;
mod chain;
mod dhcp;
mod dns;
mod enclosure;
mod etcd;
mod fleet;
mod flow;
mod invoke;
mod lab;
mod machine;
mod many;
mod membership;
mod namespace;
mod netd;
mod nfs;
mod node;
mod overlay;
mod programs;
mod snapshot;
mod steps;
mod traffic;
mod volumes;

pub use chain::{Attached, Chain, End, without_empty_dns};
pub use dhcp::{Behaviour, DhcpServer, Dnsmasq};
pub use dns::{Answer, Ask, Manner, Upstream};
pub use enclosure::{Daemon, Enclosure, busybox_root, require};
pub use etcd::Etcd;
pub use fleet::{Cut, Fleet};
pub use flow::{Flow, Loss};
pub use invoke::{Invocation, Outcome};
pub use lab::{Container, Lab, at_once, ranges, wait_until};
pub use machine::Report;
pub use many::{numbered, question};
pub use namespace::Namespace;
pub use netd::Netd;
pub use nfs::NfsServer;
pub use node::Node;
pub use overlay::{Placed, settles};
pub use programs::Programs;
pub use snapshot::Snapshot;
pub use steps::{Fault, interrupt};
pub use traffic::{Serving, Transport};
pub use volumes::{VolumeNode, eventually, exchange, post};
