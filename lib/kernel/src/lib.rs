//! What cleat asks of the kernel: netlink sockets and typed requests, network namespaces,
//! sysctl, conntrack, mounts. The only crate with unsafe code, the only one that enters a
//! namespace. It starts no program and knows nothing of networks or containers.
#![allow(unsafe_code)]

pub mod change;
pub mod conntrack;
pub mod datagram;
pub mod delete;
pub mod error;
pub mod idmap;
pub mod link;
pub mod loop_device;
pub mod monitor;
pub mod mount;
pub mod mount_table;
pub mod netns;
pub mod packet;
pub mod process;
pub mod quota;
pub mod rtnl;
pub mod rule;
pub mod shaping;
pub mod socket;
pub mod spawn;
pub mod start;
mod sys;
mod sys_mount;
pub mod sysctl;
pub mod tap;
pub mod traffic;
pub mod virtual_link;
pub mod vxlan;
pub mod wire;
pub mod wireguard;

pub use change::{Change, LinkChange, Route, VethPair, Which};
pub use error::{Error, Result};
pub use link::{Link, Mac, Operstate};
pub use monitor::Monitor;
pub use netns::{Namespace, Presence};
pub use packet::PacketSocket;
pub use rtnl::{Path, Refused, Rtnl};
pub use rustix::io::Errno;
pub use shaping::{Shaping, TokenBucket};
pub use socket::{Drained, Socket};
pub use virtual_link::{VirtualKind, VirtualLink};
pub use vxlan::{FdbEntry, Vxlan, VxlanLink};
pub use wireguard::Wireguard;
