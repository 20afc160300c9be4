//! The CNI protocol: the plugin half and the runtime half.

mod command;
mod error;
pub mod json;
pub mod name;
mod plugin;
mod result;
mod runtime;
mod version;

pub use command::{Command, UnknownCommand};
pub use error::Error;
pub use plugin::{CniArgs, Io, Ipam, NetConf, Plugin, Request, ValidAttachment, dispatch, run};
pub use result::{CniResult, Dns, Interface, IpConfig, Route};
pub use runtime::{
    Attachment, Cached, ConfList, Runtime, RuntimeError, conf_files, delegate, execute, find,
};
pub use version::{SpecVersion, UnknownVersion};
