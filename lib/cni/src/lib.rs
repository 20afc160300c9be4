//! The CNI protocol: the plugin half and the runtime half.

mod error;
pub mod json;
mod result;
mod version;

pub use error::Error;
pub use result::{CniResult, Dns, Interface, IpConfig, Route};
pub use version::{SpecVersion, UnknownVersion};
