//! The runtime half: from a network's configuration on disk to plugins run in order.
//!
//! Files, formats and order are libcni's, so that a node may change between the two. It keeps no
//! state but libcni's result cache, and it undoes nothing by itself: after a failed ADD the
//! caller sends DEL.

mod base64;
mod cache;
mod chain;
mod conf_files;
mod conflist;
mod delegate;
mod error;
mod execute;
mod versions;

pub use cache::{Attachment, Cached};
pub use chain::Runtime;
pub use conf_files::conf_files;
pub use conflist::ConfList;
pub use delegate::delegate;
pub use error::RuntimeError;
pub use execute::{execute, find};

#[cfg(test)]
mod tests;
