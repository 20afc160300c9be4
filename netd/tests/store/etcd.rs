//! A member of etcd of its own.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cleat_netd::overlay::EtcdConfig;
use cleat_netd::overlay::store::Etcd;
use tempfile::TempDir;

pub(crate) struct Server {
    folder: TempDir,
    ports: [u16; 2],
    child: Option<Child>,
}

impl Server {
    /// Runs and answers.
    pub(crate) fn start() -> Self {
        let ports = {
            // Both are held while the other is chosen.
            let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
            held.map(|listener| listener.local_addr().unwrap().port())
        };
        let mut server = Self { folder: tempfile::tempdir().unwrap(), ports, child: None };
        server.run();
        server
    }

    pub(crate) fn run(&mut self) {
        let [clients, peers] = self.ports.map(|port| format!("http://127.0.0.1:{port}"));
        #[expect(clippy::disallowed_methods, reason = "the server that is tried against")]
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("default={peers}"), "--unsafe-no-fsync"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd does not start: install Debian's package etcd-server");
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(20);
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

    #[allow(dead_code, reason = "of one of the tests that share this")]
    pub(crate) fn config(&self, prefix: &str) -> EtcdConfig {
        EtcdConfig {
            endpoints: vec![format!("http://127.0.0.1:{}", self.ports[0])],
            prefix: prefix.to_owned(),
            ..EtcdConfig::default()
        }
    }

    /// By the endpoint that etcdctl uses, which need not be installed.
    #[allow(dead_code, reason = "of one of the tests that share this")]
    pub(crate) fn compact(&self, revision: i64) {
        let body = format!("{{\"revision\":\"{revision}\"}}");
        let request = format!(
            "POST /v3/kv/compaction HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[0])).unwrap();
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        assert!(answer.contains("200 OK"), "{answer}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
