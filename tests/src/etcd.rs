//! Debian's etcd on a fleet's switch: one member or three, each in a namespace of its own, so that
//! each can be stopped, cut off and restored.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::certificates::Certificates;
use crate::enclosure::require;
use crate::fleet::Fleet;
use crate::invoke::Outcome;
use crate::lab::station;
use crate::namespace::Namespace;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(40);

/// A cluster; ended, by process id, and removed when dropped.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Member>,
    folder: PathBuf,
    token: Mutex<String>,
    tls: Option<Certificates>,
}

#[derive(Debug)]
struct Member {
    number: usize,
    namespace: Namespace,
    data: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Etcd {
    /// The ranges in which members' addresses lie, in nft's words, IPv4 first.
    pub const ADDRESSES: [&str; 2] = ["192.0.2.200-192.0.2.209", "2001:db8::200-2001:db8::209"];

    /// Its port on the switch; members count from 1.
    pub(crate) fn port_of(member: usize) -> String {
        format!("m{member}")
    }

    /// So many members in plain text; they are healthy when this returns.
    pub fn start(fleet: &Fleet, count: usize) -> Self {
        Self::start_with(fleet, count, false)
    }

    /// So many members that ask clients for a certificate.
    pub fn start_tls(fleet: &Fleet, count: usize) -> Self {
        Self::start_with(fleet, count, true)
    }

    fn start_with(fleet: &Fleet, count: usize, tls: bool) -> Self {
        require(&[("etcd", "etcd-server"), ("etcdctl", "etcd-client")]);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("cleat-etcd-{}-{number}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let members: Vec<Member> =
            (1..=count).map(|number| Member::new(number, &fleet.switch, &folder)).collect();
        let named = members.iter().flat_map(|member| addresses(member.number)).collect();
        let tls = tls.then(|| Certificates::make(&folder, named));
        let etcd = Self { members, folder, token: Mutex::new("first".into()), tls };
        etcd.run();
        etcd
    }

    /// Starts all members that do not run.
    #[track_caller]
    pub fn run(&self) {
        for member in &self.members {
            self.launch(member);
        }
        self.wait_healthy();
    }

    /// Starts a member that was stopped.
    #[track_caller]
    pub fn run_member(&self, number: usize) {
        self.launch(&self.members[number - 1]);
        self.wait_healthy();
    }

    /// Ends all members as a service manager does.
    pub fn stop(&self) {
        self.members.iter().for_each(|member| member.end(Signal::TERM));
    }

    /// Ends a member with SIGKILL.
    pub fn kill_member(&self, number: usize) {
        self.members[number - 1].end(Signal::KILL);
    }

    /// `etcdctl` with these words, at the members that run, or at all if none does.
    pub fn ctl(&self, words: &[&str]) -> Outcome {
        let any = self.members.iter().any(Member::runs);
        Outcome::of(self.etcdctl(&self.endpoints_of(|m| m.runs() || !any)).args(words))
    }

    /// Saves what a member has into a file in the cluster's folder, which is returned.
    #[track_caller]
    pub fn snapshot(&self, name: &str) -> PathBuf {
        let file = self.folder.join(name);
        let first = self.members.iter().find(|member| member.runs()).expect("a member runs");
        let endpoint = self.endpoint(first);
        let mut save = self.etcdctl(&endpoint);
        succeeded(&Outcome::of(save.args(["snapshot", "save"]).arg(&file)));
        file
    }

    /// Goes back to a snapshot, by the manual's steps: members stop, are made from it, and run
    /// again. The cluster's id is another one if the token is.
    #[track_caller]
    pub fn restore(&self, snapshot: &Path, token: &str) {
        self.stop();
        token.clone_into(&mut self.token.lock().unwrap());
        for member in &self.members {
            fs::remove_dir_all(&member.data).unwrap();
            let mut restore = member.etcdctl();
            restore.args(["snapshot", "restore"]).arg(snapshot);
            restore
                .args(["--name", &Self::port_of(member.number)])
                .arg("--data-dir")
                .arg(&member.data);
            restore.args(["--initial-cluster", &self.initial(), "--initial-cluster-token", token]);
            restore.args(["--initial-advertise-peer-urls", &peer_url(member.number)]);
            succeeded(&Outcome::of(&mut restore));
        }
        self.run();
    }

    /// Forgets all revisions but the last; its number.
    #[track_caller]
    pub fn compact(&self) -> u64 {
        let revision = self.revision();
        succeeded(&self.ctl(&["compaction", "--physical", &revision.to_string()]));
        revision
    }

    /// The store's revision.
    #[track_caller]
    pub fn revision(&self) -> u64 {
        let outcome = self.ctl(&["endpoint", "status", "-w", "json"]);
        outcome.ok()[0]["Status"]["header"]["revision"].as_u64().unwrap()
    }

    /// Where clients reach the members, running or not.
    pub fn endpoints(&self) -> Vec<String> {
        self.endpoints_of(|_| true).split(',').map(str::to_owned).collect()
    }

    /// The section `etcd` of netd's configuration.
    pub fn client_section(&self) -> Value {
        let mut section = json!({"endpoints": self.endpoints()});
        if let Some(tls) = &self.tls {
            section["ca"] = json!(tls.ca);
            section["cert"] = json!(tls.client.certificate);
            section["key"] = json!(tls.client.key);
        }
        section
    }

    /// What all members logged.
    pub fn said(&self) -> String {
        self.members.iter().map(|m| fs::read_to_string(m.log()).unwrap_or_default()).collect()
    }

    fn endpoint(&self, member: &Member) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}:2379", addresses(member.number)[0])
    }

    fn endpoints_of(&self, wanted: impl Fn(&Member) -> bool) -> String {
        let found: Vec<String> =
            self.members.iter().filter(|member| wanted(member)).map(|m| self.endpoint(m)).collect();
        found.join(",")
    }

    fn etcdctl(&self, endpoints: &str) -> Command {
        let member = self.members.iter().find(|member| member.runs()).unwrap_or(&self.members[0]);
        let mut command = member.etcdctl();
        command.args(["--command-timeout", "5s", "--endpoints", endpoints]);
        if let Some(tls) = &self.tls {
            command.arg("--cacert").arg(&tls.ca);
            command.arg("--cert").arg(&tls.client.certificate).arg("--key").arg(&tls.client.key);
        }
        command
    }

    fn initial(&self) -> String {
        let each = |m: &Member| format!("{}={}", Self::port_of(m.number), peer_url(m.number));
        self.members.iter().map(each).collect::<Vec<_>>().join(",")
    }

    fn launch(&self, member: &Member) {
        if member.runs() {
            return;
        }
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let [v4, v6] = addresses(member.number);
        let clients = format!("{scheme}://{v4}:2379,{scheme}://[{v6}]:2379");
        let peers = peer_url(member.number);
        let log = File::options().append(true).create(true).open(member.log()).unwrap();
        // With the test it ends, too, whatever becomes of the test.
        let mut command = member.namespace.command("setpriv");
        command.args(["--pdeathsig", "KILL", "etcd", "--name", &Self::port_of(member.number)]);
        command.arg("--data-dir").arg(&member.data);
        command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &self.initial(), "--initial-cluster-state", "new"]);
        command.args(["--initial-cluster-token", &self.token.lock().unwrap()]);
        command.args(["--logger", "zap", "--log-outputs", "stderr"]);
        if let Some(tls) = &self.tls {
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(&tls.ca);
            command.arg("--cert-file").arg(&tls.server.certificate);
            command.arg("--key-file").arg(&tls.server.key);
        }
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        *member.child.lock().unwrap() = Some(child);
    }

    #[track_caller]
    fn wait_healthy(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = self.ctl(&["endpoint", "health"]);
            if last.succeeded() {
                return;
            }
            assert!(Instant::now() < deadline, "etcd: {}\n{}", last.stderr, self.said());
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if thread::panicking() {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            eprintln!("etcd said last:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        self.members.iter().for_each(|member| member.end(Signal::KILL));
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Member {
    fn new(number: usize, switch: &Namespace, folder: &Path) -> Self {
        let namespace = Namespace::create("etcd");
        let port = Etcd::port_of(number);
        namespace.ip(&format!("link add eth0 type veth peer name {port} netns {}", switch.name()));
        station(&namespace, "eth0", &addresses(number));
        switch.ip(&format!("link set {port} master br0 up"));
        Self { number, namespace, data: folder.join(port), child: Mutex::default() }
    }

    fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    fn runs(&self) -> bool {
        self.child.lock().unwrap().is_some()
    }

    fn etcdctl(&self) -> Command {
        let mut command = self.namespace.command("etcdctl");
        command.env("ETCDCTL_API", "3");
        command
    }

    fn end(&self, signal: Signal) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal);
            let _ = child.wait();
        }
    }
}

#[track_caller]
fn succeeded(outcome: &Outcome) {
    assert!(outcome.succeeded(), "{outcome:?}");
}

fn addresses(member: usize) -> [String; 2] {
    [format!("192.0.2.{}", 200 + member), format!("2001:db8::{}", 200 + member)]
}

fn peer_url(member: usize) -> String {
    format!("http://{}:2380", addresses(member)[0])
}
