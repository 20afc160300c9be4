//! This boot, and other processes as far as their namespaces need it.

use std::path::Path;

use crate::error::Result;
use crate::sysctl;

/// The kernel's id of this boot: a UUID.
pub fn boot_id() -> Result<String> {
    sysctl::read_line(Path::new("/proc/sys/kernel/random/boot_id"))
}
