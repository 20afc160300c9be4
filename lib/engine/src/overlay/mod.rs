//! Overlay networks as one node knows them: what netd writes for the plugin program, which
//! attaches without netd for as long as the node's blocks have room, and what the plugin asks of
//! netd when they have not. Who owns which block is decided elsewhere.

mod devices;
mod enlist;
mod lease;
mod membership;
mod network;
mod peers;
pub mod segment;
mod underlay;
mod want;
pub mod wireguard;

pub use lease::{OverlayLessor, joined};
pub use membership::{Membership, forget, membership, memberships, note, using};
pub use network::{BLOCK_V4, BLOCK_V6, OverlayNetwork, PORT, bridge_name, vxlan_name};
pub use segment::{Applied, Peer, Segment, vtep_mac};
pub use underlay::overhead;
pub use want::{Want, answered, ask, wants};
