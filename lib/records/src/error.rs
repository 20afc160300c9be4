//! What can go wrong with a document, each with the path it happened to.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

/// A failure to read, write, lock or watch a document.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The document was written by a later version of this program.
    #[error(
        "{}: schema {found} is newer than {known}, the newest this program reads: \
         use a version of cleat at least as new as the one that wrote it",
        path.display()
    )]
    NewerSchema {
        /// The document.
        path: PathBuf,
        /// Its schema number.
        found: u32,
        /// The highest number that is understood here.
        known: u32,
    },
    /// The document is not JSON, has no schema number, or lacks a field.
    #[error("{}: malformed document: {source}", path.display())]
    Malformed {
        /// The document.
        path: PathBuf,
        /// Where in the text, and why.
        source: serde_json::Error,
    },
    /// The value to be written is not a JSON object, so it has no place for a schema number.
    #[error("{}: a document must be a JSON object", path.display())]
    NotAnObject {
        /// Where it was to be written.
        path: PathBuf,
    },
    /// The name cannot be a file of the store.
    #[error(
        "document name {name:?} is invalid: it must have 1 to {max} bytes, \
         no '/', no control characters and no leading dot"
    )]
    Name {
        /// The name as given.
        name: String,
        /// The longest name allowed, in bytes.
        max: usize,
    },
    /// The kernel refused an operation on a file.
    #[error("{op} {}: {source}", path.display())]
    File {
        /// What was being done, such as `open` or `rename`.
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn file(
        op: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::File { op, path: path.into(), source: source.into() }
    }

    /// The file system has no room for another byte or file (ENOSPC, EDQUOT).
    pub fn is_full(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOSPC | Errno::DQUOT))
    }

    /// The text on disk cannot be used by this program: newer, or damaged.
    /// [`Store::set_aside`](crate::Store::set_aside) is the way on.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::NewerSchema { .. } | Self::Malformed { .. })
    }

    fn errno(&self) -> Option<Errno> {
        match self {
            Self::File { source, .. } => Errno::from_io_error(source),
            _ => None,
        }
    }
}
