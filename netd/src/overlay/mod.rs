//! Overlay networks: one network over many hosts. Which networks there are, who owns which
//! addresses, and which nodes there are, is kept in a store that the nodes share.

mod config;
mod conflist;
pub mod documents;
mod error;
pub mod keys;
pub mod networks;
mod request;
pub mod store;

pub use config::{Engine, EtcdConfig, OverlayConfig};
pub use error::{Error, Result};
pub use request::NetworkRequest;
