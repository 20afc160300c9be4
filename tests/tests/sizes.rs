//! Budgets of the programs: how large, how little memory, whether they need anything beside them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use cleat_tests::Programs;

/// A plugin program is at most this large.
const SIZE: u64 = 2 << 20;

/// Programs that are no plugins.
const OTHERS: [&str; 3] = ["cleat", "netd", "voldriver"];

/// Every program that tests/build collected, but for the command and the daemons.
fn plugins() -> Vec<PathBuf> {
    let folder = Programs::under_test().folder().to_owned();
    let mut plugins: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}: run tests/build", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| !OTHERS.iter().any(|other| path.ends_with(other)))
        .filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'))
        .collect();
    plugins.sort();
    assert!(!plugins.is_empty(), "{} is empty: run tests/build", folder.display());
    plugins
}

#[test]
fn plugins_are_small() {
    if Programs::under_test().is_reference() {
        return;
    }
    for plugin in plugins() {
        let size = fs::metadata(&plugin).unwrap().len();
        assert!(size <= SIZE, "{}: {size} bytes, more than {SIZE}", plugin.display());
    }
}

#[test]
fn plugins_say_their_versions() {
    for plugin in plugins() {
        let output = Command::new(&plugin).env("CNI_COMMAND", "VERSION").output().unwrap();
        assert!(output.status.success(), "{}: {output:?}", plugin.display());
        let versions: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(versions["supportedVersions"].is_array(), "{}", plugin.display());
    }
}

#[test]
fn plugins_are_static() {
    if Programs::under_test().is_reference() {
        return;
    }
    for plugin in plugins() {
        let image = fs::read(&plugin).unwrap();
        // A dynamically linked program names its interpreter.
        let dynamic = image.windows(8).any(|bytes| bytes == b"/ld-linu");
        assert!(!dynamic, "{} needs a dynamic linker", plugin.display());
    }
}
