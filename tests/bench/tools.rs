//! The C programs beside this file, compiled when a measurement starts.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A program of this folder, optimised and static like the plugins.
pub(crate) fn compiled(name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench").join(format!("{name}.c"));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-static", "-s", "-o"]).arg(&program).arg(&source);
    let status = cc.status().unwrap_or_else(|e| panic!("cc: {e}: install gcc and libc6-dev"));
    assert!(status.success(), "{cc:?}: {status}");
    program
}

/// How much of something is done: as the environment says, or else so much.
pub(crate) fn amount(variable: &str, usual: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|e| panic!("{variable}={text}: {e}")),
        Err(_) => usual,
    }
}

/// Network namespaces by number; gone with the value.
#[derive(Debug)]
pub(crate) struct Pool {
    holder: Child,
    count: usize,
}

impl Pool {
    pub(crate) fn new(count: usize) -> Self {
        let mut holder = Command::new(compiled("namespaces"))
            .arg(count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), holder.id().to_string(), "namespaces {count}");
        Self { holder, count }
    }

    /// The value of `CNI_NETNS` for one of them.
    pub(crate) fn path(&self, number: usize) -> String {
        assert!(number < self.count, "namespace {number} of {}", self.count);
        format!("/proc/{}/fd/{}", self.holder.id(), number + 3)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
