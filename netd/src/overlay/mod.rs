//! Overlay networks: the control plane. Which networks there are, who owns which addresses, and
//! which nodes there are, kept in a store that the nodes share.

mod error;
pub mod store;

pub use error::{Error, Result};
