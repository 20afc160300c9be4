//! The administrator's list of sysctls that may be set: one regular expression a line, found
//! anywhere in the key, as the reference plugin matches it. No file means no limit.

use std::path::{Path, PathBuf};

use cleat_cni::Error;
use regex_lite::Regex;

const FILE: &str = "/etc/cni/tuning/allowlist.conf";

/// Every sysctl is on the list, if there is one.
pub(crate) fn check(sysctls: &[(String, String)]) -> Result<(), Error> {
    if sysctls.is_empty() {
        return Ok(());
    }
    let file =
        std::env::var_os("CLEAT_TUNING_ALLOWLIST").map_or_else(|| FILE.into(), PathBuf::from);
    check_against(&file, sysctls)
}

fn check_against(file: &Path, sysctls: &[(String, String)]) -> Result<(), Error> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(format!("read {}: {error}", file.display()))),
    };
    let mut allowed = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        allowed.push(Regex::new(line).map_err(|error| {
            let place = format!("{} line {}", file.display(), n + 1);
            Error::invalid_config(format!("{place}: {line:?} is no regular expression: {error}"))
        })?);
    }
    for (key, _) in sysctls {
        if !allowed.iter().any(|pattern| pattern.is_match(key)) {
            return Err(Error::invalid_config(format!(
                "sysctl: {key} is not allowed by {}",
                file.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_limits_and_no_list_does_not() {
        let set = |key: &str| vec![(key.to_owned(), "1".to_owned())];
        let dir = std::env::temp_dir().join(format!("cleat-allowlist-{}", std::process::id()));
        let file = dir.join("list");
        assert!(check_against(&file, &set("net.x")).is_ok());
        std::fs::create_dir_all(&dir).unwrap();
        std::os::unix::fs::symlink("/dev/null", dir.join("empty")).unwrap();
        assert!(check_against(&dir.join("empty"), &set("net.x")).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
