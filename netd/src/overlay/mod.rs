//! Overlay networks: one network over many hosts.

mod config;

pub use config::{Engine, EtcdConfig, OverlayConfig};
