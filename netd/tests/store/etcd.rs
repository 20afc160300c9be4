//! Members of etcd of our own.
#![allow(dead_code, reason = "several tests share this, and each uses a part")]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cleat_netd::overlay::EtcdConfig;
use cleat_netd::overlay::store::Etcd;
use tempfile::TempDir;

pub(crate) struct Server {
    folder: TempDir,
    name: String,
    /// For clients, for members.
    ports: [u16; 2],
    /// All members, as etcd wants them.
    members: String,
    /// Where its certificate is, if it asks for those of clients.
    certificates: Option<PathBuf>,
    child: Option<Child>,
}

impl Server {
    /// One member, which answers.
    pub(crate) fn start() -> Self {
        Self::started(None)
    }

    /// One that asks for certificates, with those of a folder.
    pub(crate) fn secured(certificates: &Path) -> Self {
        Self::started(Some(certificates.to_owned()))
    }

    fn started(certificates: Option<PathBuf>) -> Self {
        let mut server = Self::prepared(1).remove(0);
        server.certificates = certificates;
        server.run();
        server.wait();
        server
    }

    /// So many members of one cluster.
    pub(crate) fn cluster(count: usize) -> Vec<Self> {
        let mut members = Self::prepared(count);
        members.iter_mut().for_each(Self::run);
        members.iter().for_each(Self::wait);
        members
    }

    fn prepared(count: usize) -> Vec<Self> {
        // All are held while the others are chosen.
        let held: Vec<TcpListener> =
            (0..count * 2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = held.iter().map(|held| held.local_addr().unwrap().port()).collect();
        let member = |n: usize| format!("m{n}=http://127.0.0.1:{}", ports[n * 2 + 1]);
        let members = (0..count).map(member).collect::<Vec<_>>().join(",");
        (0..count)
            .map(|n| Self {
                folder: tempfile::tempdir().unwrap(),
                name: format!("m{n}"),
                ports: [ports[n * 2], ports[n * 2 + 1]],
                members: members.clone(),
                certificates: None,
                child: None,
            })
            .collect()
    }

    fn url(&self) -> String {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.ports[0])
    }

    /// Starts it, again too.
    pub(crate) fn run(&mut self) {
        let (clients, peers) = (self.url(), format!("http://127.0.0.1:{}", self.ports[1]));
        #[expect(clippy::disallowed_methods, reason = "the server that is tried against")]
        let mut command = Command::new("etcd");
        command.args(["--name", &self.name]).arg("--data-dir").arg(self.folder.path().join("data"));
        command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &self.members, "--unsafe-no-fsync"]);
        if let Some(folder) = &self.certificates {
            command.arg("--client-cert-auth");
            for (option, file) in [
                ("--trusted-ca-file", "ca.pem"),
                ("--cert-file", "etcd.pem"),
                ("--key-file", "etcd-key.pem"),
            ] {
                command.arg(option).arg(folder.join(file));
            }
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child =
            Some(child.expect("etcd does not start: install Debian's package etcd-server"));
        if self.members.split(',').count() == 1 {
            self.wait();
        }
    }

    /// Until it listens.
    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", self.ports[0])).is_err() {
            assert!(Instant::now() < deadline, "etcd does not listen");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Killed, as by a loss of power.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn client(&self, prefix: &str) -> Etcd {
        Etcd::new(self.config(prefix)).unwrap()
    }

    pub(crate) fn config(&self, prefix: &str) -> EtcdConfig {
        EtcdConfig {
            endpoints: vec![self.url()],
            prefix: prefix.to_owned(),
            timeout_ms: 5000,
            ..EtcdConfig::default()
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
