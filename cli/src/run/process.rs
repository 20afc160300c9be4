//! A process as it is known across its own end: an id alone is used again.

use cleat_engine::kernel::spawn;
use serde::{Deserialize, Serialize};

/// A process id with the moment when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Clock ticks since boot.
    began: u64,
}

impl Process {
    /// A process that runs now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        spawn::began(pid).map(|began| Self { pid, began })
    }

    /// It still runs, and is no other.
    pub(crate) fn is_alive(self) -> bool {
        spawn::began(self.pid) == Some(self.began)
    }
}
