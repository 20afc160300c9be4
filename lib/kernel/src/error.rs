//! What went wrong, in the kernel's own words.

use std::path::PathBuf;

use rustix::io::Errno;

/// This crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed request to the kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a request. `text` is its extended-ack message where it gave one, or
    /// the errno's text.
    #[error("{op} {object}: {text}")]
    Kernel {
        /// The verb, as in `add address`.
        op: &'static str,
        /// What it was about, as in `10.1.0.2/24 on eth0`.
        object: String,
        /// The error number.
        errno: Errno,
        /// The kernel's own text.
        text: String,
    },
    /// A system call on a file failed.
    #[error("{op} {path}: {errno}", path = path.display())]
    File {
        /// The verb.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// The error number.
        errno: Errno,
    },
    /// The kernel answered something that its interface does not allow.
    #[error("{op}: malformed answer from the kernel: {what}")]
    Malformed {
        /// The verb.
        op: &'static str,
        /// What was wrong with it.
        what: &'static str,
    },
    /// A dump was interrupted by changes more often than is worth retrying.
    #[error("{op}: interrupted by changes {tries} times")]
    Interrupted {
        /// The verb.
        op: &'static str,
        /// How often it was tried.
        tries: u32,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {millis} ms")]
    Timeout {
        /// The awaited event.
        what: String,
        /// The time allowed, in milliseconds.
        millis: u64,
    },
    /// A path that should name a network namespace names something else.
    #[error("{path} is not a network namespace", path = path.display())]
    NotANamespace {
        /// The path.
        path: PathBuf,
    },
}

impl Error {
    /// A refused request without a text of the kernel's own.
    pub fn kernel(op: &'static str, object: impl Into<String>, errno: Errno) -> Self {
        Self::Kernel { op, object: object.into(), errno, text: describe(errno) }
    }

    /// The same error, said of this object.
    #[must_use]
    pub fn about(mut self, verb: &'static str, what: impl Into<String>) -> Self {
        if let Self::Kernel { op, object, .. } = &mut self {
            *op = verb;
            *object = what.into();
        }
        self
    }

    /// The error number, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Kernel { errno, .. } | Self::File { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// The thing to be made is there already.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(Errno::EXIST)
    }

    /// The thing asked about is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOENT | Errno::NODEV | Errno::SRCH | Errno::NXIO))
    }

    /// The caller may not do this.
    pub fn is_permission(&self) -> bool {
        matches!(self.errno(), Some(Errno::PERM | Errno::ACCESS | Errno::ROFS))
    }

    /// This kernel cannot do this.
    pub fn is_unsupported(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT | Errno::NOSYS)
        )
    }
}

/// The errno's text without the number that the standard library appends.
pub(crate) fn describe(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
