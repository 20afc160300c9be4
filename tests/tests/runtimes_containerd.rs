//! containerd: `ctr run --cni` with the programs under test in `/opt/cni/bin`.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use cleat_tests::{
    Daemon, Enclosure, Lab, Namespace, Serving, Transport, busybox_root, ranges, require,
};
use serde_json::{Value, json};

const BOTH: [Transport; 2] = [Transport::Tcp, Transport::Udp];

/// `ctr` has no option for ports: the conflist says them, as a network of one container may.
fn conflist(lab: &Lab) -> Value {
    let mut ipam = ranges(&["10.88.0.0/24", "fd00:88::/64"]);
    ipam["dataDir"] = json!(lab.folder().join("leases"));
    json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
        {"type": "bridge", "bridge": "br0", "isDefaultGateway": true, "ipMasq": true,
            "hairpinMode": true, "ipam": ipam},
        {"type": "firewall"},
        {"type": "tuning", "dataDir": lab.folder().join("tuning"),
            "sysctl": {"net.core.somaxconn": "500"}}]})
}

fn published(lab: &Lab) -> Value {
    let mut conflist = conflist(lab);
    let portmap = json!({"type": "portmap", "runtimeConfig": {"portMappings": [
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": 8080, "containerPort": 80, "protocol": "udp"}]}});
    conflist["plugins"].as_array_mut().unwrap().insert(1, portmap);
    conflist
}

const CONFIG: &str = r#"
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
"#;

const CTR: &str = "ctr --address $LAB/containerd.sock";

struct Containerd {
    // Ends before the namespaces that it is in.
    _daemon: Daemon,
    enclosure: Enclosure,
}

impl Containerd {
    fn start(lab: &Lab) -> Self {
        require(&[("containerd", "containerd"), ("ctr", "containerd"), ("runc", "runc")]);
        let enclosure = Enclosure::new(lab, "");
        busybox_root(&enclosure.folder().join("root"));
        fs::write(enclosure.folder().join("config.toml"), CONFIG).unwrap();
        let daemon = enclosure.daemon(
            "containerd --config $LAB/config.toml --root $LAB/data --state $LAB/state \
             --address $LAB/containerd.sock",
            &format!("{CTR} version"),
        );
        Self { _daemon: daemon, enclosure }
    }

    /// A container that sleeps until killed; `ctr` detaches it when it ends.
    fn run(&self, id: &str) -> Running<'_> {
        let log = fs::File::create(self.enclosure.folder().join(format!("{id}.log"))).unwrap();
        let line = format!("exec {CTR} run --rm --cni --rootfs $LAB/root {id} /bin/sleep 300");
        let mut command = self.enclosure.command("sh");
        command.args(["-ec", &line]).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        let mut running = Running { containerd: self, id: id.to_owned(), child, namespace: None };
        let deadline = Instant::now() + Duration::from_secs(20);
        let pid = loop {
            let list = self.enclosure.sh(&format!("{CTR} task ls"));
            let line = list.lines().find(|line| line.starts_with(id) && line.contains("RUNNING"));
            if let Some(pid) = line.and_then(|line| line.split_whitespace().nth(1)) {
                break pid.parse().unwrap();
            }
            assert!(Instant::now() < deadline, "{id}: {}", running.said());
            std::thread::sleep(Duration::from_millis(30));
        };
        running.namespace = Some(Namespace::of_process("ctr", pid));
        running
    }
}

struct Running<'c> {
    containerd: &'c Containerd,
    id: String,
    child: Child,
    namespace: Option<Namespace>,
}

impl Running<'_> {
    fn ns(&self) -> &Namespace {
        self.namespace.as_ref().unwrap()
    }

    fn said(&self) -> String {
        let log = self.containerd.enclosure.folder().join(format!("{}.log", self.id));
        fs::read_to_string(log).unwrap_or_default()
    }

    /// Pings from inside, by the container's own program.
    #[track_caller]
    fn ping(&self, to: &str) {
        let id = &self.id;
        let line = format!("{CTR} task exec --exec-id p {id} /bin/ping -c 1 -W 2 {to}");
        self.containerd.enclosure.sh(&line);
    }

    fn stop(mut self) {
        self.namespace = None;
        let line = format!("{CTR} task kill -s SIGKILL {}", self.id);
        self.containerd.enclosure.sh(&line);
        self.child.wait().unwrap();
        // 137 is how a killed process ends; what ctr itself fails at, it says.
        assert!(!self.said().contains("failed"), "{}", self.said());
    }
}

fn v4(ns: &Namespace) -> String {
    ns.addresses("eth0")[0].split('/').next().unwrap().to_owned()
}

#[test]
fn containers_of_ctr() {
    let lab = Lab::new();
    fs::write(lab.folder().join("net.d/10-net.conflist"), published(&lab).to_string()).unwrap();
    let containerd = Containerd::start(&lab);
    containerd.run("first").stop();
    let before = lab.snapshot();

    let one = containerd.run("one");
    for to in ["10.88.0.1", "fd00:88::1", Lab::LAN[0], Lab::LAN[1]] {
        one.ping(to);
    }
    assert_eq!(one.ns().sysctl("net/core/somaxconn").unwrap(), "500");
    let server = one.ns().serve(80);
    for by in BOTH {
        for to in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
            lab.lan.ask(by, to).unwrap_or_else(|e| panic!("LAN {by:?} {to}: {e}"));
            one.ns().ask(by, to).unwrap_or_else(|e| panic!("hairpin {by:?} {to}: {e}"));
        }
        lab.host.ask(by, "127.0.0.1:8080").unwrap_or_else(|e| panic!("localhost {by:?}: {e}"));
    }
    drop::<Serving>(server);
    one.stop();
    assert!(lab.leased("net").is_empty());
    lab.assert_as_before(&before);
}

#[test]
fn neighbours_of_ctr() {
    let lab = Lab::new();
    fs::write(lab.folder().join("net.d/10-net.conflist"), conflist(&lab).to_string()).unwrap();
    let containerd = Containerd::start(&lab);
    containerd.run("first").stop();
    let before = lab.snapshot();
    let (one, two) = (containerd.run("one"), containerd.run("two"));
    one.ping(&v4(two.ns()));
    two.ping(&v4(one.ns()));
    one.stop();
    two.ping("10.88.0.1");
    two.stop();
    lab.assert_as_before(&before);
}
