//! Podman with its CNI backend, and the programs under test as its plugins.

use std::fs;

use cleat_tests::{
    Enclosure, Lab, Namespace, Transport, busybox_root, ranges, require, wait_until,
};
use serde_json::{Value, json};

const BOTH: [Transport; 2] = [Transport::Tcp, Transport::Udp];

/// What `podman network create` writes, in the programs' terms.
fn conflist(lab: &Lab) -> Value {
    let mut ipam = ranges(&["10.88.0.0/24", "fd00:88::/64"]);
    ipam["dataDir"] = json!(lab.folder().join("leases"));
    ipam["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    json!({"cniVersion": "0.4.0", "name": "podman", "plugins": [
        {"type": "bridge", "bridge": "cni-podman0", "isGateway": true, "ipMasq": true,
            "hairpinMode": true, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "firewall"},
        {"type": "tuning", "dataDir": lab.folder().join("tuning")}]})
}

const CONFIGURATION: &str = r#"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "cni"
cni_plugin_dirs = ["PLUGINS"]
network_config_dir = "CONFLISTS"
"#;

struct Podman {
    enclosure: Enclosure,
}

impl Podman {
    fn prepare(lab: &Lab) -> Self {
        require(&[("podman", "podman"), ("runc", "runc"), ("conmon", "conmon")]);
        fs::write(lab.folder().join("net.d/87-podman.conflist"), conflist(lab).to_string())
            .unwrap();
        let enclosure = Enclosure::new(lab, "");
        let text = CONFIGURATION
            .replace("PLUGINS", lab.programs().folder().to_str().unwrap())
            .replace("CONFLISTS", lab.folder().join("net.d").to_str().unwrap());
        fs::write(enclosure.folder().join("containers.conf"), text).unwrap();
        busybox_root(&enclosure.folder().join("root"));
        let podman = Self { enclosure };
        podman.enclosure.sh("tar -C $LAB/root -cf $LAB/image.tar .");
        podman.run("import $LAB/image.tar lab");
        podman
    }

    #[track_caller]
    fn run(&self, line: &str) -> String {
        let global =
            "--root $LAB/data --runroot $LAB/runroot --tmpdir $LAB/tmp --storage-driver vfs";
        let settings = "CONTAINERS_CONF=$LAB/containers.conf";
        self.enclosure.sh(&format!("{settings} podman {global} {line}")).trim().to_owned()
    }

    fn start(&self, name: &str, options: &str) -> Namespace {
        self.run(&format!("run -d --name {name} {options} lab /bin/sleep 300"));
        let pid = self.run(&format!("inspect --format '{{{{.State.Pid}}}}' {name}"));
        Namespace::of_process("podman", pid.parse().unwrap())
    }

    fn end(&self, name: &str, namespace: Namespace) {
        drop(namespace);
        self.run(&format!("rm -f -t 0 {name}"));
    }
}

#[test]
fn containers_of_podman() {
    let lab = Lab::new();
    let podman = Podman::prepare(&lab);
    let first = podman.start("first", "");
    podman.end("first", first);
    let before = lab.snapshot();

    let one = podman.start("one", "-p 8080:80/tcp -p 8080:80/udp");
    let two = podman.start("two", "--ip 10.88.0.99 --mac-address 02:00:00:00:00:99");
    assert_eq!(two.addresses("eth0")[0], "10.88.0.99/24");
    assert_eq!(two.link("eth0").unwrap()["address"], "02:00:00:00:00:99");
    for to in ["10.88.0.1", "fd00:88::1", "10.88.0.99", Lab::LAN[0], Lab::LAN[1]] {
        podman.run(&format!("exec one /bin/ping -c 1 -W 2 {to}"));
    }
    let server = one.serve(80);
    for by in BOTH {
        for to in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
            lab.lan.ask(by, to).unwrap_or_else(|e| panic!("LAN {by:?} {to}: {e}"));
            one.ask(by, to).unwrap_or_else(|e| panic!("hairpin {by:?} {to}: {e}"));
            two.ask(by, to).unwrap_or_else(|e| panic!("neighbour {by:?} {to}: {e}"));
        }
        lab.host.ask(by, "127.0.0.1:8080").unwrap_or_else(|e| panic!("localhost {by:?}: {e}"));
    }
    drop(server);
    podman.end("one", one);
    podman.end("two", two);
    assert!(lab.leased("podman").is_empty());
    lab.assert_as_before(&before);
}

/// As docs/operations.md says it, in an image of the program alone.
#[test]
fn netd_as_a_container() {
    let lab = Lab::new();
    let podman = Podman::prepare(&lab);
    podman.enclosure.sh("mkdir -p $LAB/netd/bin; cp $PLUGINS/netd $LAB/netd/bin
         tar -C $LAB/netd -cf $LAB/netd.tar .; mount --make-shared /run; mkdir -p /var/lib/cni");
    podman.enclosure.sh("echo nameserver 192.0.2.2 >$LAB/resolv.conf");
    podman.run("import $LAB/netd.tar netd");
    podman.run(
        "run -d --name netd --network host --pid host --cap-drop ALL \
         --cap-add NET_ADMIN --cap-add NET_RAW --cap-add NET_BIND_SERVICE --cap-add SYS_ADMIN \
         --cap-add SYS_PTRACE --cap-add DAC_OVERRIDE --security-opt apparmor=unconfined \
         --security-opt seccomp=unconfined --security-opt unmask=ALL \
         -v /run:/run:rslave -v /var/lib/cleat:/var/lib/cleat -v /var/lib/cni:/var/lib/cni \
         -v /etc/cni:/etc/cni:ro -v $LAB/resolv.conf:/etc/resolv.conf:ro netd netd run",
    );
    let logs = || podman.run("logs netd 2>&1");
    wait_until("it serves", || logs().contains("netd.started"));
    let mut list = conflist(&lab);
    list["plugins"][0]["embeddedDNS"] = json!(true);
    let chain = lab.chain(list).capabilities(json!({}));
    let container = lab.container();
    let attached = chain.args("IgnoreUnknown=1;K8S_POD_NAME=one").attach(&container);
    let answer = container.ns.look_up("10.88.0.1", "one", "A");
    assert_eq!(answer.data, [attached.v4()], "{}", logs());
    lab.host.set_sysctl("net/ipv4/ip_forward", "0");
    wait_until("forwarding is on again", || {
        lab.host.sysctl("net/ipv4/ip_forward").as_deref() == Some("1")
    });
    podman.run("stop -t 5 netd");
    assert!(logs().contains("netd.stopped"));
    assert!(container.ns.ping("10.88.0.1"), "containers stay connected");
    podman.run("rm -f -t 0 netd");
}

#[test]
fn names_of_podmans_containers() {
    let lab = Lab::new();
    let mut list = conflist(&lab);
    list["plugins"][0]["embeddedDNS"] = json!(true);
    list["plugins"][0]["capabilities"] = json!({"aliases": true});
    let netd = lab.netd();
    let podman = Podman::prepare(&lab);
    fs::write(lab.folder().join("net.d/87-podman.conflist"), list.to_string()).unwrap();
    let one = podman.start("one", "");
    let two = podman.start("two", "--network podman:alias=other");
    let resolv_conf = podman.run("exec one /bin/cat /etc/resolv.conf");
    assert!(resolv_conf.contains("nameserver 10.88.0.1"), "{resolv_conf}");
    let address = two.addresses("eth0")[0].replace("/24", "");
    for name in ["two", "other", "two.podman"] {
        let found = podman.run(&format!("exec one /bin/nslookup -type=a {name}"));
        assert!(found.contains(&address), "{name}: {found}");
    }
    podman.end("two", two);
    assert_eq!(one.look_up("10.88.0.1", "two", "A").code, "Non-Existent Domain");
    podman.end("one", one);
    assert!(netd.stop());
}
