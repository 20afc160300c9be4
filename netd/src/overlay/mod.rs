//! Overlay networks: one network over many hosts. Which networks there are, who owns which
//! addresses, and which nodes there are, is kept in a store that the nodes share.

pub mod claims;
mod config;
mod conflist;
pub mod documents;
pub mod epoch;
mod error;
pub mod identity;
pub mod keys;
pub(crate) mod member;
pub mod networks;
mod pause;
mod plane;
mod request;
pub mod session;
mod start;
pub mod store;
pub mod view;
pub mod wireguard;

pub use config::{Engine, EtcdConfig, OverlayConfig};
pub(crate) use conflist::path as conflist_path;
pub use error::{Error, Result};
pub(crate) use member::{Request, Requests};
pub use plane::{ControlPlane, NodeReport, Running, Setup, open_store};
pub use request::NetworkRequest;
pub(crate) use start::start;
