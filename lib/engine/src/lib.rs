//! What every front of cleat can ask for: attach, detach, check and collect attachments, publish
//! ports, set policies, tune interfaces. Works on plans that are complete and valid, keeps a
//! record of each attachment, and undoes what it could not finish. Speaks no protocol.

mod attach;
pub mod bandwidth;
mod bridge;
mod check;
mod collect;
mod container;
pub mod default_route;
mod detach;
mod device;
pub mod error;
pub mod forwarding;
pub mod guard;
pub mod host;
pub mod identity;
pub mod inventory;
pub mod lease;
pub mod loopback;
pub mod macvlan;
pub mod names;
mod node;
pub mod overlay;
pub mod plan;
pub mod policy;
pub mod ports;
mod ptp;
pub mod record;
pub mod repair;
pub mod ruleset;
pub mod service;
mod settings;
pub mod source_routing;
mod status;
mod tap;
pub mod tuning;
mod undo;
mod uninstall;
mod veth;
mod virtual_link;
pub mod vlan_gateway;
pub mod vrf;

pub use attach::{Attached, Interface, attach};
pub use bridge::MAX_PORTS;
pub use check::{Remembered, check};
pub use collect::collect;
pub use detach::{Detach, detach};
pub use error::{Error, Result};
pub use identity::AttachmentId;
pub use node::{Dirs, Node, UNKNOWN_BOOT};
pub use settings::DEFAULT_MARK;
pub use status::status;
pub use uninstall::uninstall;

pub use cleat_ipam as ipam;
pub use cleat_kernel as kernel;
pub use cleat_nft as nft;
pub use cleat_records as records;
