//! What every front of cleat can ask for: attach, detach, check and collect attachments, publish
//! ports, set policies, tune interfaces. Works on plans that are complete and valid, keeps a
//! record of each attachment, and undoes what it could not finish. Speaks no protocol.

mod attach;
mod bridge;
mod container;
mod detach;
pub mod error;
pub mod forwarding;
pub mod identity;
pub mod macvlan;
mod node;
pub mod plan;
pub mod ports;
pub mod record;
pub mod ruleset;
mod undo;
mod veth;

pub use attach::{Attached, Interface, attach};
pub use bridge::MAX_PORTS;
pub use detach::{Detach, detach};
pub use error::{Error, Result};
pub use identity::AttachmentId;
pub use node::{Dirs, Fault, Node};
