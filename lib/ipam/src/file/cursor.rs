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

/// In place, so that the directory's time changes only with the first write; and never by way
/// of an empty file, which ext4 would flush to disk at close.
pub(crate) fn write(dir: &Path, set: usize, address: IpAddr) {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(fd) = rustix::fs::open(path(dir, set), flags, Mode::from_raw_mode(0o600)) {
        let text = address.to_string();
        let mut file = File::from(fd);
        if file.write_all(text.as_bytes()).is_ok() {
            let _ = file.set_len(text.len() as u64);
        }
    }
}

fn path(dir: &Path, set: usize) -> PathBuf {
    dir.join(format!("last_reserved_ip.{set}"))
}
