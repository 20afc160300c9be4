//! How many there are, were, and were refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
struct Counts {
    active: AtomicU64,
    total: AtomicU64,
    refused: AtomicU64,
}

/// A count of connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count {
    counts: Arc<Counts>,
}

/// One that is counted, until dropped.
#[derive(Debug)]
pub(super) struct Counted {
    counts: Arc<Counts>,
}

impl Count {
    /// One more; `None` where there are so many.
    pub(super) fn enter(&self, most: u64) -> Option<Counted> {
        if self.active() >= most {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.counts.active.fetch_add(1, Ordering::Relaxed);
        self.counts.total.fetch_add(1, Ordering::Relaxed);
        Some(Counted { counts: self.counts.clone() })
    }

    /// Now.
    pub(crate) fn active(&self) -> u64 {
        self.counts.active.load(Ordering::Relaxed)
    }

    /// Since the start.
    pub(crate) fn total(&self) -> u64 {
        self.counts.total.load(Ordering::Relaxed)
    }

    /// Refused since the start.
    pub(crate) fn refused(&self) -> u64 {
        self.counts.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.active.fetch_sub(1, Ordering::Relaxed);
    }
}
