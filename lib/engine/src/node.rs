//! This node as the engine sees it: where its state lies, which boot this is, where warnings
//! go. Made once by a front; opens nothing that is not needed.

use std::cell::{Cell, OnceCell};
use std::path::PathBuf;

use cleat_records::{Durability, Lock, Locks, Store};

use crate::error::{Error, Result};
use crate::plan::NetworkPlan;
use crate::record::AttachmentRecord;
use crate::ruleset::{LinkRules, Shared};
use crate::settings;

/// What stands for this boot's id where the kernel hides it.
pub const UNKNOWN_BOOT: &str = "unknown";

/// The folders that cleat keeps its state in.
#[derive(Debug, Clone)]
pub struct Dirs {
    /// Runtime state, gone with a boot: `/run/cleat`.
    pub run: PathBuf,
    /// Durable state: `/var/lib/cleat`.
    pub state: PathBuf,
    /// Conflists: `/etc/cni/net.d`.
    pub net: PathBuf,
    /// The node's settings, a file: `/etc/cleat/config.json`.
    pub config: PathBuf,
}

impl Dirs {
    /// The paths that the environment names (`CLEAT_RUN_DIR`, `CLEAT_STATE_DIR`,
    /// `CLEAT_NET_DIR`, `CLEAT_CONFIG`), or the default ones. Empty variables count as absent.
    pub fn from_env(var: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let dir = |name: &str, default: &str| {
            var(name).filter(|v| !v.is_empty()).map_or_else(|| default.into(), PathBuf::from)
        };
        Self {
            run: dir("CLEAT_RUN_DIR", "/run/cleat"),
            state: dir("CLEAT_STATE_DIR", "/var/lib/cleat"),
            net: dir("CLEAT_NET_DIR", "/etc/cni/net.d"),
            config: dir("CLEAT_CONFIG", "/etc/cleat/config.json"),
        }
    }
}

/// This node.
pub struct Node {
    dirs: Dirs,
    boot_id: OnceCell<String>,
    mark: OnceCell<u32>,
    warn: Box<dyn Fn(&str)>,
    /// Between two rulesets.
    pub(crate) nft: Cell<Option<Shared>>,
}

impl Node {
    /// A node with its state in `dirs`; `warn` hears of what is wrong but not fatal.
    pub fn new(dirs: Dirs, warn: impl Fn(&str) + 'static) -> Self {
        Self {
            dirs,
            boot_id: OnceCell::new(),
            mark: OnceCell::new(),
            warn: Box::new(warn),
            nft: Cell::default(),
        }
    }

    /// The folders.
    pub fn dirs(&self) -> &Dirs {
        &self.dirs
    }

    /// This boot's id, or `unknown` where the kernel hides it.
    pub fn boot_id(&self) -> &str {
        self.boot_id.get_or_init(|| {
            // A test says that the host was rebooted by naming another boot.
            std::env::var("CLEAT_BOOT_ID")
                .ok()
                .filter(|id| !id.is_empty())
                .or_else(|| cleat_kernel::process::boot_id().ok())
                .unwrap_or_else(|| UNKNOWN_BOOT.to_owned())
        })
    }

    /// The record of another boot describes nothing that is still there. Where this boot's id is
    /// hidden, a record is taken for this boot's.
    pub fn is_this_boot(&self, boot: &str) -> bool {
        boot == self.boot_id() || self.boot_id() == UNKNOWN_BOOT
    }

    /// Fails where this boot's id is hidden: what is made then could not be told from what an
    /// earlier boot left.
    pub(crate) fn require_boot_id(&self) -> Result<()> {
        if self.boot_id() == UNKNOWN_BOOT { Err(Error::NoBootId) } else { Ok(()) }
    }

    /// The bit of the packet mark that says: let through by us.
    pub fn mark(&self) -> Result<u32> {
        match self.mark.get() {
            Some(mark) => Ok(*mark),
            None => {
                let mark = settings::mark(&self.dirs.config)?;
                Ok(*self.mark.get_or_init(|| mark))
            }
        }
    }

    /// Says what is wrong but not fatal.
    pub fn warn(&self, text: &str) {
        (self.warn)(text);
    }

    /// The warning sink itself.
    pub(crate) fn warner(&self) -> &dyn Fn(&str) {
        &*self.warn
    }

    pub(crate) fn run_path(&self, name: &str) -> PathBuf {
        self.dirs.run.join(name)
    }

    pub(crate) fn attachments(&self) -> Store<AttachmentRecord> {
        Store::open(self.run_path("attachments"), Durability::Runtime)
    }

    pub(crate) fn plans(&self) -> Store<NetworkPlan> {
        Store::open(self.run_path("plans"), Durability::Runtime)
    }

    pub(crate) fn links(&self) -> Store<LinkRules> {
        Store::open(self.run_path("links"), Durability::Runtime)
    }

    /// Locks of attachments, one at a time. Taken before those of links.
    pub(crate) fn locks(&self) -> Locks {
        Locks::open(self.run_path("locks"))
    }

    /// The lock of an attachment that is to be freed: without room for a lock file, or the right
    /// to make one, the rest is still worth doing.
    pub(crate) fn lock_to_free(&self, name: &str) -> Option<Lock> {
        self.locks().acquire(name).map_err(|error| self.warn(&error.to_string())).ok()
    }

    /// Locks of what attachments share: links and the ruleset.
    pub(crate) fn shared_locks(&self) -> Locks {
        Locks::open(self.run_path("locks/shared"))
    }
}
