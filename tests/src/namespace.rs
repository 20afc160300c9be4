//! A network namespace with a name, and what `ip`, `nft` and `ping` say inside it. Panics with the
//! tool's own words when a tool fails: a lab that is not as asked for proves nothing.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A network namespace. A clone is the same one, which is deleted when the last is dropped.
#[derive(Debug, Clone)]
pub struct Namespace {
    owned: Arc<Owned>,
}

#[derive(Debug)]
struct Owned {
    name: String,
}

impl Namespace {
    /// A new namespace with `lo` down, as a runtime makes it. The process id leads its name, so
    /// that what a killed test left can be told from what is in use.
    pub fn create(role: &str) -> Self {
        let namespace = Self::named(role);
        succeed(Command::new("ip").args(["netns", "add", namespace.name()]));
        namespace
    }

    /// The namespace of a process, under a name; the namespace lives on while this does.
    pub fn of_process(role: &str, pid: u32) -> Self {
        let namespace = Self::named(role);
        succeed(Command::new("ip").args(["netns", "attach", namespace.name(), &pid.to_string()]));
        namespace
    }

    fn named(role: &str) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("clt{}-{number}-{role}", process::id());
        Self { owned: Arc::new(Owned { name }) }
    }

    /// Its name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.owned.name
    }

    /// Its path, the value of `CNI_NETNS`.
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(self.name())
    }

    /// Deletes it before its owner goes, as a runtime does on a container's sudden end.
    pub fn delete(&self) {
        // Twice is no harm: the drop comes after it.
        self.owned.delete();
    }

    /// Another, empty namespace under the same name, as after a reboot. Processes inside must have
    /// ended.
    pub(crate) fn renew(&self) {
        self.owned.delete();
        succeed(Command::new("ip").args(["netns", "add", self.name()]));
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.name()]).arg(program);
        command
    }

    /// Runs a shell line inside and returns what it prints.
    pub fn sh(&self, line: &str) -> String {
        succeed(self.command("sh").args(["-ec", line]))
    }

    /// `ip -n NAME ARGS`.
    pub fn ip(&self, args: &str) -> String {
        succeed(Command::new("ip").args(["-n", self.name()]).args(args.split_whitespace()))
    }

    /// `ip -j -d -n NAME ARGS`; an object that does not exist is an empty list.
    pub fn ip_json(&self, args: &str) -> Value {
        let output = Command::new("ip")
            .args(["-j", "-d", "-n", self.name()])
            .args(args.split_whitespace())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        if text.trim().is_empty() {
            return Value::Array(Vec::new());
        }
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("ip {args}: {e}: {text}"))
    }

    /// The link of this name, as `ip -j -d link` shows it.
    pub fn link(&self, name: &str) -> Option<Value> {
        self.ip_json("link").as_array()?.iter().find(|l| l["ifname"] == name).cloned()
    }

    /// The global addresses of a link, each with its prefix length, IPv4 first.
    pub fn addresses(&self, link: &str) -> Vec<String> {
        let mut found = Vec::new();
        for address in self.ip_json(&format!("addr show dev {link}"))[0]["addr_info"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|a| a["scope"] == "global")
        {
            found.push(format!("{}/{}", address["local"].as_str().unwrap(), address["prefixlen"]));
        }
        found.sort_by_key(|a| a.contains(':'));
        found
    }

    /// The link has a link-local IPv6 address in use.
    pub(crate) fn has_link_local(&self, link: &str) -> bool {
        const TENTATIVE: u8 = 0x40;
        let table = self.run(|| fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap());
        // Address, index, prefix length, scope, flags, name.
        table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).any(|words| {
            words[5] == link
                && words[3] == "20"
                && u8::from_str_radix(words[4], 16).unwrap() & TENTATIVE == 0
        })
    }

    /// The routes of the main table in one family (`-4` or `-6`) with this destination, as
    /// `ip` names it (`default`, `10.0.0.0/24`).
    pub fn routes(&self, family: &str, destination: &str) -> Vec<Value> {
        let all = self.ip_json(&format!("{family} route show"));
        all.as_array().unwrap().iter().filter(|r| r["dst"] == destination).cloned().collect()
    }

    /// The whole ruleset, stateless.
    pub fn nft_json(&self) -> Value {
        // nft 1.0.6 has no word for the flag of a table with an owner, and prints bytes that are
        // no JSON; while somebody changes the ruleset it may print half a document.
        let tables = self.sh("nft list tables");
        let owned = |line: &&str| line.ends_with(" cleat-guard");
        if tables.lines().any(|line| owned(&line)) {
            let all = tables.lines().filter(|line| !owned(line)).map(|line| {
                let list = format!("nft -j -s list {line} || true");
                let listed: Value = serde_json::from_str(&self.sh(&list)).ok()?;
                listed["nftables"].as_array().cloned()
            });
            // A table that is gone meanwhile is one that is not there.
            return Value::Array(all.flatten().flatten().collect());
        }
        let text = succeed(self.command("nft").args(["-j", "-s", "list", "ruleset"]));
        let mut document: Value = serde_json::from_str(&text).unwrap();
        document["nftables"].take()
    }

    /// Loads an nft script.
    pub fn nft(&self, script: &str) {
        self.sh(&format!("nft -f - <<'END'\n{script}\nEND"));
    }

    /// One echo request answered within a second.
    pub fn ping(&self, to: &str) -> bool {
        let mut command = self.command("ping");
        command.args(["-n", "-c", "1", "-W", "1", to]).output().unwrap().status.success()
    }

    /// A sysctl by its path below /proc/sys, for instance `net/ipv4/ip_forward`; `None` where the
    /// kernel has none of that name.
    pub fn sysctl(&self, path: &str) -> Option<String> {
        let path = Path::new("/proc/sys").join(path);
        self.run(move || fs::read_to_string(path).ok().map(|text| text.trim().to_owned()))
    }

    /// Sets a sysctl.
    pub fn set_sysctl(&self, path: &str, value: &str) {
        let file = Path::new("/proc/sys").join(path);
        self.run(|| fs::write(file, value)).unwrap_or_else(|e| panic!("{path}={value}: {e}"));
    }

    /// Runs a closure on a thread of its own inside; sockets that it makes stay inside.
    pub fn run<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> T {
        let file = fs::File::open(self.path()).unwrap();
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                        .unwrap();
                    closure()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Owned {
    fn delete(&self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.delete();
    }
}

/// Runs a tool that must succeed and returns what it printed.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
