//! One network's configuration, read from a file the way libcni reads it.
//!
//! It knows the fields of the list; what a plugin's own fields mean is the plugin's business.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::conf_files::with_extensions;
use super::{RuntimeError, versions};
use crate::{SpecVersion, json as go_json, name};

/// A network: its plugins in the order of ADD.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfList {
    /// The network's name.
    pub name: String,
    /// The version it is run with: the newest offered that we know.
    pub cni_version: SpecVersion,
    /// Each an object with a `type` that is a file name; never empty.
    pub plugins: Vec<Value>,
    /// CHECK is not to be sent.
    pub disable_check: bool,
    /// GC is not to be sent.
    pub disable_gc: bool,
    /// Plugins are not looked for in the folder of the network's name.
    pub load_only_inlined_plugins: bool,
    /// Where it was read from; empty if it was not read from a file.
    pub path: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    #[serde(rename = "cniVersion")]
    cni_version: String,
    #[serde(rename = "cniVersions")]
    cni_versions: Option<Vec<String>>,
    name: String,
    #[serde(rename = "disableCheck")]
    disable_check: bool,
    #[serde(rename = "disableGC")]
    disable_gc: bool,
    #[serde(rename = "loadOnlyInlinedPlugins")]
    load_only_inlined_plugins: bool,
    plugins: Option<Vec<Value>>,
}

impl ConfList {
    /// Reads a `.conflist`, or a `.conf` or `.json` that may hold a list or a single plugin.
    /// Unless the list says otherwise, the `.conf` files in the folder beside it that has the
    /// network's name are further plugins, in the order of their names.
    ///
    /// # Errors
    /// [`RuntimeError::Config`] naming file and field; [`RuntimeError::File`].
    pub fn load(path: &Path) -> Result<Self, RuntimeError> {
        let value = read(path)?;
        let is_list = path.extension().is_some_and(|extension| extension == "conflist");
        let (wire, single) = parse(&value, is_list).map_err(|problem| bad(path, problem))?;
        let mut merged = Vec::new();
        if single.is_none() && !wire.load_only_inlined_plugins {
            name::check_network(&wire.name).map_err(|error| bad(path, name_problem(&error)))?;
            merged = load_folder(&path.with_file_name(&wire.name))?;
        }
        assemble(wire, single, merged, path).map_err(|problem| bad(path, problem))
    }

    /// Reads a list or a single plugin that is not in a file; no folder is looked into.
    ///
    /// # Errors
    /// [`RuntimeError::Config`] naming the field, with an empty path.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, RuntimeError> {
        let path = Path::new("");
        let value: Value =
            go_json::from_slice(bytes).map_err(|error| bad(path, error.to_string()))?;
        let (wire, single) = parse(&value, false).map_err(|problem| bad(path, problem))?;
        assemble(wire, single, Vec::new(), path).map_err(|problem| bad(path, problem))
    }

    /// The list with all its plugins inlined, which reads back as it is.
    pub fn to_value(&self) -> Value {
        json!({
            "cniVersion": self.cni_version,
            "name": self.name,
            "disableCheck": self.disable_check,
            "disableGC": self.disable_gc,
            "loadOnlyInlinedPlugins": true,
            "plugins": self.plugins,
        })
    }
}

fn bad(path: &Path, problem: String) -> RuntimeError {
    RuntimeError::Config { path: path.to_owned(), problem }
}

fn name_problem(error: &crate::Error) -> String {
    format!("name: {error}")
}

fn read(path: &Path) -> Result<Value, RuntimeError> {
    let bytes = std::fs::read(path).map_err(|source| RuntimeError::File {
        doing: "read",
        path: path.to_owned(),
        source,
    })?;
    go_json::from_slice(&bytes).map_err(|error| bad(path, error.to_string()))
}

/// The fields of the list, and the plugin if the document is one by itself.
fn parse(value: &Value, is_list: bool) -> Result<(Wire, Option<Value>), String> {
    let wire: Wire = go_json::from_ref(value).map_err(|error| error.to_string())?;
    let has_type = value.as_object().is_some_and(|object| object.contains_key("type"));
    let is_single = !is_list && wire.plugins.is_none() && has_type;
    Ok((wire, is_single.then(|| value.clone())))
}

fn load_folder(folder: &Path) -> Result<Vec<Value>, RuntimeError> {
    let mut plugins = Vec::new();
    for path in with_extensions(folder, &["conf"])? {
        let plugin = read(&path)?;
        check_plugin(&plugin).map_err(|problem| bad(&path, problem))?;
        plugins.push(plugin);
    }
    Ok(plugins)
}

fn assemble(
    wire: Wire,
    single: Option<Value>,
    merged: Vec<Value>,
    path: &Path,
) -> Result<ConfList, String> {
    name::check_network(&wire.name).map_err(|error| name_problem(&error))?;
    let cni_version = versions::negotiate(&wire.cni_version, wire.cni_versions.as_deref())?;
    let plugins = match (single, wire.plugins) {
        (Some(single), _) => {
            check_plugin(&single)?;
            vec![single]
        }
        (None, Some(inlined)) => {
            if inlined.is_empty() {
                return Err("plugins: no plugins in list".to_owned());
            }
            for (index, plugin) in inlined.iter().enumerate() {
                check_plugin(plugin).map_err(|problem| format!("plugins[{index}]: {problem}"))?;
            }
            [inlined, merged].concat()
        }
        (None, None) if wire.load_only_inlined_plugins => {
            return Err("plugins: missing, and loadOnlyInlinedPlugins is set".to_owned());
        }
        (None, None) => merged,
    };
    if plugins.is_empty() {
        return Err("plugins: no plugin configs found".to_owned());
    }
    Ok(ConfList {
        name: wire.name,
        cni_version,
        plugins,
        disable_check: wire.disable_check,
        disable_gc: wire.disable_gc,
        load_only_inlined_plugins: wire.load_only_inlined_plugins,
        path: path.to_owned(),
    })
}

fn check_plugin(plugin: &Value) -> Result<(), String> {
    let object = plugin.as_object().ok_or("expected an object")?;
    match object.get("type") {
        None => Err("missing field \"type\"".to_owned()),
        Some(Value::String(kind)) if !kind.is_empty() && !kind.contains('/') => Ok(()),
        Some(other) => Err(format!("type: invalid value {other}: expected the name of a plugin")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::File::create(path)
                .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
                .unwrap();
        }
        folder
    }

    fn kinds(list: &ConfList) -> Vec<&str> {
        list.plugins.iter().map(|plugin| plugin["type"].as_str().unwrap()).collect()
    }

    #[test]
    fn files_of_a_folder() {
        let folder = folder(&[
            ("b.conflist", ""),
            ("a.json", ""),
            ("c.conf", ""),
            ("d.txt", ""),
            ("e.conf/x", ""),
        ]);
        let names: Vec<_> = super::super::conf_files(folder.path())
            .unwrap()
            .into_iter()
            .map(|path| path.file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["a.json", "b.conflist", "c.conf"]);
        let missing = super::super::conf_files(&folder.path().join("none")).unwrap();
        assert_eq!(missing, Vec::<PathBuf>::new());
    }

    #[test]
    fn lists_and_single_plugins() {
        let list = r#"{"cniVersion":"0.4.0","cniVersions":["1.1.0","9.0.0"],"name":"n",
            "disableCheck":"TRUE","disableGC":true,"plugins":[{"type":"bridge"}]}"#;
        let inlined = r#"{"name":"n","loadOnlyInlinedPlugins":true,"plugins":[{"type":"a"}]}"#;
        let folder = folder(&[
            ("list.conflist", list),
            ("same.json", list),
            ("inlined.conflist", inlined),
            ("bare.conflist", r#"{"name":"n"}"#),
            ("single.conf", r#"{"cniVersion":"0.2.0","name":"n","type":"bridge"}"#),
            ("n/20.conf", r#"{"type":"tuning"}"#),
            ("n/10.conf", r#"{"type":"portmap"}"#),
            ("n/30.conflist", r#"{"type":"ignored"}"#),
        ]);
        for (file, version, expected) in [
            ("list.conflist", "1.1.0", &["bridge", "portmap", "tuning"][..]),
            ("same.json", "1.1.0", &["bridge", "portmap", "tuning"]),
            ("inlined.conflist", "0.1.0", &["a"]),
            ("bare.conflist", "0.1.0", &["portmap", "tuning"]),
            ("single.conf", "0.2.0", &["bridge"]),
        ] {
            let list = ConfList::load(&folder.path().join(file)).unwrap();
            assert_eq!(kinds(&list), expected, "{file}");
            assert_eq!((list.name.as_str(), list.cni_version.as_str()), ("n", version), "{file}");
            assert_eq!(list.disable_check, version == "1.1.0");
            assert_eq!(list.disable_gc, version == "1.1.0");
            let again = ConfList::from_slice(list.to_value().to_string().as_bytes()).unwrap();
            assert_eq!(kinds(&again), expected, "{file}");
            assert_eq!(again.cni_version, list.cni_version);
        }
    }

    #[test]
    fn errors_name_file_and_field() {
        let cases = [
            ("{", "EOF while parsing an object at line 1 column 1"),
            ("[]", "invalid value [...]: expected an object"),
            (r#"{"plugins":[]}"#, "name: missing network name"),
            (
                r#"{"name":"a/b","plugins":[]}"#,
                "name: invalid characters found in network name; a/b",
            ),
            (r#"{"name":"n","plugins":[]}"#, "plugins: no plugins in list"),
            (r#"{"name":"n"}"#, "plugins: no plugin configs found"),
            (
                r#"{"name":"n","loadOnlyInlinedPlugins":"true"}"#,
                "plugins: missing, and loadOnlyInlinedPlugins is set",
            ),
            (r#"{"name":"n","plugins":[{"type":"a"},{}]}"#, "plugins[1]: missing field \"type\""),
            (
                r#"{"name":"n","plugins":[{"type":"../x"}]}"#,
                "plugins[0]: type: invalid value \"../x\": expected the name of a plugin",
            ),
            (
                r#"{"name":"n","disableGC":3,"plugins":[]}"#,
                "disableGC: invalid value 3: expected a boolean",
            ),
        ];
        for (text, expected) in cases {
            let folder = folder(&[("x.conflist", text)]);
            let path = folder.path().join("x.conflist");
            let error = ConfList::load(&path).unwrap_err().to_string();
            assert_eq!(error, format!("{}: {expected}", path.display()), "{text}");
        }
        let folder = folder(&[("x.conflist", r#"{"name":"n"}"#), ("n/1.conf", r#"{"name":"x"}"#)]);
        let error = ConfList::load(&folder.path().join("x.conflist")).unwrap_err().to_string();
        assert!(error.ends_with("/n/1.conf: missing field \"type\""), "{error}");
        let error = ConfList::load(&folder.path().join("y.conf")).unwrap_err().to_string();
        assert!(error.starts_with("read /") && error.contains("No such file"), "{error}");
    }
}
