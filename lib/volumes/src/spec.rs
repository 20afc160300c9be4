//! What a volume is, complete and valid: what an option text means, and what a record keeps.

use std::path::PathBuf;

use cleat_kernel::mount::Attributes;
use serde::{Deserialize, Serialize};

/// A driver with its options, and how the volume is mounted whatever its driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Where the content lives.
    #[serde(flatten)]
    pub driver: Driver,
    /// What its mount allows.
    #[serde(default)]
    pub access: Access,
}

/// Where the content lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "driver", content = "settings", rename_all = "lowercase")]
pub enum Driver {
    /// In a directory of the volume's own.
    Named(Named),
    /// In a directory of somebody else's.
    Bind(Bind),
    /// In memory, for as long as it is mounted.
    Tmpfs(Tmpfs),
    /// On a server.
    Nfs(Nfs),
}

impl Driver {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Named(_) => "named",
            Self::Bind(_) => "bind",
            Self::Tmpfs(_) => "tmpfs",
            Self::Nfs(_) => "nfs",
        }
    }
}

/// What a mount allows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Access {
    /// `ro`.
    pub read_only: bool,
    /// `noexec`.
    pub noexec: bool,
    /// `nosuid`.
    pub nosuid: bool,
    /// `nodev`.
    pub nodev: bool,
    /// `noatime`.
    pub noatime: bool,
    /// `nodiratime`.
    pub nodiratime: bool,
    /// Whose files are seen as whose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idmap: Option<Idmap>,
}

impl Access {
    /// As the kernel has it.
    pub fn attributes(&self) -> Attributes {
        Attributes {
            read_only: self.read_only,
            noexec: self.noexec,
            nosuid: self.nosuid,
            nodev: self.nodev,
            noatime: self.noatime,
            nodiratime: self.nodiratime,
        }
    }

    /// Nothing that a plain directory could not give.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// Whose files are seen as whose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Idmap {
    /// By ranges.
    Ranges {
        /// Users.
        users: Vec<IdmapRange>,
        /// Groups.
        groups: Vec<IdmapRange>,
    },
    /// As a user namespace has it.
    Namespace(PathBuf),
}

/// `ON_DISK:SEEN:COUNT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdmapRange(pub u32, pub u32, pub u32);

/// A directory of the volume's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Named {
    /// Who owns it at first.
    pub uid: Option<u32>,
    /// Which group.
    pub gid: Option<u32>,
    /// Its mode at first.
    pub mode: Option<u32>,
    /// Limit in bytes.
    pub size: Option<u64>,
    /// Limit of files.
    pub inodes: Option<u64>,
    /// What holds the limits.
    pub backing: Backing,
}

/// What is behind a named volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backing {
    /// A directory; limits are project quotas.
    #[default]
    Dir,
    /// A sparse file with an ext4 file system.
    Image,
}

/// A directory of somebody else's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bind {
    /// The directory.
    pub source: PathBuf,
    /// It is made when it is missing.
    #[serde(default)]
    pub create: bool,
    /// What is mounted below it is seen.
    #[serde(default)]
    pub recursive: bool,
    /// `private`, `slave` or `shared`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<String>,
}

/// Memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Tmpfs {
    /// In bytes, or in percent of the memory (`50%`).
    pub size: Option<String>,
    /// Limit of files.
    pub inodes: Option<u64>,
    /// Its mode.
    pub mode: Option<u32>,
    /// Who owns it.
    pub uid: Option<u32>,
    /// Which group.
    pub gid: Option<u32>,
    /// Huge pages.
    pub huge: Option<String>,
}

/// A server's export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Nfs {
    /// A name or an address.
    pub server: String,
    /// A path, from the server's root.
    pub export: String,
    /// A directory of the export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdirectory: Option<String>,
    /// The directory is made when it is missing.
    #[serde(default)]
    pub create: bool,
    /// `None`: the newest that both sides speak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<NfsVersion>,
    /// The server's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What goes to the kernel as it is.
    #[serde(default)]
    pub options: Vec<(String, Option<String>)>,
    /// How locks are kept with version 3.
    #[serde(default)]
    pub locks: Locking,
    /// Seconds that a mount may take.
    pub timeout: u64,
    /// The server was reached when the volume was made.
    #[serde(default)]
    pub check: bool,
}

impl Nfs {
    /// `server:/export`, as the kernel has it.
    pub fn source(&self) -> String {
        let server = if self.server.contains(':') {
            format!("[{}]", self.server)
        } else {
            self.server.clone()
        };
        format!("{server}:{}", self.path())
    }

    /// What is mounted of the server.
    pub fn path(&self) -> String {
        match &self.subdirectory {
            Some(inner) => format!("{}/{inner}", self.export.trim_end_matches('/')),
            None => self.export.clone(),
        }
    }
}

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NfsVersion {
    /// 3.
    #[serde(rename = "3")]
    V3,
    /// 4.0.
    #[serde(rename = "4.0")]
    V40,
    /// 4.1.
    #[serde(rename = "4.1")]
    V41,
    /// 4.2.
    #[serde(rename = "4.2")]
    V42,
    /// The newest 4.
    #[serde(rename = "4")]
    V4,
}

impl NfsVersion {
    /// As in the option `vers`.
    pub fn text(self) -> &'static str {
        match self {
            Self::V3 => "3",
            Self::V40 => "4.0",
            Self::V41 => "4.1",
            Self::V42 => "4.2",
            Self::V4 => "4",
        }
    }
}

/// How locks are kept with version 3, whose lock protocol needs rpc.statd.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Locking {
    /// On the server if rpc.statd runs, else on this host.
    #[default]
    Auto,
    /// On the server, or not at all.
    Required,
    /// On this host.
    Local,
}
