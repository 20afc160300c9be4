//! libcni's result cache: what DEL needs to know of an ADD, one file per attachment.
//!
//! The files are shared with every runtime that uses libcni. A file that cannot be read counts
//! as absent, since a DEL that fails for it could never succeed.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ConfList, RuntimeError, base64};
use crate::{CniResult, SpecVersion, json};

const KIND: &str = "cniCacheV1";

/// One interface of one container, and what the runtime says about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attachment {
    /// The container's id.
    pub container_id: String,
    /// The path of its namespace; `None` if it is gone or unknown.
    pub netns: Option<PathBuf>,
    /// The interface's name in the container.
    pub ifname: String,
    /// `CNI_ARGS`, in order.
    pub args: Vec<(String, String)>,
    /// Values by capability, given to the plugins that declare it.
    pub capability_args: Map<String, Value>,
}

/// What the cache has of an attachment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cached {
    /// The network.
    pub network: String,
    /// The attachment as it was at ADD.
    pub attachment: Attachment,
    /// The network's configuration at ADD, if it can be read.
    pub list: Option<ConfList>,
    /// The final result, in its own version.
    pub result: Option<Value>,
}

impl Cached {
    /// The result, if there is one that can be read.
    pub fn result(&self) -> Option<CniResult> {
        let result = self.result.as_ref()?;
        CniResult::parse(result.to_string().as_bytes(), SpecVersion::default()).ok()
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Wire {
    kind: String,
    #[serde(rename = "containerId")]
    container_id: String,
    config: String,
    #[serde(rename = "ifName")]
    ifname: String,
    #[serde(rename = "networkName")]
    network: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    netns: String,
    #[serde(rename = "cniArgs", skip_serializing_if = "Vec::is_empty")]
    args: Vec<(String, String)>,
    #[serde(rename = "capabilityArgs", skip_serializing_if = "Map::is_empty")]
    capability_args: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
}

impl From<Wire> for Cached {
    fn from(wire: Wire) -> Self {
        let config = base64::decode(&wire.config);
        Self {
            list: config.and_then(|config| ConfList::from_slice(&config).ok()),
            network: wire.network,
            attachment: Attachment {
                container_id: wire.container_id,
                netns: Some(PathBuf::from(wire.netns))
                    .filter(|netns| !netns.as_os_str().is_empty()),
                ifname: wire.ifname,
                args: wire.args,
                capability_args: wire.capability_args,
            },
            result: wire.result,
        }
    }
}

/// The folder of results.
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(super) fn new(cache_dir: &Path) -> Self {
        Self { folder: cache_dir.join("results") }
    }

    fn file(&self, network: &str, container_id: &str, ifname: &str) -> PathBuf {
        self.folder.join(format!("{network}-{container_id}-{ifname}"))
    }

    pub(super) fn load(&self, network: &str, attachment: &Attachment) -> Option<Cached> {
        let Attachment { container_id, ifname, .. } = attachment;
        let value = read(&self.file(network, container_id, ifname))?;
        if value.get("kind").is_none() {
            // Before the format had a name, the file was the result.
            return Some(Cached {
                network: network.to_owned(),
                attachment: attachment.clone(),
                list: None,
                result: Some(value),
            });
        }
        named(&value)
    }

    /// Every attachment of a network. Files without a name of their own are left out.
    pub(super) fn list(&self, network: &str) -> Result<Vec<Cached>, RuntimeError> {
        let error =
            |source| RuntimeError::File { doing: "list", path: self.folder.clone(), source };
        let entries = match self.folder.read_dir() {
            Ok(entries) => entries,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(error(source)),
        };
        let prefix = format!("{network}-");
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(error)?;
            if !entry.file_name().to_string_lossy().starts_with(&prefix) {
                continue;
            }
            let cached = read(&entry.path()).and_then(|value| named(&value));
            found.extend(cached.filter(|cached| cached.network == network));
        }
        Ok(found)
    }

    pub(super) fn store(
        &self,
        list: &ConfList,
        attachment: &Attachment,
        result: Value,
    ) -> Result<(), RuntimeError> {
        let Attachment { container_id, netns, ifname, args, capability_args } = attachment;
        let netns = netns.as_deref().unwrap_or(Path::new(""));
        let wire = Wire {
            kind: KIND.to_owned(),
            container_id: container_id.clone(),
            config: base64::encode(list.to_value().to_string().as_bytes()),
            ifname: ifname.clone(),
            network: list.name.clone(),
            netns: netns.to_string_lossy().into_owned(),
            args: args.clone(),
            capability_args: capability_args.clone(),
            result: Some(result),
        };
        let path = self.file(&list.name, container_id, ifname);
        let written = serde_json::to_vec(&wire)
            .map_err(io::Error::from)
            .and_then(|bytes| self.replace(&path, &bytes));
        written.map_err(|source| RuntimeError::File { doing: "write", path, source })
    }

    /// Readers see the old file or the new one. It is not synced: a crash of the machine takes
    /// the attachment with it.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        // One name per attachment, which has one operation at a time: nothing piles up. The dot
        // keeps it out of lists by network.
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = self.folder.join(format!(".{file_name}"));
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        fs::rename(&temporary, path)
    }

    pub(super) fn remove(
        &self,
        network: &str,
        attachment: &Attachment,
    ) -> Result<(), RuntimeError> {
        let path = self.file(network, &attachment.container_id, &attachment.ifname);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(RuntimeError::File { doing: "remove", path, source })
            }
            _ => Ok(()),
        }
    }
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn named(value: &Value) -> Option<Cached> {
    let wire: Wire = json::from_ref(value).ok()?;
    (wire.kind == KIND).then(|| wire.into())
}
