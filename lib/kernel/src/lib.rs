//! What cleat asks of the kernel: netlink sockets and typed requests, network namespaces,
//! sysctl, conntrack, mounts. The only crate with unsafe code, the only one that enters a
//! namespace. It starts no program and knows nothing of networks or containers.
#![allow(unsafe_code)]

pub mod error;
pub mod socket;
mod sys;
pub mod wire;

pub use error::{Error, Result};
