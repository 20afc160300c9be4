//! A network namespace as a value. `run` is the only way into another one; a socket opened
//! inside is used outside.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Error, Result};
use crate::socket::{Protocol, Socket};

/// `f_type` of the file system that namespace files live on (include/uapi/linux/magic.h).
const NSFS_MAGIC: i64 = 0x6e73_6673;
const OWN: &str = "/proc/thread-self/ns/net";

/// An open network namespace.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
    path: PathBuf,
    identity: (u64, u64),
}

/// Whether a path still leads to the namespace that it led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It does.
    Same,
    /// It leads to another namespace: the old one's owner is gone.
    Other,
    /// The path is missing, unreadable or no namespace: nothing is proven.
    Unknown,
}

impl Namespace {
    /// Opens the namespace at a path. A path that is something else is refused.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let namespace = Self::open_unchecked(path.into())?;
        let kind = rustix::fs::fstatfs(&namespace.fd)
            .map_err(|errno| Error::File { op: "statfs", path: namespace.path.clone(), errno })?
            .f_type;
        if kind as i64 != NSFS_MAGIC {
            return Err(Error::NotANamespace { path: namespace.path });
        }
        Ok(namespace)
    }

    /// The calling thread's own.
    pub fn current() -> Result<Self> {
        Self::open_unchecked(OWN.into())
    }

    fn open_unchecked(path: PathBuf) -> Result<Self> {
        let failed = |op| {
            let path = path.clone();
            move |errno| Error::File { op, path, errno }
        };
        let fd = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed("open"))?;
        let stat = rustix::fs::fstat(&fd).map_err(failed("stat"))?;
        Ok(Self { fd, path, identity: (stat.st_dev, stat.st_ino) })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Device and inode: equal for equal namespaces while both are open.
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// The calling thread is in it.
    pub fn is_current(&self) -> bool {
        std::fs::metadata(OWN).is_ok_and(|own| (own.dev(), own.ino()) == self.identity)
    }

    /// Runs a closure inside, on this thread, and comes back whatever it does.
    pub fn run<T>(&self, inside: impl FnOnce() -> T) -> Result<T> {
        let home = Self::current()?;
        if home.identity == self.identity {
            return Ok(inside());
        }
        enter(self)?;
        // Dropped on panic too: a thread left in a container's namespace would do harm there.
        let _back = Return(&home);
        Ok(inside())
    }

    /// Makes a new namespace, bound at a path that must not exist. The thread stays where it is.
    pub fn create_at(path: &Path) -> Result<Self> {
        let file_error = |op| move |errno| Error::File { op, path: path.to_owned(), errno };
        let target =
            File::options().write(true).create_new(true).open(path).map_err(|e| Error::File {
                op: "create",
                path: path.to_owned(),
                errno: Errno::from_io_error(&e).unwrap_or(Errno::IO),
            })?;
        drop(target);
        let path_owned = path.to_owned();
        // In a thread of its own, so that no failure leaves the caller in the new namespace.
        let made = std::thread::scope(|scope| {
            scope
                .spawn(move || {
                    crate::sys::unshare_net()?;
                    rustix::mount::mount_bind(OWN, &path_owned)
                })
                .join()
                .unwrap_or(Err(Errno::FAULT))
        });
        if let Err(errno) = made {
            let _ = std::fs::remove_file(path);
            return Err(file_error("bind new network namespace to")(errno));
        }
        Self::open(path)
    }

    /// Unbinds a path made by `create_at` and removes it. Absence is success.
    pub fn remove_at(path: &Path) -> Result<()> {
        let fail = |op| move |errno| Error::File { op, path: path.to_owned(), errno };
        match rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(errno) => return Err(fail("unmount")(errno)),
        }
        match rustix::fs::unlink(path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(fail("remove")(errno)),
        }
    }

    /// Whether a path still leads to the namespace with this cookie.
    pub fn probe(path: &Path, cookie: Option<u64>) -> Presence {
        let Ok(namespace) = Self::open(path) else {
            return Presence::Unknown;
        };
        let now = namespace.run(|| Socket::open(Protocol::Route).map(|s| s.netns_cookie()));
        match (now, cookie) {
            (Ok(Ok(Some(now))), Some(then)) if now == then => Presence::Same,
            (Ok(Ok(Some(_))), Some(_)) => Presence::Other,
            _ => Presence::Unknown,
        }
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

const TRIES: u32 = 1000;

struct Return<'a>(&'a Namespace);

impl Drop for Return<'_> {
    fn drop(&mut self) {
        // Out of memory may pass.
        if (0..TRIES).all(|_| enter(self.0).is_err()) {
            // Going on in the wrong namespace would change somebody else's network.
            std::process::abort();
        }
    }
}

fn enter(namespace: &Namespace) -> Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(
        |errno| Error::File { op: "enter network namespace", path: namespace.path.clone(), errno },
    )
}
