//! Starting a program in namespaces of its own or of another process, waiting for it, and handing
//! signals on to it. It isolates the network, mounts and host name only: processes, users and
//! resources stay the host's.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, mount, mount_bind, mount_change, move_mount,
};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Error, Result};
use crate::mount::Detached;
use crate::netns::Namespace;
use crate::sys;

/// A program to start.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// The program's path and its arguments; never empty.
    pub argv: &'a [OsString],
    /// Its whole environment.
    pub env: &'a [(OsString, OsString)],
    /// Its working directory; the root where it does not exist there.
    pub folder: &'a Path,
    /// Where it runs.
    pub place: Place<'a>,
    /// Where its output goes; `None`: where the caller's goes.
    pub output: Option<&'a File>,
    /// It reads the caller's standard input; else nothing.
    pub interactive: bool,
}

/// Where a program runs.
#[derive(Debug)]
pub enum Place<'a> {
    /// In a network namespace, with mount and UTS namespaces of its own.
    New {
        /// `None`: the caller's.
        netns: Option<&'a Namespace>,
        /// Its host name; `None`: the host's.
        hostname: Option<&'a str>,
        /// What it sees in place of the host's files.
        seen: Seen<'a>,
    },
    /// In the network, mount and UTS namespaces of a process.
    Beside(u32),
}

/// What a program sees in place of the host's files, at paths that exist.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen<'a> {
    /// Files in place of others: (source, target).
    pub binds: &'a [(PathBuf, PathBuf)],
    /// Mounts, in this order.
    pub mounts: &'a [(Detached, PathBuf)],
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl Exit {
    /// As a shell tells it: the code, or 128 and the signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// Starts a program. Signals are not held back there, whatever the caller does.
pub fn spawn(asked: &Spawn<'_>) -> Result<Child> {
    let program = asked.argv.first().map(PathBuf::from).unwrap_or_default();
    let fail = |e: io::Error| file_error("run", &program, &e);
    let mut enter = Entering::prepare(&asked.place)?;
    #[allow(clippy::disallowed_methods, reason = "starting a program is what was asked for")]
    let mut command = Command::new(&program);
    command.args(asked.argv.iter().skip(1)).env_clear().envs(asked.env.iter().cloned());
    if !asked.interactive {
        command.stdin(Stdio::null());
    }
    if let Some(file) = asked.output {
        let copy = || file.try_clone().map_err(fail);
        command.stdout(copy()?).stderr(copy()?);
    }
    let folder = path_of(asked.folder)?;
    let entering = move || -> io::Result<()> {
        enter.run()?;
        if rustix::process::chdir(folder.as_c_str()).is_err() {
            rustix::process::chdir(c"/")?;
        }
        sys::release_signals()?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only, on memory that was
    // prepared before; it neither allocates nor takes locks.
    unsafe { command.pre_exec(entering) };
    command.spawn().map_err(fail)
}

/// What the child does before it becomes the program, prepared so that nothing is allocated.
enum Entering {
    New {
        netns: Option<OwnedFd>,
        hostname: Option<Vec<u8>>,
        binds: Vec<(CString, CString)>,
        mounts: Vec<(OwnedFd, CString)>,
    },
    Beside(Vec<OwnedFd>),
}

impl Entering {
    fn prepare(place: &Place<'_>) -> Result<Self> {
        match place {
            Place::New { netns, hostname, seen } => {
                let copy = |ns: &&Namespace| {
                    ns.as_fd()
                        .try_clone_to_owned()
                        .map_err(|e| file_error("hold namespace", ns.path(), &e))
                };
                let paths = |(from, to): &(PathBuf, PathBuf)| Ok((path_of(from)?, path_of(to)?));
                let held = |(mount, at): &(Detached, PathBuf)| {
                    let fd = mount.as_fd().try_clone_to_owned();
                    Ok((fd.map_err(|e| file_error("hold mount for", at, &e))?, path_of(at)?))
                };
                Ok(Self::New {
                    netns: netns.as_ref().map(copy).transpose()?,
                    hostname: hostname.map(|name| name.as_bytes().to_vec()),
                    binds: seen.binds.iter().map(paths).collect::<Result<_>>()?,
                    mounts: seen.mounts.iter().map(held).collect::<Result<_>>()?,
                })
            }
            Place::Beside(pid) => {
                // The mount namespace last: with it the paths of the others are gone.
                let open = |kind| {
                    let path = PathBuf::from(format!("/proc/{pid}/ns/{kind}"));
                    File::open(&path).map(OwnedFd::from).map_err(|e| file_error("open", &path, &e))
                };
                Ok(Self::Beside(
                    ["net", "uts", "mnt"].into_iter().map(open).collect::<Result<_>>()?,
                ))
            }
        }
    }

    fn run(&mut self) -> std::result::Result<(), Errno> {
        match self {
            Self::Beside(namespaces) => {
                for namespace in namespaces {
                    move_into_link_name_space(namespace.as_fd(), None)?;
                }
                Ok(())
            }
            Self::New { netns, hostname, binds, mounts } => {
                if let Some(netns) = netns {
                    let kind = Some(LinkNameSpaceType::Network);
                    move_into_link_name_space(netns.as_fd(), kind)?;
                }
                sys::unshare_mounts_and_names()?;
                // What the host mounts later shows here, and nothing of ours there.
                let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
                mount_change(c"/", slave)?;
                if netns.is_some() {
                    // /sys/class/net of this namespace. Where it may not be mounted, netlink
                    // still tells the truth.
                    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
                    let _ = mount(c"sysfs", c"/sys", c"sysfs", flags, None);
                }
                for (mount, at) in mounts {
                    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                    move_mount(&*mount, c"", CWD, at.as_c_str(), flags)?;
                }
                // Last: a volume at /etc must not hide them.
                for (from, to) in binds {
                    mount_bind(from.as_c_str(), to.as_c_str())?;
                }
                match hostname {
                    Some(name) => rustix::system::sethostname(name),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Signals that a supervisor takes one at a time: from its making on they are held back from the
/// whole process, so make it before any thread and any child.
#[derive(Debug)]
pub struct Signals {
    set: libc::sigset_t,
}

/// A signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Came {
    /// Its number.
    pub signal: i32,
    /// The terminal sent it, to the whole foreground group: a child there has it already.
    pub by_terminal: bool,
}

impl Signals {
    /// `SIGCHLD`.
    pub const CHILD: i32 = libc::SIGCHLD;
    const ALL: [i32; 8] = [
        libc::SIGCHLD,
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGWINCH,
    ];

    /// Holds back children's ends and what a program is usually told to end by.
    pub fn hold() -> Result<Self> {
        sys::hold_signals(&Self::ALL)
            .map(|set| Self { set })
            .map_err(|errno| Error::kernel("hold", "signals", errno))
    }

    /// Waits for the next one.
    pub fn next(&self) -> Result<Came> {
        loop {
            match sys::next_signal(&self.set) {
                Ok((signal, by_kernel)) => {
                    return Ok(Came { signal, by_terminal: by_kernel && signal != Self::CHILD });
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::kernel("wait for", "signals", errno)),
            }
        }
    }

    /// Waits until a child ends, handing on to it what comes meanwhile.
    pub fn attend(&self, pid: u32) -> Result<Exit> {
        loop {
            if let Some(exit) = reap_one(pid)? {
                return Ok(exit);
            }
            let came = self.next()?;
            if came.signal != Self::CHILD && !came.by_terminal {
                signal(pid, came.signal)?;
            }
        }
    }
}

/// How a child ended, if it has.
fn reap_one(pid: u32) -> Result<Option<Exit>> {
    let fail = |errno| Error::kernel("wait for", format!("process {pid}"), errno);
    let id = pid_of(pid).ok_or_else(|| fail(Errno::SRCH))?;
    let Some((_, status)) = waitpid(Some(id), WaitOptions::NOHANG).map_err(fail)? else {
        return Ok(None);
    };
    let by_signal = status.terminating_signal().map(Exit::Signal);
    Ok(by_signal.or(status.exit_status().map(Exit::Code)))
}

/// Sends a signal by number. A process that is gone is no error.
pub fn signal(pid: u32, number: i32) -> Result<()> {
    let fail = |errno| Error::kernel("signal", format!("process {pid}"), errno);
    let id = pid_of(pid).ok_or_else(|| fail(Errno::SRCH))?;
    let signal = Signal::from_named_raw(number).ok_or_else(|| fail(Errno::INVAL))?;
    match kill_process(id, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(fail(errno)),
    }
}

/// Processes whose network namespace is this one; the caller is never among them.
pub fn processes_in(namespace: &Namespace) -> Vec<u32> {
    use std::os::unix::fs::MetadataExt;
    let own = std::process::id();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != own)
        .filter(|pid| {
            std::fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|meta| (meta.dev(), meta.ino()) == namespace.identity())
        })
        .collect()
}

/// When a process began, in clock ticks since boot: with its id, an identity (proc(5), field 22).
/// `None` where there is no such process, or only its exit status.
pub fn began(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Waits until a process is gone; whether it was in time.
pub fn wait_gone(pid: u32, limit: std::time::Duration) -> Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let fail = |errno| Error::kernel("wait for", format!("process {pid}"), errno);
    let id = pid_of(pid).ok_or_else(|| fail(Errno::SRCH))?;
    let fd = match rustix::process::pidfd_open(id, rustix::process::PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(Errno::SRCH) => return Ok(true),
        Err(errno) => return Err(fail(errno)),
    };
    let deadline = std::time::Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| fail(Errno::INVAL))?;
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(fail(errno)),
        }
    }
}

fn pid_of(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

fn path_of(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::File {
        op: "name",
        path: path.to_owned(),
        errno: Errno::INVAL,
    })
}

fn file_error(op: &'static str, path: &Path, error: &io::Error) -> Error {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    Error::File { op, path: path.to_owned(), errno }
}
