//! Where things lie. A volume is a directory below the state directory; what ends with a boot is
//! below the run directory.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Result, file};
use crate::name::VolumeName;
use crate::spec::{Backing, Driver, Spec};

/// The roots.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    pub(crate) state: PathBuf,
    pub(crate) run: PathBuf,
}

/// No volume's name starts with a dot.
pub(crate) const NEW: &str = ".new-";
pub(crate) const GONE: &str = ".gone-";

impl Folders {
    pub(crate) fn new(state: &Path, run: &Path) -> Self {
        Self { state: state.join("volumes"), run: run.join("volumes") }
    }

    pub(crate) fn home(&self, name: &VolumeName) -> Home {
        Home { path: self.state.join(name.as_str()) }
    }

    /// A volume in the making.
    pub(crate) fn new_home(&self, name: &VolumeName) -> Home {
        Home { path: self.state.join(format!("{NEW}{name}")) }
    }

    /// A volume on its way out.
    pub(crate) fn gone_home(&self, name: &VolumeName) -> Home {
        Home { path: self.state.join(format!("{GONE}{name}")) }
    }

    pub(crate) fn lock(&self, name: &VolumeName) -> PathBuf {
        self.run.join("locks").join(name.as_str())
    }
}

/// A volume's own directory.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) path: PathBuf,
}

impl Home {
    /// The content of a named volume.
    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("_data")
    }

    /// Where what needs a mount is mounted.
    pub(crate) fn mount(&self) -> PathBuf {
        self.path.join("_mnt")
    }

    /// An export, while a directory is made in it.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.path.join("_scratch")
    }

    /// The file behind a loop device.
    pub(crate) fn image(&self) -> PathBuf {
        self.path.join("_image")
    }

    /// Where the content is seen once it is staged.
    pub(crate) fn staged(&self, spec: &Spec) -> PathBuf {
        if needs_mount(spec) { self.mount() } else { self.data() }
    }
}

/// A plain directory is there without one.
pub(crate) fn needs_mount(spec: &Spec) -> bool {
    match &spec.driver {
        Driver::Named(named) => named.backing == Backing::Image || !spec.access.is_plain(),
        _ => true,
    }
}

/// Makes a directory and those above it, for root alone.
pub(crate) fn make(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(file("make directory", path))
}

/// A power cut leaves its entries as they are now.
pub(crate) fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|d| d.sync_all()).map_err(file("sync", path))
}
