//! A descriptor that the runtime watches.

use std::os::fd::{AsFd, AsRawFd};

use tokio::io::unix::AsyncFd;

/// Has it watched for being readable.
#[allow(deprecated, reason = "unsound for types that lie about their descriptor; these own one")]
pub(super) fn watch<T: AsFd + AsRawFd>(owner: T) -> std::io::Result<AsyncFd<T>> {
    AsyncFd::new(owner)
}
