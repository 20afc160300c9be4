//! What every verb works with: this node's folders, the plugins' folders, how to print.

use std::env;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cleat_cni::Runtime;
use cleat_engine::records::{Lock, Locks};
use cleat_engine::{Dirs, Node};

use crate::args::Global;
use crate::error::{Error, Result};
use crate::output::{self, Format};

/// Made once, by main.
pub(crate) struct Context {
    /// The engine's view of this node.
    pub(crate) node: Node,
    /// Runs plugins.
    pub(crate) runtime: Runtime,
    /// How to print.
    pub(crate) format: Format,
    state_is_chosen: bool,
}

impl Context {
    pub(crate) fn new(global: &Global) -> Self {
        let node = Node::new(Dirs::from_env(|name| env::var_os(name)), output::warn);
        // Kept with the rest of what ends with the boot; another runtime's results are its own.
        let cache_dir = node.dirs().run.join("cni");
        let runtime = Runtime { path: plugin_folders(global.cni_path.as_deref()), cache_dir };
        let state_is_chosen = env::var_os("CLEAT_STATE_DIR").is_some_and(|v| !v.is_empty());
        Self { node, runtime, format: global.format, state_is_chosen }
    }

    /// The folder of networks.
    pub(crate) fn net_dir(&self) -> &Path {
        &self.node.dirs().net
    }

    /// Where networks made here keep their leases; `None`: host-local's default.
    pub(crate) fn lease_dir(&self) -> Option<PathBuf> {
        self.state_is_chosen.then(|| self.node.dirs().state.join("networks"))
    }

    /// A folder or file of the run directory.
    pub(crate) fn run_path(&self, name: &str) -> PathBuf {
        self.node.dirs().run.join(name)
    }

    /// Takes a lock of the command's own.
    pub(crate) fn lock(&self, name: &str) -> Result<Lock> {
        Ok(Locks::open(self.run_path("locks/command")).acquire(name)?)
    }
}

/// As asked for, else `CNI_PATH`, else the folder of this program and the usual ones.
fn plugin_folders(asked: Option<&Path>) -> Vec<PathBuf> {
    let from_env = || env::var_os("CNI_PATH").filter(|v| !v.is_empty());
    if let Some(path) = asked.map(|p| p.as_os_str().to_owned()).or_else(from_env) {
        return env::split_paths(&path).collect();
    }
    let own = std::fs::read_link("/proc/self/exe").ok();
    let own = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    own.into_iter().chain(["/usr/lib/cleat", "/opt/cni/bin"].map(PathBuf::from)).collect()
}

/// Makes a folder of state, for root alone.
pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder).map_err(file_error("make", folder))
}

/// Says which file could not be used.
pub(crate) fn file_error(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { doing, path, source }
}
