//! Name servers that are compared: netd, aardvark-dns, dnsmasq, and a bare C program. Each on a
//! node of its own, at the gateway of the same network, made by the same plugin, with the same
//! names; and a container that asks.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cleat_tests::{Container, Lab, Namespace, Netd, numbered, question};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::tools::compiled;

pub(crate) const GATEWAY: &str = "10.61.0.1";
const ASKER: &str = "10.61.0.2";
const NETWORK: &str = "web";
const PATIENCE: Duration = Duration::from_secs(30);

/// Who is compared; netd first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Netd,
    Aardvark,
    Dnsmasq,
    Responder,
}

impl Who {
    pub(crate) const ALL: [Self; 4] = [Self::Netd, Self::Aardvark, Self::Dnsmasq, Self::Responder];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Netd => "cleat",
            Self::Aardvark => "aardvark-dns",
            Self::Dnsmasq => "dnsmasq",
            Self::Responder => "floor",
        }
    }
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Address(Ipv4Addr),
    NoName,
    Other,
}

/// Somebody who asks from inside a container.
#[derive(Debug)]
pub(crate) struct Asker {
    socket: UdpSocket,
    id: u16,
}

impl Asker {
    pub(crate) fn new(container: &Container) -> Self {
        let socket = container.ns.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect((GATEWAY, 53)).unwrap();
            socket
        });
        Self { socket, id: 0 }
    }

    /// Asks once; `None`: no answer within so long.
    pub(crate) fn ask(&mut self, name: &str, patience: Duration) -> Option<Told> {
        self.id = self.id.wrapping_add(1);
        self.socket.set_read_timeout(Some(patience)).unwrap();
        // While nobody listens, the kernel says so on the next call.
        self.socket.send(&question(self.id, name)).ok()?;
        let mut bytes = [0; 512];
        loop {
            let length = self.socket.recv(&mut bytes).ok()?;
            let told = &bytes[..length];
            if length > 12 && told[..2] == self.id.to_be_bytes() {
                return Some(match (told[3] & 0x0f, told[7]) {
                    (0, 1) => {
                        let address: [u8; 4] = told[length - 4..].try_into().unwrap();
                        Told::Address(address.into())
                    }
                    (3, _) => Told::NoName,
                    _ => Told::Other,
                });
            }
        }
    }

    /// Asks until somebody answers so; how long that took.
    pub(crate) fn until(&mut self, name: &str, is_right: impl Fn(Told) -> bool) -> Duration {
        let start = Instant::now();
        loop {
            if self.ask(name, Duration::from_millis(20)).is_some_and(&is_right) {
                return start.elapsed();
            }
            assert!(start.elapsed() < PATIENCE, "{name} was not answered in {PATIENCE:?}");
            thread::sleep(Duration::from_micros(200));
        }
    }
}

enum Running {
    Netd(Netd),
    Child(Child),
    Daemon(u32),
}

/// One server on its node.
pub(crate) struct Server {
    pub(crate) who: Who,
    pub(crate) lab: Lab,
    pub(crate) container: Container,
    names: usize,
    running: Option<Running>,
}

impl Server {
    /// Serves so many names; others are forwarded to the LAN's other station.
    pub(crate) fn start(who: Who, names: usize) -> Self {
        let lab = Lab::new();
        let container = lab.container();
        container.ns.ip("link set lo up");
        let chain = lab.chain(json!({
            "cniVersion": "1.1.0", "name": NETWORK, "plugins": [{
                "type": "bridge", "bridge": "clweb", "isDefaultGateway": true, "ipMasq": true,
                "embeddedDNS": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.61.0.0/16"}]]},
            }],
        }));
        assert_eq!(chain.attach(&container).v4(), ASKER);
        let mut server = Self { who, lab, container, names, running: None };
        server.lay();
        server.run();
        server
    }

    /// Writes what it serves, as it wants it.
    fn lay(&self) {
        let all = (0..self.names).map(numbered);
        match self.who {
            Who::Netd => self.lab.record_names(self.names),
            Who::Aardvark => {
                let folder = self.folder();
                fs::create_dir_all(&folder).unwrap();
                let mut text = format!("{GATEWAY} {}\n{:064x} {ASKER}  asker\n", Lab::LAN[0], 1);
                for (number, (name, address)) in all.enumerate() {
                    writeln!(text, "{:064x} {address}  {name}", number + 2).unwrap();
                }
                fs::write(folder.join(NETWORK), text).unwrap();
            }
            Who::Dnsmasq => {
                let mut text = String::new();
                all.for_each(|(name, address)| writeln!(text, "{address} {name}").unwrap());
                fs::write(self.folder(), text).unwrap();
            }
            Who::Responder => {}
        }
    }

    fn folder(&self) -> PathBuf {
        self.lab.folder().join("names")
    }

    /// Starts it; it answers when this returns.
    pub(crate) fn run(&mut self) {
        assert!(self.running.is_none());
        let quiet = |mut command: std::process::Command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"))
        };
        let host = &self.lab.host;
        self.running = Some(match self.who {
            Who::Netd => Running::Netd(quiet_netd(&self.lab)),
            Who::Aardvark => {
                let mut command = host.command(aardvark());
                let folder = self.folder();
                let _ = fs::remove_file(folder.join("aardvark.pid"));
                command.arg("--config").arg(&folder).args(["--port", "53", "run"]);
                // It goes on in a child of its own, whose id it leaves in a file.
                assert!(quiet(command).wait().unwrap().success(), "aardvark-dns does not start");
                let pid = fs::read_to_string(folder.join("aardvark.pid")).unwrap();
                Running::Daemon(pid.trim().parse().unwrap())
            }
            Who::Dnsmasq => {
                let mut command = host.command("dnsmasq");
                command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts"]);
                command.args(["--no-resolv", "--bind-interfaces", "--pid-file=", "--user=root"]);
                command.args(["--cache-size=10000", "--local-ttl=5", "--dns-forward-max=1000"]);
                command.arg(format!("--addn-hosts={}", self.folder().display()));
                command.arg(format!("--listen-address={GATEWAY}"));
                command.arg(format!("--server={}", Lab::LAN[0]));
                Running::Child(quiet(command))
            }
            Who::Responder => Running::Child(bare(host, GATEWAY)),
        });
        let (name, address) = numbered(0);
        let fixed = self.who == Who::Responder;
        self.asker().until(&name, |told| match told {
            Told::Address(told) => fixed || told == address,
            _ => false,
        });
    }

    pub(crate) fn asker(&self) -> Asker {
        Asker::new(&self.container)
    }

    /// Ends it as the kernel does when memory is short.
    pub(crate) fn kill(&mut self) {
        match self.running.take() {
            Some(Running::Netd(netd)) => netd.kill(),
            Some(Running::Child(mut child)) => {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            Some(Running::Daemon(pid)) => {
                let _ = kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL);
                while Path::new(&format!("/proc/{pid}/exe")).exists() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            None => {}
        }
    }

    /// Memory that it holds, in MiB.
    pub(crate) fn resident(&self) -> f64 {
        self.memory("VmRSS:")
    }

    /// A part of it, by its name in proc_pid_status(5).
    pub(crate) fn memory(&self, part: &str) -> f64 {
        let pid = match self.running.as_ref().unwrap() {
            Running::Netd(netd) => netd.pid(),
            Running::Child(child) => child.id(),
            Running::Daemon(pid) => *pid,
        };
        memory(pid, part)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn memory(pid: u32, part: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(part)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// netd, logging what it logs by default.
pub(crate) fn quiet_netd(lab: &Lab) -> Netd {
    lab.netd_through(&json!({}), &["env", "RUST_LOG=info"])
}

/// The bare program as somebody else's server, until dropped.
#[derive(Debug)]
pub(crate) struct Upstream(Child);

/// The bare program at an address in a namespace.
pub(crate) fn respond(namespace: &Namespace, address: &str) -> Upstream {
    Upstream(bare(namespace, address))
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bare(namespace: &Namespace, address: &str) -> Child {
    let mut command = namespace.command("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(compiled("responder")).args([address, "53"]);
    command.spawn().unwrap()
}

/// The program that `tests/run --only bench` installed beside what it builds.
pub(crate) fn aardvark() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let program = target.join("peers/bin/aardvark-dns");
    assert!(
        program.exists(),
        "{} is missing: cargo install --root {} --locked aardvark-dns --version 2.1.0",
        program.display(),
        target.join("peers").display()
    );
    program
}
