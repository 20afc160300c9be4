//! Where round robin goes on: `last_reserved_ip.<set>`, shared with host-local.
//! A hint only: a cursor that is lost or cannot be written costs probes, not correctness.

use std::fs::{self, File};
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

pub(crate) fn read(dir: &Path, set: usize) -> Option<IpAddr> {
    fs::read_to_string(path(dir, set)).ok()?.trim().parse().ok()
}

/// In place, so that the directory's time changes only with the first write.
pub(crate) fn write(dir: &Path, set: usize, address: IpAddr) {
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(fd) = rustix::fs::open(path(dir, set), flags, Mode::from_raw_mode(0o600)) {
        let _ = File::from(fd).write_all(address.to_string().as_bytes());
    }
}

fn path(dir: &Path, set: usize) -> PathBuf {
    dir.join(format!("last_reserved_ip.{set}"))
}
