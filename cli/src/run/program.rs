//! Which program a command means, and what it finds in its environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Where programs are looked for if the environment does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Changes to the environment: a value, or `None` to take a variable out.
pub(crate) type Changes = BTreeMap<String, Option<String>>;

/// Reads `NAME=VALUE` and `NAME`.
pub(crate) fn changes(given: &[String]) -> Result<Changes> {
    let change = |text: &String| match text.split_once('=') {
        Some(("", _)) => Err(Error::Argument {
            argument: "--env",
            value: text.clone(),
            problem: "expected NAME=VALUE".into(),
        }),
        Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
        None => Ok((text.clone(), None)),
    };
    given.iter().map(change).collect()
}

/// This process's environment with the changes; nothing of ours goes on.
pub(crate) fn environment(changes: &Changes) -> Vec<(OsString, OsString)> {
    let is_changed = |name: &OsStr| name.to_str().is_some_and(|name| changes.contains_key(name));
    let kept = std::env::vars_os().filter(|(name, _)| !is_changed(name));
    let set = changes.iter().filter_map(|(name, value)| Some((name.into(), value.clone()?.into())));
    kept.chain(set).collect()
}

/// The program's path, found the way a shell does it.
pub(crate) fn find(name: &OsStr, changes: &Changes) -> Result<PathBuf> {
    let shown = || name.to_string_lossy().into_owned();
    let named = Path::new(name);
    let candidates: Vec<PathBuf> = if named.components().count() > 1 || named.is_absolute() {
        vec![named.to_owned()]
    } else {
        let path = match changes.get("PATH") {
            Some(changed) => changed.clone().map(OsString::from),
            None => std::env::var_os("PATH"),
        };
        let path = path.unwrap_or_else(|| PATH.into());
        std::env::split_paths(&path).map(|folder| folder.join(named)).collect()
    };
    let mut seen = false;
    for candidate in candidates {
        let Ok(meta) = candidate.metadata() else { continue };
        if meta.is_file() && meta.permissions().mode() & 0o111 != 0 {
            return std::path::absolute(&candidate)
                .map_err(crate::context::file_error("find", &candidate));
        }
        seen = true;
    }
    let program = shown();
    Err(if seen { Error::NotExecutable { program } } else { Error::NoProgram { program } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs() {
        let none = Changes::new();
        let find = |name: &str| find(OsStr::new(name), &none);
        assert!(find("sh").unwrap().is_absolute());
        assert!(matches!(find("no-such-program"), Err(Error::NoProgram { .. })));
        assert!(matches!(find("/etc/passwd"), Err(Error::NotExecutable { .. })));
        assert!(matches!(find("/etc"), Err(Error::NotExecutable { .. })));
    }

    #[test]
    fn the_environment_is_changed_by_name() {
        let given = ["CLEAT_TEST_ONE=1".to_owned(), "PATH".to_owned()];
        let environment = environment(&changes(&given).unwrap());
        assert!(environment.contains(&("CLEAT_TEST_ONE".into(), "1".into())));
        assert!(environment.iter().all(|(name, _)| name != "PATH"));
        assert!(changes(&["=x".to_owned()]).is_err());
    }
}
