//! The interface that a lease is for, in the container's namespace. Nothing of it is kept open
//! between two exchanges: an open namespace would outlive its container.

use std::path::{Path, PathBuf};

use cleat_engine::kernel::{Mac, Namespace, Presence, Rtnl};

use super::failure::Failure;

/// It was found.
pub(super) struct Link {
    pub(super) netns: Namespace,
    pub(super) cookie: Option<u64>,
    pub(super) index: u32,
    pub(super) mac: Mac,
    /// Answers to its address reach it only by broadcast: it shares its link address.
    pub(super) shared: bool,
}

/// It was not.
pub(super) enum NotFound {
    /// It is proven to be gone, or its namespace is.
    Gone(String),
    /// It cannot be told.
    Unknown(String),
}

impl Link {
    /// Looks for it; in the namespace with this number, where one is known.
    pub(super) fn find(path: &Path, cookie: Option<u64>, name: &str) -> Result<Self, NotFound> {
        let unknown = |error: cleat_engine::kernel::Error| NotFound::Unknown(error.to_string());
        if cookie.is_some() && Namespace::probe(path, cookie) == Presence::Other {
            return Err(NotFound::Gone(format!("{} is another namespace now", path.display())));
        }
        let netns = Namespace::open(path).map_err(unknown)?;
        if netns.is_current() {
            let text = format!("{} is the host's own namespace", path.display());
            return Err(NotFound::Unknown(text));
        }
        let mut rtnl = Rtnl::open_in(&netns).map_err(unknown)?;
        let Some(link) = rtnl.link(name).map_err(unknown)? else {
            return Err(NotFound::Gone(format!("no interface {name} in {}", path.display())));
        };
        let Some(mac) = link.mac else {
            return Err(NotFound::Unknown(format!("{name} has no Ethernet address")));
        };
        let shared = link.kind == "ipvlan";
        Ok(Self { cookie: rtnl.netns_cookie(), index: link.index, mac, shared, netns })
    }

    /// Runs something inside its namespace.
    pub(super) fn run<T, E: std::fmt::Display>(
        &self,
        inside: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Failure> {
        let link = |error: &dyn std::fmt::Display| Failure::Link(error.to_string());
        self.netns.run(inside).map_err(|error| link(&error))?.map_err(|error| link(&error))
    }
}

impl NotFound {
    pub(super) fn text(self) -> String {
        match self {
            Self::Gone(text) | Self::Unknown(text) => text,
        }
    }
}

/// A path as a runtime names it, where the host's files are mounted elsewhere.
pub(super) fn under(prefix: &str, path: &Path) -> PathBuf {
    let mut whole = std::ffi::OsString::from(prefix);
    whole.push(path);
    whole.into()
}
