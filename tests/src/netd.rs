//! The node daemon in the lab's host namespace, with the lab's folders.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::lab::Lab;

/// A daemon that runs until dropped.
#[derive(Debug)]
pub struct Netd {
    child: Child,
    log: PathBuf,
}

impl Netd {
    /// Starts it, and waits until it serves.
    #[track_caller]
    pub fn start(lab: &Lab) -> Self {
        let log = lab.folder().join("netd.log");
        let file = File::create(&log).unwrap();
        let resolv_conf = lab.folder().join("resolv.conf");
        fs::write(&resolv_conf, "").unwrap();
        // With the test, it ends too.
        let mut command = lab.host.command("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(lab.programs().path("netd")).arg("run");
        command.arg("--config").arg(lab.folder().join("netd.json"));
        command.arg("--resolv-conf").arg(resolv_conf);
        command.envs(lab.environment()).env("NO_COLOR", "1");
        let child =
            command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).spawn();
        let netd = Self { child: child.unwrap(), log };
        netd.wait_for("netd.started");
        netd
    }

    /// What it wrote.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has written this.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(15);
        while !self.said().contains(text) {
            assert!(Instant::now() < deadline, "netd never said {text:?}:\n{}", self.said());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its process, for signals.
    pub fn process(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Netd {
    fn drop(&mut self) {
        let _ = kill_process(self.process(), Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}
