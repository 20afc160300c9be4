//! voldriver: Docker's volume plugin protocol, on a socket or once on standard input, over
//! cleat's volumes. A front: it translates and decides nothing. The same handlers serve all ways
//! in, and nothing is kept in memory that is not on disk.

pub mod args;
mod calls;
mod error;
mod flex;
mod metrics;
mod once;
mod protocol;
mod refresh;
mod serve;
mod socket;
mod status;

pub use calls::{Calls, Reply};
pub use error::{Error, Result};
pub use flex::run as flex;
pub use once::run as once;
pub use protocol::Request;
pub use serve::run as serve;
