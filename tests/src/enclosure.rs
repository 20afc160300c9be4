//! Where a daemon or an engine runs: the lab's host namespace with mounts of its own, so that
//! fixed paths (`/opt/cni/bin`, `/run/netns`, `/etc/containers`) lead into the lab. Everything
//! started in one is ended with it, by process id.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::lab::Lab;

/// How long one command may take.
const PATIENCE: &str = "60";

/// The folders that every host has one of. By mounts rather than by the environment, which some
/// engines do not pass on to all of their processes.
const PRIVATE: &str = "
    for folder in /run /var/lib /opt; do mount -t tmpfs none $folder; done
    mkdir -p /run/netns /run/cleat /var/lib/cleat /opt/cni/bin /etc/cni/net.d
    mount --bind $CLEAT_RUN_DIR /run/cleat
    mount --bind $CLEAT_STATE_DIR /var/lib/cleat
    mount --bind $CLEAT_NET_DIR /etc/cni/net.d
    mount --bind $PLUGINS /opt/cni/bin";

/// A mount namespace in the lab's host namespace, held by a process of its own.
#[derive(Debug)]
pub struct Enclosure {
    holder: Child,
    folder: PathBuf,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Enclosure {
    /// A new one, in which these shell lines were run; `$LAB` is its folder, `$PLUGINS` that of the
    /// programs under test.
    pub fn new(lab: &Lab, lines: &str) -> Self {
        let folder = lab.folder().join("enclosure");
        fs::create_dir_all(&folder).unwrap();
        let ready = folder.join("ready");
        let mut environment = lab.environment();
        environment.push(("LAB", folder.clone()));
        environment.push(("PLUGINS", lab.programs().folder().to_owned()));
        let log = File::create(folder.join("setup.log")).unwrap();
        let script = format!("{PRIVATE}\n{lines}\n: >{}\nexec sleep 900", ready.display());
        // Not `ip netns exec`: its fresh /sys hides the control groups.
        let holder = Command::new("nsenter")
            .arg(format!("--net={}", lab.host.path().display()))
            .args(["unshare", "-m", "--propagation", "private", "sh", "-ec", &script])
            .envs(environment.clone())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let enclosure = Self { holder, folder, environment };
        let said = || fs::read_to_string(enclosure.folder.join("setup.log")).unwrap_or_default();
        wait_for(Duration::from_secs(15), || ready.exists(), said);
        enclosure
    }

    /// A folder of its own, in the lab's.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command that will run inside, for a minute at most.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-k", "5", PATIENCE]);
        self.inside(command, program)
    }

    fn inside(&self, mut command: Command, program: &str) -> Command {
        let id = self.holder.id().to_string();
        command.args(["nsenter", "-t", &id, "-n", "-m", "--wd=/", program]);
        command.envs(self.environment.iter().map(|(name, path)| (name, path)));
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env_remove("DOCKER_HOST");
        command.stdin(Stdio::null());
        command
    }

    /// Runs a shell line inside; what it prints, or the test's end.
    #[track_caller]
    pub fn sh(&self, line: &str) -> String {
        self.try_sh(line).unwrap_or_else(|said| panic!("{line}: {said}"))
    }

    /// Runs a shell line inside; what it prints, or everything that it said if it failed.
    pub fn try_sh(&self, line: &str) -> Result<String, String> {
        let output = self.command("sh").args(["-ec", line]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(text),
            false => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(format!("{}: {text}{said}", output.status))
            }
        }
    }

    /// Starts a program that stays, and waits until a shell line succeeds.
    #[track_caller]
    pub fn daemon(&self, line: &str, is_ready: &str) -> Daemon {
        let name = line.split_whitespace().next().unwrap().rsplit('/').next().unwrap();
        let log = self.folder.join(format!("{name}.log"));
        let file = File::create(&log).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        let child = self
            .inside(command, "sh")
            .args(["-ec", &format!("exec {line}")])
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let daemon = Daemon { child, log };
        wait_for(Duration::from_secs(40), || self.try_sh(is_ready).is_ok(), || daemon.said());
        daemon
    }
}

impl Drop for Enclosure {
    fn drop(&mut self) {
        // What containers' supervisors, which detach from their parents, are still there.
        let id = self.holder.id();
        let Ok(own) = fs::read_link(format!("/proc/{id}/ns/mnt")) else { return };
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(pid) = pid.filter(|pid| *pid as u32 != id).and_then(Pid::from_raw) else {
                continue;
            };
            if fs::read_link(process.path().join("ns/mnt")).is_ok_and(|found| found == own) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A program that runs until dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// What it wrote.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends the test with what a program says if something needed is not installed.
#[track_caller]
pub fn require(programs: &[(&str, &str)]) {
    for (program, package) in programs {
        let found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .any(|folder| Path::new(folder).join(program).exists());
        assert!(found, "{program} is missing: apt-get install --no-install-recommends {package}");
    }
}

#[track_caller]
fn wait_for(patience: Duration, is_so: impl Fn() -> bool, said: impl Fn() -> String) {
    let deadline = Instant::now() + patience;
    while !is_so() {
        assert!(Instant::now() < deadline, "not ready within {patience:?}: {}", said());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Lays out a root file system of busybox alone.
pub fn busybox_root(folder: &Path) {
    require(&[("busybox", "busybox-static")]);
    for name in ["bin", "proc", "sys", "dev", "etc", "tmp", "run", "var"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    fs::copy("/bin/busybox", folder.join("bin/busybox")).unwrap();
    for applet in ["sh", "ping", "sleep", "ip", "cat", "nc", "nslookup", "true"] {
        let link = folder.join("bin").join(applet);
        std::os::unix::fs::symlink("busybox", link).unwrap();
    }
}
