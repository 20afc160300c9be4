//! Work that may hang, done by this program once more as a child that is killed when its time is
//! over: whatever asks a server. The child is told its job on standard input, and answers on
//! standard output.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use cleat_kernel::{mount, spawn};
use serde::{Deserialize, Serialize};

use crate::drivers::{self, nfs};
use crate::error::{Error, Result, file};
use crate::figures::{self, Figures};
use crate::spec::{Access, Bind, Nfs};
use crate::volumes::Settings;

/// The word by which a program is told to be such a child.
pub const HELPER: &str = "volume-helper";

/// How long a killed child may take to be gone before nobody waits for it any more.
const KILLED: Duration = Duration::from_millis(500);

/// What a child is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Connect to the server.
    Reach(Nfs),
    /// Mount an export.
    Nfs { nfs: Nfs, access: Access, target: PathBuf, scratch: PathBuf },
    /// Mount a directory that lies on a server.
    Bind { bind: Bind, access: Access, target: PathBuf, roots: Vec<PathBuf> },
    /// Unmount what is on a server.
    Unmount { target: PathBuf, lazily: bool },
    /// Measure what is on a server.
    Measure { path: PathBuf },
}

impl Job {
    fn what(&self) -> String {
        match self {
            Self::Reach(nfs) => format!("reach {}", nfs.server),
            Self::Nfs { nfs, .. } => format!("mount {}", nfs.source()),
            Self::Bind { bind, .. } => format!("mount {}", bind.source.display()),
            Self::Unmount { target, .. } => format!("unmount {}", target.display()),
            Self::Measure { path } => format!("measure {}", path.display()),
        }
    }
}

/// What a child says.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default)]
    pub(crate) warnings: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) figures: Option<Figures>,
}

/// Has a job done, within a time.
pub(crate) fn run(settings: &Settings, job: &Job, limit: Duration) -> Result<Answer> {
    let fail = file("run", Path::new("/proc/self/exe"));
    let mut words = settings.helper.iter();
    let Some(program) = words.next() else { return done(job) };
    #[allow(clippy::disallowed_methods, reason = "what may hang is done by a child")]
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).current_dir("/");
    let mut child = command.spawn().map_err(fail)?;
    let streams = (child.stdin.take(), child.stdout.take());
    let told = serde_json::to_vec(job).unwrap_or_default();
    if let Some(mut pipe) = streams.0 {
        // One that died has closed it, which its exit tells better.
        let _ = pipe.write_all(&told);
    }
    let status = match wait(child, limit)? {
        Some(status) => status,
        None => return Err(Error::Timeout { what: job.what(), seconds: limit.as_secs() }),
    };
    let mut said = String::new();
    if let Some(mut pipe) = streams.1 {
        let _ = pipe.read_to_string(&mut said);
    }
    match serde_json::from_str::<Answer>(&said) {
        Ok(Answer { error: Some(text), .. }) => Err(Error::Relayed(text)),
        Ok(answer) => Ok(answer),
        Err(_) => Err(Error::Child { what: job.what(), status: status.to_string() }),
    }
}

/// Waits for a child for so long, then kills it: `None`. One that the kernel keeps is left to a
/// thread that waits for its end.
pub(crate) fn wait(mut child: Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let fail = file("wait for", Path::new("a child"));
    if spawn::wait_gone(child.id(), limit)? {
        return child.wait().map(Some).map_err(fail);
    }
    let _ = child.kill();
    if !spawn::wait_gone(child.id(), KILLED)? {
        std::thread::spawn(move || child.wait());
    } else {
        child.wait().map_err(fail)?;
    }
    Ok(None)
}

/// The child's side: does the job that is on standard input, and answers.
pub fn run_helper() {
    // It must not outlive its parent with a mount half made.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let mut told = String::new();
    let read = std::io::stdin().read_to_string(&mut told).map_err(|e| e.to_string());
    let job = read.and_then(|_| serde_json::from_str::<Job>(&told).map_err(|e| e.to_string()));
    let answer = match job.map(|job| done(&job)) {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Answer { error: Some(error.to_string()), ..Answer::default() },
        Err(text) => Answer { error: Some(format!("volume helper: {text}")), ..Answer::default() },
    };
    let text = serde_json::to_string(&answer).unwrap_or_default();
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn done(job: &Job) -> Result<Answer> {
    let mut answer = Answer::default();
    match job {
        Job::Reach(server) => drop(nfs::reach(server)?),
        Job::Nfs { nfs: export, access, target, scratch } => {
            answer.warnings = nfs::mount(export, access, target, scratch)?;
        }
        Job::Bind { bind, access, target, roots } => {
            let settings = Settings {
                roots: roots.clone(),
                state: PathBuf::new(),
                run: PathBuf::new(),
                helper: Vec::new(),
                boot: String::new(),
                own_namespace: true,
            };
            answer.warnings = drivers::mount_bind(bind, access, target, &settings)?;
        }
        Job::Unmount { target, lazily } => mount::unmount(target, *lazily)?,
        Job::Measure { path } => answer.figures = Some(figures::of_file_system(path)?),
    }
    Ok(answer)
}
