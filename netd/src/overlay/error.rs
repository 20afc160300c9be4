//! Why a part of the overlay's control plane could not do what it was asked.

use std::path::PathBuf;

/// The control plane's result.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store did not answer, or would not.
    #[error("overlay store: {doing}: {problem}{}", if *.may_have_happened { "; whether it was done is not known" } else { "" })]
    Store {
        /// What was asked of it.
        doing: &'static str,
        /// What it, or the connection, said.
        problem: String,
        /// It may have been done all the same: the answer got lost.
        may_have_happened: bool,
    },
    /// A network cannot be as it was asked for.
    #[error("overlay network {network:?}: {field}: {problem}")]
    Network {
        /// Its name.
        network: String,
        /// The field.
        field: &'static str,
        /// Its value, and what would be right.
        problem: String,
    },
    /// There is no such thing in the store.
    #[error("overlay: there is no {kind} {name:?}; {hint}")]
    Missing {
        /// What kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What to do.
        hint: &'static str,
    },
    /// The thing is used, and so it stays.
    #[error("overlay network {network:?} is in use: {users}")]
    InUse {
        /// The network.
        network: String,
        /// By whom, and what to do.
        users: String,
    },
    /// All of a network's addresses belong to somebody.
    #[error(
        "overlay network {network:?}: no block is free in {subnet}; forget nodes that are gone (cleat node forget), or make a network with a larger subnet or smaller blocks"
    )]
    Full {
        /// The network.
        network: String,
        /// The subnet.
        subnet: ipnet::IpNet,
    },
    /// An address cannot be had.
    #[error("overlay network {network:?}: address {address}: {problem}")]
    Address {
        /// The network.
        network: String,
        /// The address.
        address: std::net::IpAddr,
        /// Why, and what to do.
        problem: String,
    },
    /// This node may not allocate.
    #[error("overlay: this node does not allocate: {reason}")]
    Halted {
        /// Why, and what to do.
        reason: String,
    },
    /// Others were faster every time.
    #[error("overlay: {doing}: other nodes were faster {tries} times; try again")]
    Lost {
        /// What was tried.
        doing: &'static str,
        /// How often.
        tries: u32,
    },
    /// What the store holds cannot be understood.
    #[error("overlay store: key {key:?}: {problem}")]
    Document {
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A record could not be read or written.
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
}

impl Error {
    /// The change may be in the store though its outcome was not told. All other errors mean that
    /// nothing was changed.
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::Store { may_have_happened: true, .. })
    }

    /// The store could not be asked: later it may.
    pub fn is_store(&self) -> bool {
        matches!(self, Self::Store { .. })
    }

    /// A question that changes nothing, or a change that surely was not made.
    pub(crate) fn unanswered(doing: &'static str, problem: impl std::fmt::Display) -> Self {
        Self::Store { doing, problem: problem.to_string(), may_have_happened: false }
    }

    /// A change whose outcome is not known.
    pub(crate) fn unknown(doing: &'static str, problem: impl std::fmt::Display) -> Self {
        Self::Store { doing, problem: problem.to_string(), may_have_happened: true }
    }
}
