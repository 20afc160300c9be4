//! Overlay networks: one network over many hosts.

mod config;
mod conflist;
pub mod wireguard;

pub use config::{Engine, EtcdConfig, OverlayConfig};
