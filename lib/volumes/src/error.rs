//! What can go wrong with a volume, in words for whoever asked for it.

use std::io;
use std::path::{Path, PathBuf};

/// This crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name cannot be a volume's.
    #[error(
        "volume name {name:?}: expected a letter or digit, then up to {max} letters, digits, `_`, \
         `.` or `-`", max = crate::name::MAX - 1
    )]
    Name {
        /// As given.
        name: String,
    },
    /// No driver has such an option.
    #[error("option {key}: {driver} volumes have no such option; the nearest is {nearest}")]
    UnknownOption {
        /// As given.
        key: String,
        /// Whose options were looked through.
        driver: &'static str,
        /// What may have been meant.
        nearest: String,
    },
    /// An option has a value that it cannot have.
    #[error("option {key}={value}: expected {expected}")]
    OptionValue {
        /// The option.
        key: String,
        /// As given, unless it is a secret.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// An option that is known, and not possible here.
    #[error("option {key}: {reason}")]
    RefusedOption {
        /// The option.
        key: String,
        /// Why, and what to do instead.
        reason: String,
    },
    /// Two options say different things.
    #[error("options {one} and {other} contradict each other")]
    Contradiction {
        /// One of them.
        one: String,
        /// The other.
        other: String,
    },
    /// A driver needs an option.
    #[error("{driver} volumes need the option {key}, such as {example}")]
    MissingOption {
        /// Whose.
        driver: &'static str,
        /// Which.
        key: &'static str,
        /// How it looks.
        example: &'static str,
    },
    /// There is no volume of that name.
    #[error("volume {name}: no such volume")]
    NoVolume {
        /// The name.
        name: String,
    },
    /// It exists, and was made otherwise.
    #[error(
        "volume {name} exists already with other options; remove it first, or use another name"
    )]
    Exists {
        /// The name.
        name: String,
    },
    /// Something is in its place that is no volume.
    #[error("volume {name}: {} is there without a record; move it away", path.display())]
    NoRecord {
        /// The name.
        name: String,
        /// What is there.
        path: PathBuf,
    },
    /// Somebody uses it.
    #[error("volume {name} is in use by {users}")]
    InUse {
        /// The volume.
        name: String,
        /// Mount ids, shortened.
        users: String,
    },
    /// Something is mounted below it that is none of ours.
    #[error("volume {name}: {} is mounted below it; unmount that first", path.display())]
    MountedBelow {
        /// The volume.
        name: String,
        /// Where.
        path: PathBuf,
    },
    /// A publication has this id already, somewhere else.
    #[error("volume {name}: {id} is published at {} already", path.display())]
    PublishedElsewhere {
        /// The volume.
        name: String,
        /// The id.
        id: String,
        /// Where it is.
        path: PathBuf,
    },
    /// Quotas were asked for that the file system does not have.
    #[error(
        "option {key}: {lacks}; make the file system for project quotas, or use backing=image, \
         which limits the size anywhere"
    )]
    NoQuota {
        /// `size` or `inodes`.
        key: &'static str,
        /// What is missing, and how to have it.
        lacks: String,
    },
    /// A path is outside of all roots that bind volumes may be in.
    #[error("device={}: not below an allowed root ({roots})", path.display())]
    OutsideRoots {
        /// The path.
        path: PathBuf,
        /// The roots.
        roots: String,
    },
    /// The host would not see what is mounted here.
    #[error("{reason}: containers would see an empty volume")]
    Invisible {
        /// Why, and what to do.
        reason: String,
    },
    /// Something did not happen in time.
    #[error("{what}: not done within {seconds} s")]
    Timeout {
        /// What.
        what: String,
        /// The time allowed.
        seconds: u64,
    },
    /// A remote file system could not be mounted.
    #[error("mount {source_name}: {text}{}{hint}", if hint.is_empty() { "" } else { "; " })]
    Remote {
        /// Server and export.
        source_name: String,
        /// The kernel's words.
        text: String,
        /// What it usually means.
        hint: String,
        /// The error number, if there was one.
        errno: Option<i32>,
    },
    /// A program that is needed is missing, or failed.
    #[error("{program}: {problem}")]
    Program {
        /// Which.
        program: &'static str,
        /// What happened, or what to install.
        problem: String,
    },
    /// The child that did the work ended without a word.
    #[error("{what}: the process that did it died ({status})")]
    Child {
        /// What it was to do.
        what: String,
        /// How it ended.
        status: String,
    },
    /// What the child said.
    #[error("{0}")]
    Relayed(String),
    /// A file could not be used.
    #[error("{op} {}: {source}", path.display())]
    File {
        /// What was being done.
        op: &'static str,
        /// To which file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused something.
    #[error(transparent)]
    Kernel(#[from] cleat_kernel::Error),
    /// A record could not be used.
    #[error(transparent)]
    Records(#[from] cleat_records::Error),
}

impl Error {
    /// The volume is not there: the only error that means so.
    pub fn is_no_volume(&self) -> bool {
        matches!(self, Self::NoVolume { .. })
    }

    /// The caller asked for something that cannot be, rather than that something failed.
    pub fn is_request(&self) -> bool {
        matches!(
            self,
            Self::Name { .. }
                | Self::UnknownOption { .. }
                | Self::OptionValue { .. }
                | Self::RefusedOption { .. }
                | Self::Contradiction { .. }
                | Self::MissingOption { .. }
                | Self::Exists { .. }
                | Self::OutsideRoots { .. }
        )
    }
}

/// Says which file could not be used.
pub(crate) fn file<'p>(
    op: &'static str,
    path: &'p Path,
) -> impl FnOnce(io::Error) -> Error + use<'p> {
    move |source| Error::File { op, path: path.to_owned(), source }
}
