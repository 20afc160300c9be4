//! Writing a file so that nobody ever sees half of it: a temporary file beside it, then rename.
//! A failed write leaves the old file and nothing else.

use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::name::TEMP_PREFIX;
use crate::{Error, Result};

/// How much of a crash a written file must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The program's own crash, not the machine's: no fsync. For tmpfs, gone with the boot.
    Runtime,
    /// Loss of power: file and directory are synced before the write is reported done.
    Disk,
}

/// Replaces the file `path` by one with these bytes and this mode (such as `0o644`).
///
/// A missing parent directory is made with mode 0700. A reader sees the old or the new
/// content; so does everybody after a crash, given [`Durability::Disk`].
///
/// # Errors
/// [`Error::File`] with the step that failed; the old file is then untouched and no temporary
/// file is left.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let (temp, file) = create_temp(dir, mode, durability)?;
    let temp = Temp(Some(temp));
    temp.fill(file, bytes, mode, durability)?;
    temp.rename(path)?;
    match durability {
        Durability::Runtime => Ok(()),
        Durability::Disk => sync_dir(dir),
    }
}

pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| Error::file("sync", dir, e))
}

/// A temporary file that removes itself unless it was renamed.
struct Temp(Option<PathBuf>);

impl Temp {
    fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    fn fill(&self, mut file: File, bytes: &[u8], mode: u32, durability: Durability) -> Result<()> {
        let failed = |op| move |e: std::io::Error| Error::file(op, self.path(), e);
        file.write_all(bytes).map_err(failed("write"))?;
        // A umask narrows what open was asked for; only wider modes than 0600 can suffer.
        if mode & 0o077 != 0 {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))
                .map_err(|e| Error::file("set the mode of", self.path(), e))?;
        }
        if durability == Durability::Disk {
            file.sync_all().map_err(failed("sync"))?;
        }
        Ok(())
    }

    fn rename(mut self, target: &Path) -> Result<()> {
        fs::rename(self.path(), target).map_err(|e| Error::file("replace", target, e))?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Nothing to do about a failure here; a sweep removes it later.
            let _ = fs::remove_file(path);
        }
    }
}

fn create_temp(dir: &Path, mode: u32, durability: Durability) -> Result<(PathBuf, File)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let pid = rustix::process::getpid().as_raw_nonzero();
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut made_dir = false;
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{TEMP_PREFIX}{pid}-{n}"));
        match rustix::fs::open(&path, flags, Mode::from_raw_mode(mode)) {
            Ok(fd) => return Ok((path, File::from(fd))),
            // Process ids repeat between pid namespaces, so a name may be taken.
            Err(Errno::EXIST | Errno::INTR) => {}
            Err(Errno::NOENT) if !made_dir => {
                make_dir(dir, durability)?;
                made_dir = true;
            }
            Err(e) => return Err(Error::file("create", path, e)),
        }
    }
}

/// Makes a directory and its parents, mode 0700.
pub(crate) fn make_dir(dir: &Path, durability: Durability) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| Error::file("make directory", dir, e))?;
    match (durability, dir.parent()) {
        (Durability::Disk, Some(parent)) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn replaces_content_and_mode_and_leaves_one_file() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("sub/deep/a.conflist");
        for (text, mode, durability) in
            [("one", 0o600, Durability::Runtime), ("two", 0o644, Durability::Disk)]
        {
            write_atomic(&path, text.as_bytes(), mode, durability).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_rename_leaves_nothing_behind() {
        let tmp = tempfile::tempdir().unwrap();
        let target = tmp.path().join("taken");
        fs::create_dir(&target).unwrap();
        let e = write_atomic(&target, b"x", 0o600, Durability::Runtime).unwrap_err();
        assert!(e.to_string().starts_with("replace "), "{e}");
        assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 1);
    }
}
