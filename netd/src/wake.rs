//! Waking a thread that waits in poll(2) (eventfd(2)).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use crate::error::{Error, Result};

/// A descriptor that becomes readable by [`Wake::wake`], until [`Wake::clear`].
#[derive(Debug)]
pub(crate) struct Wake {
    fd: OwnedFd,
}

impl Wake {
    pub(crate) fn new() -> Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| Error::socket("make", "an event descriptor")(e.into()))?;
        Ok(Self { fd })
    }

    /// Wakes who waits, or who will.
    pub(crate) fn wake(&self) {
        // Refused only where it is readable for long.
        let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
    }

    /// What has happened so far wakes nobody any more.
    pub(crate) fn clear(&self) {
        let _ = rustix::io::read(&self.fd, &mut [0; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
