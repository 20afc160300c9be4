//! Whether a path is the namespace that this program runs in.
//!
//! A plugin that took its own namespace for the container's would rename the host's interfaces.

use std::path::Path;

/// The calling thread's, which may differ from the process's.
const OWN: &str = "/proc/thread-self/ns/net";

/// False as well for a path that cannot be read: on DEL the namespace may be gone.
pub(super) fn is_own(path: &Path) -> bool {
    let (Ok(own), Ok(other)) = (rustix::fs::stat(OWN), rustix::fs::stat(path)) else {
        return false;
    };
    (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)
}
