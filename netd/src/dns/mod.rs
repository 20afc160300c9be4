//! Names, answered: questions come in at the gateways of networks, or inside containers that have
//! none; answers come from the names of this node, or from other servers.

pub mod answerer;
mod backlog;
pub mod forward;
mod framing;
mod inside;
mod kept;
mod listeners;
pub mod question;
mod reply;
mod socket;
mod tcp;
mod udp;
mod zone;

pub use kept::Kept;
pub use listeners::{Changed, Listeners};
pub use zone::full_name;
