//! Finding a plugin and running it: the only place of the crate that starts a program.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use serde::Deserialize;

use super::RuntimeError;
use crate::{Command, Error, json};

/// What a plugin must not inherit from the caller's own call.
const OWN_VARIABLES: [&str; 6] =
    ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"];

/// A plugin that is being installed cannot be started while its file is open for writing.
/// Writing takes milliseconds; libcni gives up after five tries as well.
const BUSY_DELAYS: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(1),
];

/// As much of a plugin's output as an error message quotes, in bytes.
const QUOTED: usize = 512;

/// The first regular file named `kind` in the folders of `path`.
///
/// # Errors
/// [`RuntimeError::NotFound`], also for a `kind` that is no file name.
pub fn find(kind: &str, path: &[PathBuf]) -> Result<PathBuf, RuntimeError> {
    let is_name = !kind.is_empty() && !kind.contains(['/', '\0']) && kind != "." && kind != "..";
    // A program without a folder would be looked for in PATH.
    let folders = path.iter().filter(|folder| is_name && !folder.as_os_str().is_empty());
    let mut programs = folders.map(|folder| folder.join(kind));
    programs
        .find(|program| program.metadata().is_ok_and(|file| file.is_file()))
        .ok_or_else(|| RuntimeError::NotFound { kind: kind.to_owned(), path: path.to_vec() })
}

/// Runs a plugin with `env` in place of the caller's `CNI_*` variables, and returns what it
/// printed. Its standard error is the caller's.
///
/// # Errors
/// [`RuntimeError::Plugin`] with the plugin's own answer; [`RuntimeError::Unexplained`] if it
/// failed without one; [`RuntimeError::Run`] if the system failed.
pub fn execute(
    program: &Path,
    command: Command,
    env: &[(&'static str, OsString)],
    stdin: &[u8],
) -> Result<Vec<u8>, RuntimeError> {
    let run_error = |source| RuntimeError::Run { program: program.to_owned(), source };
    let mut child = start(program, command, env, stdin).map_err(run_error)?;
    let output = read_all(&mut child);
    // Waiting first: also a child that could not be talked to is not left behind.
    let status = child.wait().map_err(run_error)?;
    let output = output.map_err(run_error)?;
    if status.success() {
        return Ok(output);
    }
    match json::from_slice::<Refusal>(&output) {
        Ok(refusal) => Err(RuntimeError::Plugin {
            kind: program.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            command,
            error: Error { code: refusal.code, msg: refusal.msg, details: refusal.details },
        }),
        Err(_) => {
            let quoted = output.get(..QUOTED).unwrap_or(&output);
            let output = String::from_utf8_lossy(quoted).into_owned();
            Err(RuntimeError::Unexplained { program: program.to_owned(), status, output })
        }
    }
}

#[derive(Deserialize)]
struct Refusal {
    code: u32,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    details: String,
}

#[allow(
    clippy::disallowed_methods,
    reason = "CNI executes programs, and the end of a write to one gives no event"
)]
fn start(
    program: &Path,
    command: Command,
    env: &[(&'static str, OsString)],
    stdin: &[u8],
) -> io::Result<Child> {
    let mut process = Process::new(program);
    for name in OWN_VARIABLES {
        process.env_remove(name);
    }
    process
        .envs(env.iter().map(|(name, value)| (name, value)))
        .env("CNI_COMMAND", command.as_str())
        .stdin(in_memory(stdin)?)
        .stdout(Stdio::piped());
    for delay in BUSY_DELAYS {
        match process.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(delay);
            }
            done => return done,
        }
    }
    process.spawn()
}

/// A file, not a pipe: a pipe that the program does not empty would take a thread to fill.
fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("stdin", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

fn read_all(child: &mut Child) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut output)?;
    }
    Ok(output)
}
