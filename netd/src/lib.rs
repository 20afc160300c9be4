//! The node daemon: answers names for containers, repairs what others did to the node, and tells
//! what it sees. Plugins never need it; what it knows it reads from their records.

mod config;
mod control;
mod daemon;
pub mod dhcp;
pub mod dns;
mod error;
mod events;
mod firewalld;
mod links;
mod metrics;
pub mod names;
mod networks;
pub mod overlay;
mod relay;
mod repair;
mod service_manager;
mod unix_socket;
mod wake;

pub use config::{Config, DEFAULT_PATH, DnsConfig, RelayConfig};
#[doc(hidden)]
pub use control::router;
pub use daemon::{Options, run};
pub use error::{Error, Result};
pub use service_manager::Given;
