//! netd as a service of systemd, by the units that are shipped: activated by its socket, in its
//! sandbox, watched, reloaded, killed and stopped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cleat_tests::{Container, Lab, ranges, require, wait_until};
use serde_json::{Value, json};

const BOOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/runtimes_systemd.boot");
const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/systemd");
const GATEWAY: &str = "10.61.0.1";

/// A machine that systemd runs, with the lab's folders and network, until dropped.
struct Machine<'l> {
    lab: &'l Lab,
    unshare: Child,
    init: u32,
    group: PathBuf,
}

impl<'l> Machine<'l> {
    fn boot(lab: &'l Lab) -> Self {
        require(&[("unshare", "util-linux"), ("systemctl", "systemd"), ("curl", "curl")]);
        assert!(Path::new("/lib/systemd/systemd").exists(), "apt-get install systemd");
        let folder = lab.folder().join("systemd");
        fs::create_dir_all(folder.join("machine")).unwrap();
        let group = unified().join(format!("cleat-lab-{}", std::process::id()));
        fs::create_dir_all(&group).unwrap();
        let line = format!(
            "echo $$ >{}/cgroup.procs; exec unshare --pid --fork --kill-child --mount --propagation \
             slave --uts --ipc --cgroup sh {BOOT}",
            group.display()
        );
        let log = fs::File::create(folder.join("log")).unwrap();
        // Not `ip netns exec`: its fresh /sys hides the control groups.
        let unshare = Command::new("nsenter")
            .arg(format!("--net={}", lab.host.path().display()))
            .args(["setpriv", "--pdeathsig", "KILL", "sh", "-ec", &line])
            .envs(lab.environment())
            .env("LAB", &folder)
            .env("UNITS", UNITS)
            .env("PLUGINS", lab.programs().folder())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut machine = Self { lab, unshare, init: 0, group };
        let said = || fs::read_to_string(folder.join("log")).unwrap_or_default();
        let children = format!("/proc/{0}/task/{0}/children", machine.unshare.id());
        let deadline = Instant::now() + Duration::from_secs(30);
        while machine.init == 0 || machine.state("basic.target") != "active" {
            assert!(Instant::now() < deadline, "systemd does not start: {}", said());
            let child = fs::read_to_string(&children).unwrap_or_default();
            machine.init = child.trim().parse().unwrap_or(0);
            std::thread::sleep(Duration::from_millis(100));
        }
        machine
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.init.to_string(), "-m", "-p", "-n", "-i", "-C"]);
        command.args(["timeout", "40", "sh", "-ec", line]).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn run(&self, line: &str) -> String {
        let output = self.command(line).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let journal = || {
            let all = self.command("journalctl --no-pager -n 40 -u cleat-netd").output().unwrap();
            String::from_utf8_lossy(&all.stdout).into_owned()
        };
        assert!(output.status.success(), "{line}: {output:?}\n{}", journal());
        text
    }

    fn state(&self, unit: &str) -> String {
        let output = self.command(&format!("systemctl is-active {unit}")).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A property of netd's service.
    #[track_caller]
    fn property(&self, name: &str) -> String {
        self.run(&format!("systemctl show --value -p {name} cleat-netd.service"))
    }

    #[track_caller]
    fn status(&self) -> Value {
        let line =
            "curl -sf --max-time 20 --unix-socket /run/cleat/netd.sock http://netd/v1/status";
        serde_json::from_str(&self.run(line)).unwrap()
    }

    fn restarts(&self) -> u32 {
        self.property("NRestarts").parse().unwrap()
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.lab.folder().join("systemd/log");
            eprintln!("systemd said:\n{}", fs::read_to_string(log).unwrap_or_default());
        }
        // With it goes all that runs in there.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        let deadline = Instant::now() + Duration::from_secs(5);
        while remove_groups(&self.group).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Where the one hierarchy of control groups is mounted.
fn unified() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let found = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    let found = found.expect("no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup");
    found.split(' ').nth(1).unwrap().into()
}

fn remove_groups(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// A container called so, of a bridge network or of one whose containers reach no host.
fn attach(lab: &Lab, kind: &str, name: &str) -> (Container, String) {
    let mut plugin = json!({"type": kind, "embeddedDNS": true, "ipam": ranges(&["10.61.0.0/24"])});
    let own = match kind {
        "bridge" => json!({"bridge": "clweb", "isDefaultGateway": true, "ipMasq": true}),
        _ => json!({"master": "eth0", "ipam": ranges(&["192.0.2.0/24"])}),
    };
    for (key, value) in own.as_object().unwrap() {
        plugin[key] = value.clone();
    }
    let list = json!({"cniVersion": "1.1.0", "name": format!("net{kind}"), "plugins": [plugin]});
    let container = lab.container();
    container.ns.ip("link set lo up");
    let args = format!("IgnoreUnknown=1;K8S_POD_NAME={name}");
    let address = lab.chain(list).args(&args).attach(&container).v4();
    (container, address)
}

#[test]
fn netd_by_its_units() {
    let lab = Lab::new();
    let machine = Machine::boot(&lab);
    // Activated by who asks.
    machine.run("systemctl start cleat-netd.socket");
    assert_eq!(machine.state("cleat-netd.service"), "inactive");
    assert_eq!(machine.status()["runDir"], "/run/cleat");
    assert_eq!(machine.state("cleat-netd.service"), "active");
    sandboxed(&machine);

    // It answers at gateways, and inside namespaces that came after it.
    let (one, address) = attach(&lab, "bridge", "one");
    assert_eq!(one.ns.look_up(GATEWAY, "one", "A").data, [&*address]);
    let (two, its) = attach(&lab, "macvlan", "two");
    assert_eq!(two.ns.look_up("127.0.0.11", "two", "A").data, [its]);
    // It mends.
    lab.host.set_sysctl("net/ipv4/ip_forward", "0");
    wait_until("forwarding is on again", || {
        lab.host.sysctl("net/ipv4/ip_forward").as_deref() == Some("1")
    });

    // Killed: what is asked waits for the next.
    wait_until("the sockets are kept", || machine.property("NFileDescriptorStore") == "2");
    machine.run("systemctl kill --signal=KILL cleat-netd.service");
    assert_eq!(one.ns.look_up(GATEWAY, "one", "A").data, [&*address]);
    assert_eq!(machine.restarts(), 1);

    // Reloaded.
    machine.run("echo '{\"metrics\": \"127.0.0.1:9330\"}' >/etc/cleat/netd.json");
    machine.run("systemctl reload cleat-netd.service");
    let metrics = || lab.host.sh("curl -s http://127.0.0.1:9330/metrics || true");
    wait_until("metrics are served", || metrics().contains("cleat_attachments"));

    hung(&machine);
    assert_eq!(one.ns.look_up(GATEWAY, "one", "A").data, [&*address]);

    machine.run("systemctl stop cleat-netd.socket cleat-netd.service");
    assert_eq!(machine.property("Result"), "success");
    assert!(one.ns.ping(GATEWAY), "containers stay connected");
    let ask = cleat_tests::Ask::new(GATEWAY, "one", "A").within(Duration::from_millis(500));
    assert!(one.ns.ask_name(&ask).is_err(), "nobody answers, and no socket is left");
}

/// What the kernel says that it may do.
fn sandboxed(machine: &Machine<'_>) {
    let status = machine.run("cat /proc/$(systemctl show --value -p MainPID cleat-netd)/status");
    let value = |label: &str| {
        status.lines().find_map(|line| line.strip_prefix(label)).map(str::trim).unwrap()
    };
    assert_eq!((value("NoNewPrivs:"), value("Seccomp:")), ("1", "2"));
    // DAC_OVERRIDE, NET_BIND_SERVICE, NET_ADMIN, NET_RAW, SYS_PTRACE, SYS_ADMIN.
    let few = [1, 10, 12, 13, 19, 21].iter().fold(0_u64, |bits, bit| bits | 1 << bit);
    assert_eq!(u64::from_str_radix(value("CapBnd:"), 16).unwrap(), few);
}

/// One that hangs is ended by the watchdog, and started anew.
fn hung(machine: &Machine<'_>) {
    let folder = "/etc/systemd/system/cleat-netd.service.d";
    let lines = "[Service]\\nWatchdogSec=2s\\nTimeoutAbortSec=1s\\n";
    machine.run(&format!("mkdir {folder}; printf '{lines}' >{folder}/soon.conf"));
    machine.run("systemctl daemon-reload; systemctl restart cleat-netd.service");
    let before = machine.restarts();
    machine.run("systemctl kill --signal=STOP --kill-whom=main cleat-netd.service");
    let deadline = Instant::now() + Duration::from_secs(15);
    while machine.restarts() == before || machine.state("cleat-netd.service") != "active" {
        assert!(Instant::now() < deadline, "the watchdog does nothing");
        std::thread::sleep(Duration::from_millis(100));
    }
}
