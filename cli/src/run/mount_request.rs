//! `--volume` and `--mount`, in Docker's syntax.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Something that a program is to see at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MountRequest {
    pub(crate) what: What,
    pub(crate) target: PathBuf,
    #[serde(default)]
    pub(crate) read_only: bool,
}

/// What it is to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum What {
    Volume {
        /// `None`: one that nobody named.
        name: Option<String>,
        options: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
        no_copy: bool,
        subpath: Option<PathBuf>,
    },
    Bind {
        source: PathBuf,
        recursive: bool,
    },
    Tmpfs {
        size: Option<String>,
        mode: Option<String>,
    },
}

/// `--volume`: what has colons in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Short(pub(crate) MountRequest);

/// `--mount`: what has `type=` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Long(pub(crate) MountRequest);

fn target(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let is_plain = path.is_absolute() && !text.split('/').any(|part| part == "..");
    if is_plain && path != Path::new("/") {
        return Ok(path.components().collect());
    }
    Err(format!("{text:?}: expected an absolute path without `..` to mount at, not /"))
}

fn volume(name: Option<&str>) -> What {
    What::Volume {
        name: name.map(str::to_owned),
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        no_copy: false,
        subpath: None,
    }
}

impl FromStr for Short {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let (source, at, options) = match parts.as_slice() {
            [at] => (None, *at, ""),
            [source, at] => (Some(*source), *at, ""),
            [source, at, options] => (Some(*source), *at, *options),
            _ => return Err("expected [SOURCE:]TARGET[:OPTIONS]".into()),
        };
        let mut request = MountRequest {
            what: match source {
                Some(path) if path.starts_with('/') => {
                    What::Bind { source: path.into(), recursive: true }
                }
                name => volume(name),
            },
            target: target(at)?,
            read_only: false,
        };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match (option, &mut request.what) {
                ("ro", _) => request.read_only = true,
                ("nocopy", What::Volume { no_copy, .. }) => *no_copy = true,
                // Nothing here is labelled, and mounts of the host always show.
                ("rw" | "z" | "Z" | "cached" | "delegated" | "consistent", _) => {}
                ("rslave" | "slave" | "rprivate" | "private", What::Bind { .. }) => {}
                _ => return Err(format!("{option:?}: expected ro, rw or nocopy")),
            }
        }
        Ok(Self(request))
    }
}

impl FromStr for Long {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut long = Fields::default();
        for field in text.split(',') {
            let (key, value) = field.split_once('=').map_or((field, None), |(k, v)| (k, Some(v)));
            long.set(key, value)?;
        }
        long.finish().map(Self)
    }
}

/// `--mount`, half read: which keys are right depends on the type.
#[derive(Debug, Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<PathBuf>,
    read_only: bool,
    is_flat: bool,
    no_copy: bool,
    subpath: Option<PathBuf>,
    options: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    size: Option<String>,
    mode: Option<String>,
    /// Keys that belong to one type.
    keys: Vec<String>,
}

impl Fields {
    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        let needed = || value.map(str::to_owned).ok_or_else(|| format!("{key}: expected a value"));
        let flag = || match value {
            None | Some("true" | "1" | "") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(format!("{key}={other}: expected true or false")),
        };
        let pair = || {
            let text = needed()?;
            let (key, value) = text.split_once('=').unwrap_or((&text, ""));
            Ok::<_, String>((key.to_owned(), value.to_owned()))
        };
        if key.contains('-') {
            self.keys.push(key.to_owned());
        }
        match key {
            "type" => self.kind = Some(needed()?),
            "source" | "src" => self.source = Some(needed()?),
            "target" | "dst" | "destination" => self.target = Some(target(&needed()?)?),
            "readonly" | "ro" => self.read_only = flag()?,
            "bind-nonrecursive" => self.is_flat = flag()?,
            "bind-propagation" => {
                if !["rprivate", "private", "rslave", "slave"].contains(&needed()?.as_str()) {
                    return Err(format!("{key}: expected private or slave, with or without r"));
                }
            }
            "volume-nocopy" => self.no_copy = flag()?,
            "volume-subpath" => self.subpath = Some(needed()?.into()),
            "volume-driver" => {
                if !["local", "cleat"].contains(&needed()?.as_str()) {
                    return Err(format!("{key}: expected local or cleat"));
                }
            }
            "volume-opt" => self.options.extend([pair()?]),
            "volume-label" => self.labels.extend([pair()?]),
            "tmpfs-size" => self.size = Some(needed()?),
            "tmpfs-mode" => self.mode = Some(needed()?),
            "consistency" => {}
            _ => {
                return Err(format!(
                    "{key:?}: expected type, source, target, readonly, bind-nonrecursive, \
                     bind-propagation, volume-nocopy, volume-opt, volume-label, volume-subpath, \
                     tmpfs-size or tmpfs-mode"
                ));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<MountRequest, String> {
        let kind = self.kind.as_deref().unwrap_or("volume");
        if let Some(wrong) = self.keys.iter().find(|key| !key.starts_with(&format!("{kind}-"))) {
            return Err(format!("{wrong}: not with type={kind}"));
        }
        let what = match kind {
            "volume" => What::Volume {
                name: self.source,
                options: self.options,
                labels: self.labels,
                no_copy: self.no_copy,
                subpath: self.subpath,
            },
            "bind" => {
                let source = self.source.unwrap_or_default();
                What::Bind { source: target(&source)?, recursive: !self.is_flat }
            }
            "tmpfs" if self.source.is_some() => return Err("source: not with type=tmpfs".into()),
            "tmpfs" => What::Tmpfs { size: self.size, mode: self.mode },
            other => return Err(format!("type={other}: expected volume, bind or tmpfs")),
        };
        let target = self.target.ok_or("target is missing")?;
        Ok(MountRequest { what, target, read_only: self.read_only })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_ones() {
        let Short(named) = "data:/srv:ro,nocopy".parse().unwrap();
        assert!(named.read_only && named.target == Path::new("/srv"));
        assert!(matches!(&named.what, What::Volume { name: Some(name), no_copy: true, .. }
            if name == "data"));
        let Short(bind) = "/a:/b".parse().unwrap();
        assert!(matches!(&bind.what, What::Bind { recursive: true, .. }));
        let Short(anonymous) = "/b".parse().unwrap();
        assert!(matches!(&anonymous.what, What::Volume { name: None, .. }));
        for text in ["", "a", "a:b", "a:/b:x", "a:/", "a:/b/../c", "a:/b:ro:x", "/a:/b:nocopy"] {
            assert!(text.parse::<Short>().is_err(), "{text}");
        }
    }

    #[test]
    fn long_ones() {
        let text = "type=volume,src=data,dst=/srv,readonly,volume-opt=type=tmpfs,\
                    volume-opt=size=4m,volume-label=a=b,volume-subpath=x/y";
        let Long(volume) = text.parse().unwrap();
        let What::Volume { name, options, labels, subpath, .. } = volume.what else { panic!() };
        assert_eq!((name.as_deref(), options.len(), labels.len()), (Some("data"), 2, 1));
        assert_eq!(subpath.as_deref(), Some(Path::new("x/y")));
        let Long(tmpfs) = "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777".parse().unwrap();
        assert!(matches!(tmpfs.what, What::Tmpfs { size: Some(_), mode: Some(_) }));
        for (text, part) in [
            ("type=volume,src=a", "target is missing"),
            ("type=npipe,dst=/a", "expected volume, bind or tmpfs"),
            ("type=bind,dst=/a", "absolute path"),
            ("type=bind,src=/a,dst=/b,volume-nocopy", "not with type=bind"),
            ("type=tmpfs,src=a,dst=/b", "not with type=tmpfs"),
            ("dst=/a,colour=red", "expected type, source"),
            ("dst=/a,readonly=maybe", "true or false"),
        ] {
            let error = text.parse::<Long>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = text.parse::<Short>();
            let _ = text.parse::<Long>();
        }
    }
}
