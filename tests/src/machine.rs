//! A suite in the virtual machine of `tests/vm`: its lines, and what became of each test.

use std::path::Path;
use std::process::{Command, Stdio};

/// What a machine printed.
#[derive(Debug)]
pub struct Report {
    text: String,
    succeeded: bool,
}

impl Report {
    /// Boots a machine for a suite, or for those of its tests whose names hold one of the filters.
    pub fn of(suite: &str, filters: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("vm");
        let output = Command::new(script)
            .arg(suite)
            .args(filters)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("tests/vm: {error}"));
        let text = [output.stdout, output.stderr].concat();
        Self {
            text: String::from_utf8_lossy(&text).into_owned(),
            succeeded: output.status.success(),
        }
    }

    /// What follows a mark at the beginning of a line, for instance of `cleat-vm: kernel `.
    pub fn said(&self, mark: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(mark))
    }

    /// The tests that passed. Fails with all that the machine printed if one did not, or none ran.
    #[track_caller]
    pub fn passed(&self) -> Vec<&str> {
        let passed: Vec<&str> = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... ok"))
            .collect();
        assert!(self.succeeded && !passed.is_empty(), "in the machine:\n{}", self.text);
        passed
    }
}
