//! Overlay networks as one node knows them: what netd writes for the plugin program, which
//! attaches without netd for as long as the node's blocks have room, and what the plugin asks of
//! netd when they have not. Who owns which block is decided elsewhere.

mod membership;
mod network;
mod want;

pub use membership::{Membership, forget, membership, memberships, note, using};
pub use network::{OverlayNetwork, bridge_name, vxlan_name};
pub use want::{Want, answered, ask, wants};
