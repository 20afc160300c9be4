//! One node: folders, a host namespace, and a LAN that it is connected to.

use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use serde_json::{Value, json};

use crate::chain::Chain;
use crate::invoke::Invocation;
use crate::namespace::Namespace;
use crate::programs::Programs;
use crate::snapshot::Snapshot;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A node under test. The host is 192.0.2.1 and 2001:db8::1 on `eth0`; its default routes lead to
/// the LAN's only other station, 192.0.2.2 and 2001:db8::2, which has no route back to any
/// container: who answers from there was translated, or [`Lab::route_from_lan`] was called.
/// Forwarding is off.
#[derive(Debug)]
pub struct Lab {
    /// The node's own namespace.
    pub host: Namespace,
    /// Another station on the node's LAN.
    pub lan: Namespace,
    programs: Programs,
    folder: PathBuf,
    addresses: Mutex<[String; 2]>,
    boot: Mutex<Option<String>>,
}

impl Lab {
    /// The host's addresses on the LAN.
    pub const HOST: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
    /// The other station's addresses on the LAN.
    pub const LAN: [&str; 2] = ["192.0.2.2", "2001:db8::2"];

    /// A node with the programs under test, when its LAN answers.
    pub fn new() -> Self {
        let lab = Self::still();
        // The kernel notices a carrier within a second; before that neither side answers neighbour
        // solicitations, and a test would wait for the next one.
        let up = || [&lab.host, &lab.lan].iter().all(|ns| ns.has_link_local("eth0"));
        wait_until("the LAN is up", up);
        lab
    }

    /// A node for tests that send nothing over the LAN, and need not wait for it.
    pub fn still() -> Self {
        let lab = Self::beside(Namespace::create("lan"), Self::HOST);
        lab.connect(None, "eth0");
        station(&lab.lan, "eth0", &Self::LAN.map(str::to_owned));
        lab
    }

    /// A node with these addresses, not connected to its LAN yet.
    pub(crate) fn beside(lan: Namespace, addresses: [&str; 2]) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("cleat-lab-{}-{number}", process::id()));
        for name in ["run", "state", "net.d", "leases", "tuning"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        Self {
            host: Namespace::create("host"),
            lan,
            programs: Programs::under_test(),
            folder,
            addresses: Mutex::new(addresses.map(str::to_owned)),
            boot: Mutex::default(),
        }
    }

    /// Gives the host its `eth0` with this address, if not any, whose other end has a name in the
    /// LAN's namespace.
    pub(crate) fn connect(&self, mac: Option<&str>, far: &str) {
        let host = &self.host;
        host.set_sysctl("net/ipv4/ip_forward", "0");
        host.set_sysctl("net/ipv6/conf/all/forwarding", "0");
        let own = mac.map(|mac| format!("address {mac}")).unwrap_or_default();
        let lan = self.lan.name();
        host.ip(&format!("link add eth0 {own} type veth peer name {far} netns {lan}"));
        self.configure();
    }

    /// Addresses and default routes of an `eth0` that has no addresses.
    pub(crate) fn configure(&self) {
        station(&self.host, "eth0", &self.addresses());
        // Those of IPv6 outlive a change of address.
        self.host.ip(&format!("route replace default via {}", Self::LAN[0]));
        self.host.ip(&format!("-6 route replace default via {}", Self::LAN[1]));
    }

    /// The host's addresses on the LAN now, IPv4 first.
    pub fn addresses(&self) -> [String; 2] {
        self.addresses.lock().unwrap().clone()
    }

    /// Other addresses from the next [`Self::configure`] on.
    pub(crate) fn set_addresses(&self, addresses: [&str; 2]) {
        *self.addresses.lock().unwrap() = addresses.map(str::to_owned);
    }

    /// What is started from now on takes this for the boot's id.
    pub(crate) fn set_boot(&self, id: &str) {
        *self.boot.lock().unwrap() = Some(id.to_owned());
    }

    /// The station on the LAN sends a subnet's packets to the host, as a router would.
    pub fn route_from_lan(&self, subnet: &str) {
        let [v4, v6] = self.addresses();
        let gateway = if subnet.contains(':') { v6 } else { v4 };
        self.lan.ip(&format!("route add {subnet} via {gateway}"));
    }

    /// The suites were asked to run against the reference plugins.
    pub fn is_reference(&self) -> bool {
        self.programs.is_reference()
    }

    /// With the reference plugins, waits until duplicate address detection is over, which they do
    /// not. Ours return when the addresses are usable: for them this does nothing.
    pub fn settle(&self, containers: &[&Container]) {
        if !self.is_reference() {
            return;
        }
        let namespaces = || containers.iter().map(|c| &c.ns).chain([&self.host]);
        let tentative = |ns: &Namespace| ns.ip_json("-6 addr show tentative") != json!([]);
        wait_until("no address is tentative", || !namespaces().any(tentative));
    }

    /// The programs under test.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The lab's own folder: `run`, `state`, `net.d`, `leases`, `tuning`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where host-local's leases of a network lie.
    pub fn leases(&self, network: &str) -> PathBuf {
        self.folder.join("leases").join(network)
    }

    /// The addresses leased on a network, sorted as text.
    pub fn leased(&self, network: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.leases(network))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.parse::<std::net::IpAddr>().is_ok())
            .collect();
        names.sort();
        names
    }

    /// The environment that keeps a program's state in the lab.
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let mut all = vec![
            ("CLEAT_RUN_DIR", self.folder.join("run")),
            ("CLEAT_STATE_DIR", self.folder.join("state")),
            ("CLEAT_NET_DIR", self.folder.join("net.d")),
            ("CLEAT_CONFIG", self.folder.join("config.json")),
        ];
        all.extend(self.boot.lock().unwrap().as_ref().map(|id| ("CLEAT_BOOT_ID", id.into())));
        all
    }

    /// A container: an id and a namespace as a runtime hands it over.
    pub fn container(&self) -> Container {
        let namespace = Namespace::create("c");
        // A runtime's ids are long and random; these are long, and their beginnings unique.
        let id = format!("{:0<40}", namespace.name().replace('-', "x"));
        Container { id, ns: namespace }
    }

    /// A call of one plugin under test.
    pub fn plugin(&self, name: &str) -> Invocation<'_> {
        self.plugin_of(&self.programs, name)
    }

    /// A call of one plugin out of another folder.
    pub fn plugin_of(&self, programs: &Programs, name: &str) -> Invocation<'_> {
        Invocation::new(self, programs.clone(), name)
    }

    /// The `cleat` command on the host; words are separated by spaces.
    pub fn cleat(&self, line: &str) -> Command {
        let mut command = self.host.command(self.programs.path("cleat"));
        command.args(line.split_whitespace()).env_remove("CNI_PATH").envs(self.environment());
        command
    }

    /// A conflist run by a runtime, with the plugins under test.
    pub fn chain(&self, conflist: Value) -> Chain<'_> {
        Chain::new(self, conflist)
    }

    /// A configuration whose state stays in the lab: `dataDir` is set for the plugins that have
    /// the key, unless the test says another.
    pub(crate) fn confined(&self, mut config: Value) -> Value {
        if config["ipam"]["type"] == "host-local" {
            let ipam = config["ipam"].as_object_mut().unwrap();
            ipam.entry("dataDir").or_insert_with(|| json!(self.folder.join("leases")));
        }
        for (plugin, folder) in [("tuning", "tuning"), ("overlay", "leases")] {
            if config["type"] == plugin {
                let section = config.as_object_mut().unwrap();
                section.entry("dataDir").or_insert_with(|| json!(self.folder.join(folder)));
            }
        }
        config
    }

    /// What is there now, in the host's namespace and in the lab's folders.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(self)
    }

    /// What is not as it was (`-` gone, `+` came), a line each; empty if all is.
    pub fn changes(&self, before: &Snapshot) -> String {
        self.once_quiet(|| before.difference(&self.snapshot()))
    }

    /// What was not there before, a line each.
    pub fn additions(&self, before: &Snapshot) -> String {
        self.once_quiet(|| before.added(&self.snapshot()))
    }

    /// Ends the test with the difference if anything is not as it was.
    #[track_caller]
    pub fn assert_as_before(&self, before: &Snapshot) {
        let difference = self.changes(before);
        assert!(difference.is_empty(), "not as before (- gone, + left):\n{difference}");
    }

    /// The kernel takes the links of a deleted namespace away in its own time: a difference counts
    /// when it stays.
    fn once_quiet(&self, difference: impl Fn() -> String) -> String {
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            let found = difference();
            if found.is_empty() || Instant::now() > deadline {
                return found;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Addresses on a link, which goes up.
pub(crate) fn station(namespace: &Namespace, link: &str, own: &[String; 2]) {
    // Link-local addresses too are there at once, as on a host that has been up for long. Without
    // one a station cannot ask for its neighbours, and forwards no IPv6: the lab must not be what
    // a test waits for.
    namespace.set_sysctl(&format!("net/ipv6/conf/{link}/accept_dad"), "0");
    namespace.ip("link set lo up");
    namespace.ip(&format!("addr add {}/24 dev {link}", own[0]));
    namespace.ip(&format!("addr add {}/64 dev {link} nodad", own[1]));
    namespace.ip(&format!("link set {link} up"));
}

/// A container as a runtime sees it.
#[derive(Debug)]
pub struct Container {
    /// The value of `CNI_CONTAINERID`.
    pub id: String,
    /// Its namespace.
    pub ns: Namespace,
}

/// Waits for an event that somebody else brings about.
#[track_caller]
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within 15 s: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A `host-local` section with one range set per subnet.
pub fn ranges(subnets: &[&str]) -> Value {
    let ranges: Vec<Value> = subnets.iter().map(|s| json!([{"subnet": s}])).collect();
    json!({"type": "host-local", "ranges": ranges})
}

/// Does the same for all containers at once, on a thread each.
pub fn at_once<T: Send>(
    containers: &[Container],
    each: impl Fn(usize, &Container) -> T + Sync,
) -> Vec<T> {
    thread::scope(|scope| {
        let each = &each;
        let threads: Vec<_> = containers
            .iter()
            .enumerate()
            .map(|(index, container)| scope.spawn(move || each(index, container)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
