//! A listening unix socket and its file: handed over by the service manager, or made here. For
//! root alone.

use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The socket's file, if it is ours.
pub(crate) struct Socket {
    path: Option<PathBuf>,
}

impl Socket {
    /// Listens. What an earlier process left there is replaced: only one is in charge of it.
    pub(crate) fn open(path: &Path, given: Option<UnixListener>) -> Result<(Self, UnixListener)> {
        match given {
            Some(listener) => Ok((Self { path: None }, listener)),
            None => Ok((Self { path: Some(path.to_owned()) }, make(path)?)),
        }
    }

    /// Takes the file away; the service manager's stays.
    pub(crate) fn remove(self) {
        if let Some(path) = self.path
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!("remove {}: {error}", path.display());
        }
    }
}

/// For use by the runtime that this is called on.
pub(crate) fn adopt(listener: UnixListener, path: &Path) -> Result<tokio::net::UnixListener> {
    let adopted =
        listener.set_nonblocking(true).and_then(|()| tokio::net::UnixListener::from_std(listener));
    adopted.map_err(Error::io("listen at", path))
}

/// Under another name first, so that nobody finds it before it is for root alone.
fn make(path: &Path) -> Result<UnixListener> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let new = path.with_file_name(name);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("remove", &new)(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&new).map_err(Error::io("listen at", &new))?;
    let restricted = std::fs::set_permissions(&new, Permissions::from_mode(0o600));
    restricted.map_err(Error::io("restrict", &new))?;
    std::fs::rename(&new, path).map_err(Error::io("put in place", path))?;
    Ok(listener)
}
