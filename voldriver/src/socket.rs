//! The socket: for root alone, never a dead one left behind, gone when we go.

use std::fs::{DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use cleat_volumes::kernel::process::inherited_listener;

use crate::error::{Error, Result};

/// A socket that is served.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Its file, if it is ours to remove, and which one that is.
    own: Option<(PathBuf, u64)>,
}

impl Socket {
    /// The one that systemd opened, or a new one at this path.
    pub(crate) fn open(path: &Path) -> Result<(UnixListener, Self)> {
        if let Some(listener) = inherited_listener() {
            return Ok((listener, Self { own: None }));
        }
        let fail = |op| move |source| Error::File { op, path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
            made.map_err(fail("make the folder of"))?;
        }
        match UnixStream::connect(path) {
            Ok(_) => return Err(Error::Taken(path.to_owned())),
            // dockerd would wait for a quarter of a minute on a dead one.
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(fail("remove"))?;
            }
            Err(_) => {}
        }
        // Bound aside, and in its place only when nobody else can open it.
        let aside = path.with_extension("sock.new");
        let _ = std::fs::remove_file(&aside);
        let listener = UnixListener::bind(&aside).map_err(fail("listen at"))?;
        let mode = Permissions::from_mode(0o600);
        std::fs::set_permissions(&aside, mode).map_err(fail("set the mode of"))?;
        std::fs::rename(&aside, path).map_err(fail("put in place"))?;
        let inode = std::fs::symlink_metadata(path).map_err(fail("look at"))?.ino();
        Ok((listener, Self { own: Some((path.to_owned(), inode)) }))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some((path, inode)) = &self.own
            && std::fs::symlink_metadata(path).is_ok_and(|meta| meta.ino() == *inode)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}
