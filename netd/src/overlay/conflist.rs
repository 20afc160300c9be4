//! The conflist of an overlay network, on every node: so that whatever runtime there is uses it as
//! it uses any other. Named to come after all others, since runtimes take the first, and owned by
//! the note in it: a file that says another network, or none, is somebody else's.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cleat_cni::{conf_files, json};
use cleat_engine::overlay::OverlayNetwork;
use cleat_engine::plan::Inbound;
use cleat_engine::records::time::rfc3339;
use cleat_engine::records::{Durability, write_atomic};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Noted {
    name: String,
    cleat: Note,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Note {
    overlay: Option<String>,
}

/// Where a network's conflist is.
pub(crate) fn path(folder: &Path, network: &str) -> PathBuf {
    folder.join(format!("zz-cleat-{network}.conflist"))
}

/// Writes what is missing or different of these networks' conflists, and removes those of
/// overlays that there are no more, if these are `complete`. What went wrong with which file.
pub(crate) fn settle(
    folder: &Path,
    networks: &[OverlayNetwork],
    complete: bool,
    data_dir: Option<&Path>,
) -> Vec<Error> {
    let mut errors = Vec::new();
    for network in networks {
        errors.extend(write(folder, network, data_dir).err());
    }
    if !complete {
        return errors;
    }
    for file in conf_files(folder).unwrap_or_default() {
        let Some(id) = owner(&file) else { continue };
        if !networks.iter().any(|n| n.id == id && path(folder, &n.name) == file) {
            errors.extend(remove(&file).err());
        }
    }
    errors
}

fn remove(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", file)(error)),
        _ => Ok(()),
    }
}

/// The id of the overlay network that a conflist is of.
fn owner(file: &Path) -> Option<String> {
    let noted: Noted = json::from_slice(&std::fs::read(file).ok()?).ok()?;
    noted.cleat.overlay
}

fn write(folder: &Path, network: &OverlayNetwork, data_dir: Option<&Path>) -> Result<()> {
    let file = path(folder, &network.name);
    let text = format!("{:#}\n", document(network, data_dir));
    match std::fs::read(&file) {
        Ok(there) if there == text.as_bytes() => return Ok(()),
        Ok(there) => {
            let noted: Noted = json::from_slice(&there).unwrap_or_default();
            if noted.cleat.overlay.is_none() {
                let holder = if noted.name.is_empty() { "another" } else { &noted.name };
                return Err(Error::Conflist { file, holder: holder.to_owned() });
            }
        }
        Err(_) => {}
    }
    std::fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    write_atomic(&file, text.as_bytes(), 0o644, Durability::Disk)?;
    Ok(())
}

fn document(network: &OverlayNetwork, data_dir: Option<&Path>) -> Value {
    let is_internal = network.inbound == Inbound::Internal;
    let capabilities = match network.dns {
        true => json!({"aliases": true, "dns": true, "ips": true, "mac": true}),
        false => json!({"ips": true, "mac": true}),
    };
    let mut plugin = Map::from_iter([
        ("type".to_owned(), "overlay".into()),
        ("subnets".to_owned(), json!(network.subnets)),
        ("inboundPolicy".to_owned(), if is_internal { "internal" } else { "published" }.into()),
        ("capabilities".to_owned(), capabilities),
    ]);
    if network.dns {
        plugin.insert("embeddedDNS".to_owned(), true.into());
    }
    if let Some(folder) = data_dir {
        plugin.insert("dataDir".to_owned(), json!(folder));
    }
    let mut plugins = vec![Value::Object(plugin)];
    if !is_internal {
        plugins.push(json!({"type": "portmap", "capabilities": {"portMappings": true}}));
    }
    json!({
        "cniVersion": "1.0.0",
        "cniVersions": ["1.0.0", "1.1.0"],
        "name": network.name,
        "cleat": {
            "created": rfc3339(network.created / 1000),
            "labels": network.labels,
            "options": {},
            "overlay": network.id,
        },
        "plugins": plugins,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, id: &str) -> OverlayNetwork {
        let subnets = vec!["10.128.0.0/16".parse().unwrap()];
        OverlayNetwork { dns: true, ..OverlayNetwork::new(name, id, 4096, subnets) }
    }

    #[test]
    fn files_follow_the_networks_and_others_are_left() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let theirs = path(folder, "theirs");
        let text = br#"{"name": "theirs", "plugins": []}"#;
        write_atomic(&theirs, text, 0o644, Durability::Runtime).unwrap();
        let all = [network("all", "a"), network("theirs", "b")];
        let errors = settle(folder, &all, true, None);
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(matches!(&texts[..], [one] if one.contains("theirs")), "{texts:?}");
        let written = std::fs::read(path(folder, "all")).unwrap();
        let list = cleat_cni::ConfList::load(&path(folder, "all")).unwrap();
        assert_eq!((list.name.as_str(), list.plugins.len()), ("all", 2));
        // Made anew under the same name: another network.
        assert!(settle(folder, &[network("all", "c")], true, None).is_empty());
        assert_ne!(std::fs::read(path(folder, "all")).unwrap(), written);
        assert!(settle(folder, &[], false, None).is_empty() && path(folder, "all").exists());
        assert!(settle(folder, &[], true, None).is_empty());
        assert!(!path(folder, "all").exists() && theirs.exists());
    }
}
