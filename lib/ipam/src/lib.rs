//! Pools and leases in host-local's on-disk format.
//!
//! A network's leases are one directory with one file per address, as the reference host-local
//! plugin keeps it, so both can serve a node at once. What makes it fast is beside it: an index
//! from owner to addresses in the run directory, which may be lost at any time.
//!
//! A lease ends with its owner's release or with the boot. What others wrote is never taken
//! away by time, only on proof that its owner is gone. This crate knows nothing of containers,
//! links or the CNI protocol.

mod directory;
mod error;
mod file;
mod index;
mod lease;
mod pool;
mod proof;
mod range;
mod set;

pub use directory::Directory;
pub use error::{Error, Result};
pub use lease::{Held, Kind, Lease, Owner};
pub use pool::{Pool, PoolConfig, Usage};
pub use proof::ResultCache;
pub use range::Range;
