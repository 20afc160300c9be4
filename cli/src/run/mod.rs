//! `cleat run` and what goes with it: programs in network, mount and UTS namespaces of their own
//! on the host's file system. A way to use networks with no runtime, not a container engine:
//! no images, no process or user namespaces, no limits.

pub(crate) mod args;
pub(crate) mod attach;
pub(crate) mod exec;
mod files;
mod free_port;
pub(crate) mod list;
mod mount_request;
mod mounts;
mod process;
pub(crate) mod program;
mod publish;
pub(crate) mod record;
pub(crate) mod remove;
pub(crate) mod request;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod supervise;
