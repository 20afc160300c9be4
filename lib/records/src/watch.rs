//! Being told when the files of a directory change (inotify(7)).
//! An event is queued before the rename or unlink that caused it returns, so draining after
//! one's own write sees it. Subdirectories are not watched.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::name::TEMP_PREFIX;
use crate::{Error, Result};

/// What happened in a watched directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The file of this name is new or has new content.
    Changed(String),
    /// The file of this name is gone.
    Removed(String),
    /// Events were lost, or the directory itself went or came back: look at all of it again.
    Rescan,
}

/// A watched directory. Readable (poll) when [`Watch::drain`] has something to say.
#[derive(Debug)]
pub struct Watch {
    dir: PathBuf,
    inotify: OwnedFd,
    /// The kernel's number of the watch; none while the directory is away.
    watch: Option<i32>,
}

impl Watch {
    /// Starts to watch the existing directory `dir`. List it after this, not before, or what
    /// happens in between is missed.
    ///
    /// # Errors
    /// [`Error::File`]: the directory is missing, or the user's limit of inotify instances or
    /// watches (`fs.inotify.max_user_*`) is reached.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .map_err(|e| Error::file(limited(e, "open inotify for"), &dir, e))?;
        let watch =
            attach(&inotify, &dir).map_err(|e| Error::file(limited(e, "watch"), &dir, e))?;
        Ok(Self { dir, inotify, watch: Some(watch) })
    }

    /// Everything since the last call, in order; never waits.
    ///
    /// When the directory was removed or renamed, this says [`Change::Rescan`], and again once
    /// a directory is back under the same path. Its coming back does not wake a poll: call
    /// this now and then.
    ///
    /// # Errors
    /// [`Error::File`] if the kernel's queue cannot be read.
    pub fn drain(&mut self) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        if self.read(&mut changes)? {
            if let Some(watch) = self.watch.take() {
                // A renamed directory would go on reporting; a removed one has no watch left.
                let _ = inotify::remove_watch(&self.inotify, watch);
            }
            changes = vec![Change::Rescan];
        }
        if self.watch.is_none()
            && let Ok(watch) = attach(&self.inotify, &self.dir)
        {
            self.watch = Some(watch);
            changes = vec![Change::Rescan];
        }
        Ok(changes)
    }

    /// Waits until there is something to say, for this long at the most, and says it.
    ///
    /// # Errors
    /// [`Error::File`] if the kernel's queue cannot be waited for or read.
    pub fn wait(&mut self, at_most: Duration) -> Result<Vec<Change>> {
        let timeout = Timespec::try_from(at_most).ok();
        match poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => self.drain(),
            Err(e) => Err(Error::file("wait for", &self.dir, e)),
        }
    }

    /// The directory as given.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends events; true if the directory is no longer watched.
    fn read(&self, changes: &mut Vec<Change>) -> Result<bool> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 8192];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut detached = false;
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => return Ok(detached),
                Err(Errno::INTR) => continue,
                Err(e) => return Err(Error::file("read events of", &self.dir, e)),
            };
            let kind = event.events();
            if kind.contains(ReadFlags::QUEUE_OVERFLOW) {
                changes.clear();
                changes.push(Change::Rescan);
            }
            // Late news of an earlier directory under this path.
            if Some(event.wd()) != self.watch {
                continue;
            }
            detached |= kind.intersects(ReadFlags::IGNORED | ReadFlags::MOVE_SELF);
            let Some(name) = event.file_name().and_then(|n| n.to_str().ok()) else { continue };
            // The kernel tells of files without a name (O_TMPFILE) by their inode, as `#123`.
            let unnamed =
                name.strip_prefix('#').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
            if unnamed || name.starts_with(TEMP_PREFIX) || kind.contains(ReadFlags::ISDIR) {
                continue;
            }
            changes.push(if kind.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
                Change::Removed(name.to_owned())
            } else {
                Change::Changed(name.to_owned())
            });
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn attach(inotify: &OwnedFd, dir: &Path) -> std::result::Result<i32, Errno> {
    // CREATE for files that are linked into place; CLOSE_WRITE for what others write in place.
    let flags = WatchFlags::CREATE
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR;
    inotify::add_watch(inotify, dir, flags)
}

/// The kernel's words for a limit that is reached name neither the limit nor what would help.
fn limited(errno: Errno, op: &'static str) -> &'static str {
    match errno {
        Errno::MFILE => "open inotify (fs.inotify.max_user_instances may be too low) for",
        Errno::NOSPC => "watch (fs.inotify.max_user_watches may be too low)",
        _ => op,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{Durability, write_atomic};

    fn changed(name: &str) -> Change {
        Change::Changed(name.to_owned())
    }

    fn removed(name: &str) -> Change {
        Change::Removed(name.to_owned())
    }

    #[test]
    fn replace_link_and_removal_are_seen_and_temporary_files_are_not() {
        let tmp = tempfile::tempdir().unwrap();
        let mut watch = Watch::open(tmp.path()).unwrap();
        assert_eq!(watch.drain().unwrap(), []);
        let path = tmp.path().join("a.json");
        write_atomic(&path, b"x", 0o600, Durability::Runtime).unwrap();
        assert_eq!(watch.drain().unwrap(), [changed("a.json")]);
        fs::hard_link(&path, tmp.path().join("b")).unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(tmp.path().join("dir")).unwrap();
        assert_eq!(watch.drain().unwrap(), [changed("b"), removed("a.json")]);
    }

    #[test]
    fn a_directory_that_goes_and_comes_back_asks_for_a_rescan() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("d");
        fs::create_dir(&dir).unwrap();
        let mut watch = Watch::open(&dir).unwrap();
        fs::remove_dir(&dir).unwrap();
        assert_eq!(watch.drain().unwrap(), [Change::Rescan]);
        assert_eq!(watch.drain().unwrap(), []);
        fs::create_dir(&dir).unwrap();
        assert_eq!(watch.drain().unwrap(), [Change::Rescan]);
        fs::File::create(dir.join("x")).unwrap();
        assert!(watch.drain().unwrap().contains(&changed("x")));
        fs::rename(&dir, tmp.path().join("elsewhere")).unwrap();
        assert_eq!(watch.drain().unwrap(), [Change::Rescan]);
        fs::File::create(tmp.path().join("elsewhere/y")).unwrap();
        assert_eq!(watch.drain().unwrap(), []);
    }

    #[test]
    fn watching_what_is_not_there_is_an_error() {
        let tmp = tempfile::tempdir().unwrap();
        let e = Watch::open(tmp.path().join("none")).unwrap_err();
        assert!(e.to_string().starts_with("watch "), "{e}");
    }
}
