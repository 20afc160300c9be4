//! Locks between processes, by name. flock on one of 256 files, so that a million names leave
//! 256 files and the kernel frees what a killed process held.

use std::fs::File;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::atomic::{Durability, make_dir};
use crate::{Error, Result};

/// A directory of lock files.
///
/// Two names may share a file: hold one lock at a time, or a process waits for itself.
#[derive(Debug, Clone)]
pub struct Locks {
    dir: PathBuf,
}

/// Held until dropped, or until the process ends.
#[derive(Debug)]
#[must_use = "the lock is free again as soon as this is dropped"]
pub struct Lock {
    _file: File,
}

impl Locks {
    /// Locks kept in `dir`. Touches nothing; the directory is made when first needed.
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Waits until the lock of `name` is free, and takes it.
    ///
    /// # Errors
    /// [`Error::File`] when the lock file cannot be opened or locked.
    pub fn acquire(&self, name: &str) -> Result<Lock> {
        let (path, file) = self.file(name)?;
        loop {
            match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::file("lock", path, e)),
            }
        }
    }

    /// Takes the lock of `name` if it is free; `None` when another holds it.
    ///
    /// # Errors
    /// [`Error::File`] when the lock file cannot be opened or locked.
    pub fn try_acquire(&self, name: &str) -> Result<Option<Lock>> {
        let (path, file) = self.file(name)?;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Lock { _file: file })),
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::file("lock", path, e)),
            }
        }
    }

    fn file(&self, name: &str) -> Result<(PathBuf, File)> {
        let path = self.dir.join(format!("{:02x}", stripe(name)));
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let opened = match rustix::fs::open(&path, flags, mode) {
            Err(Errno::NOENT) => {
                make_dir(&self.dir, Durability::Runtime)?;
                rustix::fs::open(&path, flags, mode)
            }
            other => other,
        };
        match opened {
            Ok(fd) => Ok((path, File::from(fd))),
            Err(e) => Err(Error::file("open", path, e)),
        }
    }
}

/// FNV-1a folded to a byte. All processes must agree on it, so it can never change.
fn stripe(name: &str) -> u8 {
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_le_bytes().into_iter().fold(0, |folded, byte| folded ^ byte)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_holder_at_a_time_and_free_after_drop() {
        let tmp = tempfile::tempdir().unwrap();
        let locks = Locks::open(tmp.path().join("made/when/needed"));
        let held = locks.acquire("a").unwrap();
        assert!(locks.try_acquire("a").unwrap().is_none());
        drop(held);
        assert!(locks.try_acquire("a").unwrap().is_some());
    }

    #[test]
    fn threads_take_turns() {
        let tmp = tempfile::tempdir().unwrap();
        let locks = Locks::open(tmp.path());
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _held = locks.acquire("x").unwrap();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn stripes_are_stable_and_spread() {
        assert_eq!(stripe(""), 0xc5);
        let used: BTreeSet<u8> = (0..5000).map(|n| stripe(&format!("net-{n}"))).collect();
        assert_eq!(used.len(), 256);
    }
}
