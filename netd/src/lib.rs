//! The node daemon: answers names for containers, repairs what others did to the node, and tells
//! what it sees. Plugins never need it; what it knows it reads from their records.

mod config;
mod daemon;
pub mod dns;
mod error;
mod events;
mod links;
mod metrics;
pub mod names;
mod networks;
mod repair;
mod wake;

pub use config::{Config, DEFAULT_PATH, DnsConfig};
pub use daemon::{Options, run};
pub use error::{Error, Result};
