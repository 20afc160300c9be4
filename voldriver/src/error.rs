//! Why the driver could not start, or could not serve.

use std::path::PathBuf;

/// This crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A volume could not be worked on.
    #[error(transparent)]
    Volumes(#[from] cleat_volumes::Error),
    /// The request cannot be read.
    #[error("{0}")]
    Request(String),
    /// There is no such call.
    #[error("{0}: no such call; there are {list}", list = crate::protocol::METHODS.join(", "))]
    NoMethod(String),
    /// Another one serves the socket.
    #[error("{}: another process serves this socket", .0.display())]
    Taken(PathBuf),
    /// A file or socket could not be used.
    #[error("{op} {}: {source}", path.display())]
    File {
        /// What was being done.
        op: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The program could not set itself up.
    #[error("{op}: {source}")]
    System {
        /// What was being done.
        op: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A call took longer than its caller waits.
    #[error("{what}: not done within {seconds} s; it is given up, or goes on to its own limit")]
    Late {
        /// Which.
        what: String,
        /// How long it had.
        seconds: u64,
    },
}
