//! Locks with a file of their own, for what is held so long that no other name may wait for it.
//! The file goes with what it stands for.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::atomic::{Durability, make_dir};
use crate::{Error, Result};

/// Held until dropped, or until the process ends.
#[derive(Debug)]
#[must_use = "the lock is free again as soon as this is dropped"]
pub struct OwnLock {
    file: File,
    path: PathBuf,
}

impl OwnLock {
    /// Waits until the lock is free, and takes it.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be opened or locked.
    pub fn acquire(path: &Path) -> Result<Self> {
        loop {
            let file = open(path)?;
            loop {
                match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
                    Ok(()) => break,
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(Error::file("lock", path, e)),
                }
            }
            if is_at(&file, path)? {
                return Ok(Self { file, path: path.to_owned() });
            }
        }
    }

    /// Removes the file: who waits for it takes a new one.
    pub fn forget(self) {
        if is_at(&self.file, &self.path).unwrap_or(false) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn open(path: &Path) -> Result<File> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::from_raw_mode(0o600));
    let opened = match (open(), path.parent()) {
        (Err(Errno::NOENT), Some(parent)) => {
            make_dir(parent, Durability::Runtime)?;
            open()
        }
        (opened, _) => opened,
    };
    opened.map(File::from).map_err(|e| Error::file("open", path, e))
}

/// The path still leads to the file: nobody has removed it while we waited.
fn is_at(file: &File, path: &Path) -> Result<bool> {
    let own = file.metadata().map_err(|e| Error::file("stat", path, e))?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((own.dev(), own.ino()) == (there.dev(), there.ino())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::file("stat", path, e)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_holder_at_a_time_though_the_file_comes_and_goes() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("locks/a");
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for turn in 0..8 {
                let (inside, path) = (&inside, &path);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let lock = OwnLock::acquire(path).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        if turn % 2 == 0 {
                            lock.forget();
                        }
                    }
                });
            }
        });
    }
}
