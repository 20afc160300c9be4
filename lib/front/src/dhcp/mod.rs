//! Addresses that a DHCP server gives: the section of a configuration, and how a plugin asks the
//! daemon that holds the leases. Speaks no DHCP: that is the daemon's.

mod options;
mod protocol;
mod section;

pub use protocol::{
    Answer, Asked, LARGEST, Leased, Question, Refusal, SOCKET_OF_DAEMON, ask, default_socket,
};
pub use section::Section;
