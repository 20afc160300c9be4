//! Writing a file so that nobody ever sees half of it: a temporary file beside it, then rename.
//! A failed write leaves the old file and nothing else.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
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
/// content; so does everybody after a crash, given [`Durability::Disk`]. Of two writers at once
/// one is the last.
///
/// # Errors
/// [`Error::File`] with the step that failed; the old file is then untouched and no temporary
/// file is left.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let temp = temp_path(path);
    match open_unnamed(dir, mode, durability)? {
        Some(file) => {
            fill(&file, &temp, bytes, mode, durability)?;
            name_and_rename(&file, &temp, path)?;
        }
        None => {
            let (temp, file) = create_named(&temp, mode)?;
            let written = fill(&file, &temp, bytes, mode, durability);
            let written = written.and_then(|()| {
                fs::rename(&temp, path).map_err(|e| Error::file("replace", path, e))
            });
            if written.is_err() {
                let _ = fs::remove_file(&temp);
            }
            written?;
        }
    }
    match durability {
        Durability::Runtime => Ok(()),
        Durability::Disk => sync_dir(dir),
    }
}

/// Reads a small file: most take one system call beside opening and closing.
pub(crate) fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    const STEP: usize = 4096;
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    loop {
        let held = bytes.len();
        bytes.resize(held + STEP, 0);
        let got = file.read(bytes.get_mut(held..).unwrap_or_default())?;
        bytes.truncate(held + got);
        // A regular file gives less than asked only at its end.
        if got < STEP {
            return Ok(bytes);
        }
    }
}

/// The name that a new file bears for a moment: one for each file, so that what a killed
/// process left is found by the next writer and by whoever removes the file.
pub(crate) fn temp_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(TEMP_PREFIX);
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| Error::file("sync", dir, e))
}

/// A file without a name: gone by itself if this process is killed. `None` where the file system
/// has none.
fn open_unnamed(dir: &Path, mode: u32, durability: Durability) -> Result<Option<File>> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let open = || rustix::fs::open(dir, flags, Mode::from_raw_mode(mode));
    let opened = match open() {
        Err(Errno::NOENT) => {
            make_dir(dir, durability)?;
            open()
        }
        other => other,
    };
    match opened {
        Ok(fd) => Ok(Some(File::from(fd))),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Ok(None),
        Err(e) => Err(Error::file("create a file in", dir, e)),
    }
}

/// Whatever bears the temporary name is whole, whoever named it; so it may be replaced.
fn name_and_rename(file: &File, temp: &Path, path: &Path) -> Result<()> {
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    // Where there is no such file yet, it gets its name at once.
    match rustix::fs::linkat(CWD, &unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => return Ok(()),
        Err(Errno::EXIST) => {}
        Err(e) => return Err(Error::file("create", path, e)),
    }
    let mut named = false;
    let mut last = Errno::EXIST;
    for _ in 0..TRIES {
        match rustix::fs::linkat(CWD, &unnamed, CWD, temp, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => named = true,
            Err(Errno::EXIST) => {
                let _ = fs::remove_file(temp);
                continue;
            }
            // A later writer renamed it into place and replaced it, or cleared it away.
            Err(Errno::NOENT) if named => return Ok(()),
            Err(e) => return Err(Error::file("create", temp, e)),
        }
        match rustix::fs::rename(temp, path) {
            Ok(()) => return Ok(()),
            // Another writer took the name away.
            Err(Errno::NOENT) => last = Errno::NOENT,
            Err(e) => {
                let _ = fs::remove_file(temp);
                return Err(Error::file("replace", path, e));
            }
        }
    }
    Err(Error::file("replace", path, last))
}

fn fill(
    mut file: &File,
    path: &Path,
    bytes: &[u8],
    mode: u32,
    durability: Durability,
) -> Result<()> {
    let failed = |op| move |e: std::io::Error| Error::file(op, path, e);
    file.write_all(bytes).map_err(failed("write"))?;
    // A umask narrows what open was asked for; only wider modes than 0600 can suffer.
    if mode & 0o077 != 0 {
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode))
            .map_err(|e| Error::file("set the mode of", path, e))?;
    }
    if durability == Durability::Disk {
        file.sync_all().map_err(failed("sync"))?;
    }
    Ok(())
}

/// For file systems without unnamed files: a name of this process's own.
fn create_named(temp: &Path, mode: u32) -> Result<(PathBuf, File)> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut last = Errno::EXIST;
    for n in 0..TRIES {
        let mut name = temp.as_os_str().to_owned();
        name.push(format!("-{}-{n}", rustix::process::getpid().as_raw_nonzero()));
        let path = PathBuf::from(name);
        match rustix::fs::open(&path, flags, Mode::from_raw_mode(mode)) {
            Ok(fd) => return Ok((path, File::from(fd))),
            // Process ids repeat between pid namespaces, so a name may be taken.
            Err(e @ (Errno::EXIST | Errno::INTR)) => last = e,
            Err(e) => return Err(Error::file("create", path, e)),
        }
    }
    Err(Error::file("create", temp, last))
}

/// More than writers of one file will ever meet.
const TRIES: u32 = 1000;

/// Makes a directory and its parents, mode 0700; one that is there stays as it is.
///
/// # Errors
/// [`Error::File`] naming the directory.
pub fn make_dir(dir: &Path, durability: Durability) -> Result<()> {
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
