//! The node daemon in a lab's host namespace, with the lab's folders.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::lab::Lab;

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// A netd that runs until dropped.
#[derive(Debug)]
pub struct Netd {
    child: Child,
    log: PathBuf,
}

impl Lab {
    /// Starts netd; it serves when this returns. The host's own name server is the LAN's other
    /// station, as the lab's resolv.conf says.
    pub fn netd(&self) -> Netd {
        self.netd_with(&serde_json::json!({}))
    }

    /// The same with a configuration.
    pub fn netd_with(&self, config: &Value) -> Netd {
        self.netd_through(config, &[])
    }

    /// The same, started by another program.
    pub fn netd_through(&self, config: &Value, through: &[&str]) -> Netd {
        let folder = self.folder().join("daemon");
        fs::create_dir_all(&folder).unwrap();
        let resolv_conf = self.resolv_conf();
        if !resolv_conf.exists() {
            fs::write(&resolv_conf, format!("nameserver {}\n", Self::LAN[0])).unwrap();
        }
        let file = self.configure_netd(config);
        let log = folder.join("netd.log");
        let output = File::options().append(true).create(true).open(&log).unwrap();
        let said = fs::metadata(&log).map_or(0, |m| m.len());
        // With the test the daemon ends, too, whatever becomes of the test.
        let mut command = self.host.command("setpriv");
        command.args(["--pdeathsig", "KILL"]).args(through).arg(self.programs().path("netd"));
        command.arg("run").arg("--config").arg(&file).arg("--resolv-conf").arg(&resolv_conf);
        command
            .env("RUST_LOG", "debug,h2=info,hyper=info,tonic=info,tower=info")
            .env("NO_COLOR", "1")
            // Never the machine's own firewalld.
            .env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", folder.join("bus").display()))
            .envs(self.environment());
        let child = command.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
        let mut netd = Netd { child, log };
        netd.wait_for("it serves", |netd| netd.said_since(said).contains("netd.started"));
        netd
    }

    /// Writes netd's configuration, which it reads when it starts and on SIGHUP.
    pub fn configure_netd(&self, config: &Value) -> PathBuf {
        let file = self.folder().join("daemon/netd.json");
        fs::write(&file, config.to_string()).unwrap();
        file
    }

    /// The file that stands for the host's /etc/resolv.conf.
    pub fn resolv_conf(&self) -> PathBuf {
        self.folder().join("daemon/resolv.conf")
    }
}

impl Netd {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it logged.
    pub fn said(&self) -> String {
        self.said_since(0)
    }

    fn said_since(&self, start: u64) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(text.get(start as usize..).unwrap_or_default()).into_owned()
    }

    /// Ends it as a service manager does; whether it ended well.
    pub fn stop(mut self) -> bool {
        self.signal(Signal::TERM);
        self.ended().is_some_and(|code| code == 0)
    }

    /// Ends it as the kernel does when memory is short.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).unwrap();
        let _ = kill_process(pid, signal);
    }

    /// Waits until something is so, while it runs.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("netd ended ({status}) before {what}:\n{}", self.said());
            }
            assert!(Instant::now() < deadline, "netd: not in time: {what}:\n{}", self.said());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until it has logged this.
    #[track_caller]
    pub fn wait_to_say(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said().contains(text) {
            assert!(Instant::now() < deadline, "netd never said {text:?}:\n{}", self.said());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Memory that it holds, in KiB.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

impl Drop for Netd {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.signal(Signal::TERM);
            self.ended();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("netd said:\n{}", self.said());
        }
    }
}
