//! JSON documents on disk: atomic replace, lock, list, watch, schema version.
//!
//! A document is one file that `cat` can read, with its schema number as the first key. It is
//! replaced by rename, so a reader sees the old or the new one and never half of either.
//! Documents of a newer schema are refused on reading, never guessed at. There is no database,
//! no cache and no index here: what is on disk is what is true.

mod atomic;
mod error;
mod lock;
mod name;
mod own_lock;
mod store;
pub mod time;
mod watch;

pub use atomic::{Durability, make_dir, write_atomic};
pub use error::{Error, Result};
pub use lock::{Lock, Locks};
pub use own_lock::OwnLock;
pub use store::{Document, Store};
pub use watch::{Change, Watch};
