//! Volumes: named storage that containers share, and each of its uses counted.
//!
//! A volume is staged once, which mounts it, and published as often as asked, which binds it
//! where somebody wants it; Docker's Mount is a stage whose path is handed out. What is on disk
//! is what is true: no cache, no daemon needed, so that several programs can work on the same
//! volumes at once. Nothing here is asynchronous, and nothing that may hang is done in this
//! process: that is a job for a child that can be killed.

mod child;
pub mod copy;
mod drivers;
mod error;
mod figures;
mod folders;
mod health;
mod holders;
mod mounting;
mod name;
mod options;
mod publish;
mod reconcile;
mod record;
mod remove;
mod spec;
mod volumes;

pub use child::{HELPER, run_helper};
pub use cleat_kernel as kernel;
pub use cleat_records as records;
pub use error::{Error, Result};
pub use figures::Figures;
pub use health::Health;
pub use mounting::Deadline;
pub use name::VolumeName;
pub use options::{masked, nearest, parse};
pub use publish::{Published, Target};
pub use reconcile::{Finding, Settled};
pub use record::{Uses, VolumeRecord};
pub use remove::{Freed, size_of};
pub use spec::{
    Access, Backing, Bind, Driver, Idmap, IdmapRange, Locking, Named, Nfs, NfsVersion, Spec, Tmpfs,
};
pub use volumes::{Order, Settings, Volume, Volumes};
