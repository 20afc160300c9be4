//! The control socket's file: handed over by the service manager, or made here. For root alone.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::error::{Error, Result};

const NAME: &str = "netd.sock";

/// The socket's file, if it is ours.
pub(super) struct Socket {
    path: Option<PathBuf>,
}

impl Socket {
    /// Listens. What an earlier netd left there is replaced: only one is in charge of the folder.
    pub(super) fn open(run: &Path, given: Option<StdListener>) -> Result<(Self, UnixListener)> {
        let path = run.join(NAME);
        let (listener, own) = match given {
            Some(listener) => (listener, None),
            None => (make(run, &path)?, Some(path.clone())),
        };
        let listen = || {
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)
        };
        let listener = listen().map_err(Error::io("listen at", &path))?;
        Ok((Self { path: own }, listener))
    }

    /// Takes the file away; the service manager's stays.
    pub(super) fn remove(self) {
        if let Some(path) = self.path
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!("remove {}: {error}", path.display());
        }
    }
}

/// Under another name first, so that nobody finds it before it is for root alone.
fn make(run: &Path, path: &Path) -> Result<StdListener> {
    let new = run.join(".netd.sock.new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("remove", &new)(error));
        }
        _ => {}
    }
    let listener = StdListener::bind(&new).map_err(Error::io("listen at", &new))?;
    let restricted = std::fs::set_permissions(&new, Permissions::from_mode(0o600));
    restricted.map_err(Error::io("restrict", &new))?;
    std::fs::rename(&new, path).map_err(Error::io("put in place", path))?;
    Ok(listener)
}
