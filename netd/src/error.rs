//! Why the daemon could not start, or could not do a part of its work.

use std::path::{Path, PathBuf};

/// This crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine could not.
    #[error(transparent)]
    Engine(#[from] cleat_engine::Error),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] cleat_engine::kernel::Error),
    /// The overlay's control plane could not.
    #[error(transparent)]
    Overlay(#[from] crate::overlay::Error),
    /// A record could not be read, written or watched.
    #[error(transparent)]
    Records(#[from] cleat_engine::records::Error),
    /// Something with a file failed.
    #[error("{doing} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Something with a socket failed.
    #[error("{doing} {address}: {source}")]
    Socket {
        /// What was tried.
        doing: &'static str,
        /// The address, or what the socket is for.
        address: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The configuration is wrong.
    #[error("{path}: {problem}", path = path.display())]
    Config {
        /// The configuration's file.
        path: PathBuf,
        /// The field, its value and what would be right.
        problem: String,
    },
    /// firewalld, or the system bus, refused or did not answer.
    #[error("firewalld: {doing}: {source}")]
    Firewalld {
        /// What was tried.
        doing: String,
        /// What it said.
        source: Box<zbus::Error>,
    },
    /// A conflist's name is taken.
    #[error("{}: holds {holder} network, so no conflist of the overlay network of this name is \
             written; move it away", file.display())]
    Conflist {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        holder: String,
    },
    /// The node's keys are being changed.
    #[error("the keys of this node are being changed already; wait until that is done")]
    KeysChange,
    /// Another netd serves this node.
    #[error("another netd is in charge of {run}; stop it first", run = run.display())]
    InCharge {
        /// The run directory.
        run: PathBuf,
    },
}

impl Error {
    /// For `map_err` on a file's operation.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }

    /// For `map_err` on a socket's operation.
    pub fn socket(
        doing: &'static str,
        address: impl std::fmt::Display,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let address = address.to_string();
        move |source| Self::Socket { doing, address, source }
    }
}
