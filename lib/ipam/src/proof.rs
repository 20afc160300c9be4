//! Proof that the owner of somebody else's lease is gone: libcni's result cache remembers the
//! network namespace of each attachment, and that path is no more. Anything less certain (no
//! cache file, no path in it, a path that cannot be looked at) proves nothing.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Owner;

/// The cache that libcni keeps, one file `<network>-<container id>-<interface>` per attachment
/// (containernetworking cni, libcni/api.go, `cachedInfo`).
#[derive(Debug, Clone)]
pub struct ResultCache {
    dir: PathBuf,
    network: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cached {
    #[serde(default)]
    container_id: String,
    #[serde(default)]
    if_name: String,
    #[serde(default)]
    network_name: String,
    #[serde(default)]
    netns: String,
}

impl ResultCache {
    /// Where libcni keeps it unless told otherwise.
    pub const DEFAULT_DIR: &str = "/var/lib/cni/results";

    /// The entries of one network. Touches nothing.
    pub fn open(dir: impl Into<PathBuf>, network: impl Into<String>) -> Self {
        Self { dir: dir.into(), network: network.into() }
    }

    /// True only if it is proven that this owner's namespace is gone.
    pub fn proves_gone(&self, owner: &Owner) -> bool {
        let name = format!("{}-{}-{}", self.network, owner.id, owner.slot);
        if owner.id.is_empty() || owner.slot.is_empty() || name.contains('/') {
            return false;
        }
        let Ok(bytes) = std::fs::read(self.dir.join(name)) else { return false };
        let Ok(cached) = serde_json::from_slice::<Cached>(&bytes) else { return false };
        // Names may contain dashes, so one file name can stand for two attachments.
        let same = cached.container_id == owner.id
            && cached.if_name == owner.slot
            && cached.network_name == self.network;
        same && is_gone(Path::new(&cached.netns))
    }
}

fn is_gone(path: &Path) -> bool {
    path.is_absolute()
        && matches!(path.symlink_metadata(), Err(e) if e.kind() == ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_a_missing_path_in_the_right_entry_is_proof() {
        let tmp = tempfile::tempdir().unwrap();
        let cache = ResultCache::open(tmp.path(), "net");
        let entry = |id: &str, netns: &str| {
            format!(
                r#"{{"kind":"cniCacheV1","containerId":"{id}","ifName":"eth0","networkName":"net",
                "netns":"{netns}","config":"e30="}}"#
            )
        };
        let gone = tmp.path().join("gone").display().to_string();
        let here = tmp.path().display().to_string();
        for (text, proven) in [
            (Some(entry("c", &gone)), true),
            (Some(entry("c", &here)), false),
            (Some(entry("c", "")), false),
            (Some(entry("c", "relative")), false),
            (Some(entry("other", &gone)), false),
            (Some("{".to_owned()), false),
            (None, false),
        ] {
            let path = tmp.path().join("net-c-eth0");
            let _ = std::fs::remove_file(&path);
            if let Some(text) = &text {
                std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
            }
            assert_eq!(cache.proves_gone(&Owner::new("c", "eth0")), proven, "{text:?}");
        }
        assert!(!cache.proves_gone(&Owner::new("c", "")));
    }
}
