//! This boot, and other processes as far as their namespaces need it.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::error::{Error, Result};

/// The kernel's id of this boot: a UUID.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).map_err(|e| Error::File {
        op: "read",
        path: PathBuf::from(path),
        errno: Errno::from_io_error(&e).unwrap_or(Errno::IO),
    })?;
    Ok(text.trim().to_owned())
}
