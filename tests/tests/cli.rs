//! The `cleat` command as its users see it: networks, programs on them, published ports, what is
//! left behind. Its plugins are found beside the program.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use cleat_tests::{Lab, Outcome, Programs, Snapshot, Transport};
use serde_json::{Value, json};

/// The command on a node. What still runs at the end of a test is ended.
struct Cleat {
    lab: Lab,
    before: Snapshot,
}

impl Cleat {
    fn new() -> Self {
        let lab = Lab::new();
        let before = lab.snapshot();
        Self { lab, before }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        // Not `ip netns exec`: it gives each command a mount namespace of its own.
        command
            .arg(format!("--net={}", self.lab.host.path().display()))
            .arg(self.lab.programs().path("cleat"))
            .args(args)
            .env_remove("CNI_PATH")
            .envs(self.lab.environment());
        command
    }

    fn outcome(&self, mut command: Command) -> Outcome {
        Outcome::of(&mut command)
    }

    /// Words are separated by spaces.
    fn run(&self, line: &str) -> Outcome {
        self.outcome(self.command(&line.split_whitespace().collect::<Vec<_>>()))
    }

    /// What a command that must succeed printed.
    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let outcome = self.run(line);
        assert!(outcome.succeeded(), "{outcome:?}");
        outcome.stdout
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        let text = self.ok(&format!("--format json {line}"));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{line}: {e}: {text}"))
    }

    /// What a command that must fail with this code said.
    #[track_caller]
    fn error(&self, code: i32, line: &str) -> String {
        let outcome = self.run(line);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(outcome.stderr.starts_with("cleat: "), "{outcome:?}");
        outcome.stderr
    }

    /// A detached server of TCP on a port, which answers with whom it sees.
    #[track_caller]
    fn server(&self, name: &str, port: u16, options: &str) {
        let mut args: Vec<&str> = vec!["run", "-d", "--name", name];
        args.extend(options.split_whitespace());
        let listen = format!("TCP4-LISTEN:{port},fork,reuseaddr");
        args.extend(["socat", &listen, "SYSTEM:printf %s $SOCAT_PEERADDR"]);
        let outcome = self.outcome(self.command(&args));
        assert!(outcome.succeeded(), "{outcome:?}");
        let listening = || {
            let outcome = self.run(&format!("exec {name} ss -Hltn sport = :{port}"));
            !outcome.stdout.trim().is_empty()
        };
        wait_for("the server", listening);
    }

    fn net_dir(&self) -> std::path::PathBuf {
        self.lab.folder().join("net.d")
    }

    /// The addresses of a running container.
    fn addresses(&self, name: &str) -> Vec<String> {
        let all = self.json("ps");
        let one = all.as_array().unwrap().iter().find(|c| c["name"] == name).unwrap();
        let nets = one["networks"].as_array().unwrap();
        nets.iter()
            .flat_map(|n| n["addresses"].as_array().unwrap())
            .map(|a| a.as_str().unwrap().split('/').next().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Cleat {
    fn drop(&mut self) {
        let outcome = self.run("uninstall --force");
        if !std::thread::panicking() {
            assert!(outcome.succeeded(), "{outcome:?}");
            self.lab.assert_as_before(&self.before);
        }
    }
}

#[track_caller]
fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !there() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_network_is_a_conflist_that_any_runtime_can_use() {
    let cleat = Cleat::new();
    assert_eq!(cleat.ok("network create --ipv6 --label tier=front web"), "web\n");
    let file = cleat.net_dir().join("zz-cleat-web.conflist");
    let conflist: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(conflist["cleat"]["labels"], json!({"tier": "front"}));
    assert_eq!(fs::read_dir(cleat.net_dir()).unwrap().count(), 1, "a temporary file is left");

    let list = cleat.json("network ls");
    let names: Vec<&str> =
        list.as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["web", "host", "none"]);
    let first = ["driver", "file", "internal", "link", "name", "ours", "predefined", "subnets"];
    assert_eq!(keys(&list[0]), first.into());
    assert_eq!(cleat.ok("network ls -q --label tier=front"), "web\n");
    assert_eq!(cleat.ok("network ls -q --label tier=back"), "");
    let table = cleat.ok("network ls");
    assert!(table.starts_with("NAME   DRIVER   SUBNETS"), "{table}");
    assert!(!table.contains('\x1b'), "colour for no terminal: {table}");

    let chain = cleat.lab.chain(conflist);
    let container = cleat.lab.container();
    let attached = chain.attach(&container);
    assert!(container.ns.ping("10.89.0.1"));
    let seen = cleat.json("network inspect web");
    assert_eq!(seen[0]["attachments"][0]["id"], json!(container.id));
    assert_eq!(seen[0]["attachments"][0]["addresses"], json!(attached.addresses()));
    assert_eq!(seen[0]["bridge_ports"], Value::Null);
    assert_eq!(seen[0]["bridgePorts"], json!({"used": 1, "limit": 1023}));
    assert_eq!(seen[0]["addresses"][0], json!({"held": 1, "capacity": 253}));
    let error = cleat.error(1, "network rm web");
    assert!(error.contains(&container.id), "{error}");
    chain.detach(&container, &attached);
    cleat.ok("network rm web");
    assert!(!file.exists());
    assert_eq!(cleat.lab.host.link("clweb"), None);
    let error = cleat.error(1, "network rm web");
    assert!(error.contains("no such network"), "{error}");
    cleat.ok("network rm --force web");
}

#[test]
fn networks_of_others_are_listed_and_used_and_kept() {
    let cleat = Cleat::new();
    let file = cleat.net_dir().join("10-theirs.conflist");
    let conflist = json!({
        "cniVersion": "0.4.0", "name": "theirs", "plugins": [
            {"type": "bridge", "bridge": "br7", "isGateway": true, "ipam": {
                "type": "host-local", "dataDir": cleat.lab.folder().join("leases"),
                "subnet": "10.7.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}},
        ],
    });
    fs::write(&file, conflist.to_string()).unwrap();
    fs::write(cleat.net_dir().join("11-broken.conflist"), "{").unwrap();
    let outcome = cleat.run("network ls -q");
    assert_eq!(outcome.stdout, "theirs\nhost\nnone\n");
    assert!(outcome.stderr.contains("11-broken.conflist"), "{outcome:?}");
    // It declares no capability for addresses, so the older way is used.
    let inside = cleat.ok("run --rm --network theirs:ip=10.7.0.9 ip -br addr show dev eth0");
    assert!(inside.contains("10.7.0.9/24"), "{inside}");
    let error = cleat.error(1, "network rm theirs");
    assert!(error.contains("10-theirs.conflist") && error.contains("--force"), "{error}");
    let error = cleat.error(1, "network create --subnet 10.7.0.128/25 mine");
    assert!(error.contains("overlaps 10.7.0.0/24 of network theirs"), "{error}");
    cleat.ok("network rm --force theirs");
    assert!(!file.exists());
    fs::remove_file(cleat.net_dir().join("11-broken.conflist")).unwrap();
}

#[test]
fn automatic_subnets_keep_clear_of_routes_and_networks() {
    let cleat = Cleat::new();
    cleat.lab.host.ip("route add 10.89.0.0/23 via 192.0.2.2");
    cleat.ok("network create one");
    cleat.ok("network create two");
    let outcome = cleat.run("network create --subnet 192.0.2.0/25 three");
    assert!(outcome.succeeded() && outcome.stderr.contains("192.0.2.0/24"), "{outcome:?}");
    let subnets: Vec<Value> = cleat.json("network inspect one two").as_array().unwrap().clone();
    assert_eq!(subnets[0]["subnets"][0]["subnet"], "10.89.2.0/24");
    assert_eq!(subnets[1]["subnets"][0]["subnet"], "10.89.3.0/24");
    cleat.lab.host.ip("route del 10.89.0.0/23 via 192.0.2.2");
    cleat.ok("network prune");
    assert_eq!(cleat.ok("network ls -q"), "host\nnone\n");
}

#[test]
fn what_cannot_be_had_is_refused_by_name() {
    let cleat = Cleat::new();
    for (line, part) in [
        ("network create host", "predefined"),
        ("network create a/b", "letters, digits"),
        ("network create --opt outbound_addr4=192.0.2.1 x", "outbound_addr4"),
        ("network create --opt com.docker.network.bridge.nam=x y", "bridge.name"),
        ("network create --opt com.docker.network.bridge.name=eth0 y", "is not a bridge, but veth"),
        ("network create --driver macvlan --opt parent=eth9 y", "no such interface"),
        ("network create --driver macvlan --opt parent=eth0.7 y", "type vlan id 7"),
        ("network create --subnet 10.1.0.0/24 --gateway 10.2.0.1 y", "lies in none"),
        ("network rm none", "cannot be removed"),
        ("network inspect nowhere", "no such network"),
    ] {
        let error = cleat.error(1, line);
        assert!(error.contains(part), "{line}: {error}");
    }
    for (line, part) in [
        ("run --network nowhere true", "no such network"),
        ("run --network host -p 80 true", "shares the host's network"),
        ("run -p 80 true", "no --network"),
        ("run --network none --network host true", "cannot be combined"),
        ("run --name a/b true", "--name"),
    ] {
        let error = cleat.error(125, line);
        assert!(error.contains(part), "{line}: {error}");
    }
    assert_eq!(cleat.run("run --publish 80:x true").code, Some(125));
    assert_eq!(cleat.run("network create --subnet nonsense y").code, Some(2));
    assert_eq!(cleat.ok("ps -a -q"), "");
}

#[test]
fn kubernetes_pods_do_not_get_a_network_by_surprise() {
    let cleat = Cleat::new();
    let folder = cleat.lab.folder().join("state");
    let kubelet = folder.join("kubelet");
    fs::write(&kubelet, "").unwrap();
    fs::set_permissions(&kubelet, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display());
    let with_kubelet = |args: &[&str]| {
        let mut command = cleat.command(args);
        command.env("PATH", &path);
        cleat.outcome(command)
    };
    let outcome = with_kubelet(&["network", "create", "web"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("--force"), "{outcome:?}");
    assert!(with_kubelet(&["network", "create", "--force", "web"]).succeeded());
    let outcome = with_kubelet(&["doctor"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stdout.contains("zz-cleat-web.conflist"), "{outcome:?}");
    fs::remove_file(kubelet).unwrap();
}

#[test]
fn a_program_in_the_foreground_hands_its_end_on() {
    let cleat = Cleat::new();
    cleat.ok("network create web");
    let used = {
        cleat.ok("run --rm --network web true");
        cleat.lab.snapshot()
    };
    for (line, code) in [
        ("run --rm --network web false", 1),
        ("run --rm --network web nowhere-to-be-found", 127),
        ("run --rm --network web /etc/passwd", 126),
        ("run --rm --network web:ip=10.1.0.1 true", 125),
        ("run --rm --network web:ip=10.89.0.1 true", 125),
    ] {
        assert_eq!(cleat.run(line).code, Some(code), "{line}");
    }
    let args = ["run", "--rm", "--network", "web", "sh", "-c", "kill -TERM $$"];
    assert_eq!(cleat.outcome(cleat.command(&args)).code, Some(143));
    cleat.lab.assert_as_before(&used);

    let text = cleat.ok("run --rm --hostname here.example --add-host x:192.0.2.9 -e A=b --network web:alias=db --dns 192.0.2.53 cat /etc/hosts /etc/resolv.conf /proc/sys/kernel/hostname");
    for line in ["192.0.2.9\tx", "nameserver 192.0.2.53", "here.example"] {
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }
    assert!(text.contains("10.89.0.") && text.contains(" db\n"), "{text}");
    assert_eq!(cleat.ok("run --rm -e A=b printenv A"), "b\n");
    // The host's own files are as they were.
    assert!(!fs::read_to_string("/etc/hosts").unwrap().contains("here.example"));
    // A host's namespace, and one with nothing.
    assert!(cleat.ok("run --rm --network host ip -br link").contains("eth0"));
    let alone = cleat.ok("run --rm --network none ip -br addr");
    assert_eq!(alone.lines().count(), 1, "{alone}");
    assert!(alone.contains("127.0.0.1/8"), "{alone}");
}

#[test]
fn containers_reach_each_other_and_published_ports_are_reached() {
    let cleat = Cleat::new();
    let (host, lan) = (&cleat.lab.host, &cleat.lab.lan);
    cleat.ok("network create web");
    cleat.server("one", 80, "--network web:ip=10.89.0.9 -p 8080:80 -p 80");
    cleat.server("two", 80, "--network web");
    let two = cleat.addresses("two").remove(0);
    cleat.ok("exec one ping -c 1 -W 1 10.89.0.1");
    cleat.ok(&format!("exec one ping -c 1 -W 1 {two}"));

    let ports = cleat.json("port ls one");
    let automatic = ports.as_array().unwrap().iter().find(|p| p["hostPort"] != 8080).unwrap();
    let wanted = ["address", "container", "hostPort", "name", "network", "port", "protocol"];
    assert_eq!(keys(automatic), wanted.into());
    let automatic = automatic["hostPort"].as_u64().unwrap();
    for port in [8080, automatic] {
        let to = format!("{}:{port}", Lab::HOST[0]);
        assert_eq!(lan.ask(Transport::Tcp, &to).unwrap().to_string(), Lab::LAN[0]);
        assert!(host.ask(Transport::Tcp, &format!("127.0.0.1:{port}")).is_ok());
        let asked = format!("exec two socat - TCP4:{to}");
        assert!(!cleat.ok(&asked).is_empty(), "a neighbour by the host's address");
    }
    // What is not published is not reached by routing to it.
    cleat.lab.route_from_lan("10.89.0.0/24");
    assert!(lan.ask(Transport::Tcp, "10.89.0.9:80").is_err());
    let error = cleat.error(125, "run --network web -p 8080:80 true");
    assert!(error.contains("8080"), "{error}");
    let error = cleat.error(1, "network rm web");
    assert!(error.contains("one, two"), "{error}");
    let error = cleat.error(125, "run --name one true");
    assert!(error.contains("cleat rm one"), "{error}");
    let error = cleat.error(1, "rm one");
    assert!(error.contains("is running"), "{error}");

    cleat.ok("stop one two");
    assert!(lan.ask(Transport::Tcp, &format!("{}:8080", Lab::HOST[0])).is_err());
    assert_eq!(cleat.json("ip ls web"), json!([]));
    assert_eq!(cleat.json("port ls"), json!([]));
    assert_eq!(cleat.ok("ps -q"), "");
    let ended = cleat.json("ps -a");
    assert_eq!((&ended[0]["status"], &ended[0]["exitCode"]), (&json!("exited"), &json!(143)));
    cleat.ok("rm one two");
    assert_eq!(cleat.ok("ps -a -q"), "");
}

#[test]
fn ports_are_published_over_udp_and_ipv6() {
    let cleat = Cleat::new();
    cleat.ok("network create --ipv6 web");
    let sockets = "exec socat UDP-RECVFROM:53,fork 'SYSTEM:printf 192.0.2.7' & \
                   exec socat TCP6-LISTEN:80,fork,ipv6only=1 'SYSTEM:printf 2001\\:db8\\:\\:7'";
    let mut args: Vec<&str> =
        "run -d --name c --network web -p 8053:53/udp -p 8080:80 sh -c".split(' ').collect();
    args.push(sockets);
    let outcome = cleat.outcome(cleat.command(&args));
    assert!(outcome.succeeded(), "{outcome:?}");
    wait_for("the servers", || {
        let found = cleat.run("exec c ss -Hlntu").stdout;
        found.contains(":53") && found.contains(":80")
    });
    let lan = &cleat.lab.lan;
    let udp = lan.ask(Transport::Udp, &format!("{}:8053", Lab::HOST[0])).unwrap();
    assert_eq!(udp.to_string(), "192.0.2.7");
    let tcp = lan.ask(Transport::Tcp, &format!("[{}]:8080", Lab::HOST[1])).unwrap();
    assert_eq!(tcp.to_string(), "2001:db8::7");
    let host = cleat.lab.host.ask(Transport::Udp, "127.0.0.1:8053").unwrap();
    assert_eq!(host.to_string(), "192.0.2.7");
    assert_eq!(cleat.json("port ls").as_array().unwrap().len(), 4);
    cleat.ok("rm -f c");
}

#[test]
fn a_listener_of_the_host_keeps_its_port() {
    let cleat = Cleat::new();
    cleat.ok("network create web");
    let serving = cleat.lab.host.serve(8080);
    let error = cleat.error(125, "run --network web -p 8080:80 true");
    assert!(error.contains("8080/tcp") && error.contains("in use"), "{error}");
    cleat.ok("run -d --name c --network web -p 8080-8082:80 sleep 60");
    assert_eq!(cleat.json("port ls")[0]["hostPort"], 8081);
    drop(serving);
}

#[test]
fn a_detached_start_that_fails_leaves_nothing_and_says_why() {
    let cleat = Cleat::new();
    cleat.ok("network create --subnet 10.5.0.0/30 web");
    cleat.ok("run --rm --network web true");
    let used = cleat.lab.snapshot();
    cleat.ok("network create other");
    let with_other = cleat.lab.snapshot();
    cleat.ok("ip allocate web");
    let error = cleat.error(125, "run -d --name c --network other --network web sleep 60");
    assert!(error.contains("10.5.0"), "{error}");
    assert_eq!(cleat.ok("ps -a -q"), "");
    assert_eq!(cleat.json("ip ls other"), json!([]));
    cleat.ok("ip release web 10.5.0.2");
    let left = with_other.added(&cleat.lab.snapshot());
    assert!(!left.contains("veth") && !left.contains("netns"), "{left}");
    cleat.ok("network rm other");
    let left = used.added(&cleat.lab.snapshot());
    assert!(!left.contains("link ") && !left.contains("nft "), "{left}");
}

#[test]
fn containers_start_and_stop_at_once() {
    let cleat = Cleat::new();
    cleat.ok("network create web");
    let names: Vec<String> = (0..12).map(|n| format!("c{n}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            let cleat = &cleat;
            scope.spawn(move || {
                cleat.ok(&format!("run -d --name {name} --network web -p 80 -p 53/udp sleep 60"));
            });
        }
    });
    let ports = cleat.json("port ls");
    let distinct: BTreeSet<_> = ports
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (&p["protocol"], &p["hostPort"]))
        .map(|p| format!("{p:?}"))
        .collect();
    assert_eq!(distinct.len(), 24);
    let held = cleat.json("ip ls web");
    let distinct: BTreeSet<_> =
        held.as_array().unwrap().iter().map(|h| h["address"].to_string()).collect();
    assert_eq!(distinct.len(), 12);
    cleat.ok(&format!("stop --time 0 {}", names.join(" ")));
    assert_eq!(cleat.json("ip ls web"), json!([]));
    cleat.ok(&format!("rm {}", names.join(" ")));
}

#[test]
fn plugins_of_others_serve_as_well() {
    let cleat = Cleat::new();
    let file = cleat.net_dir().join("10-theirs.conflist");
    let conflist = json!({
        "cniVersion": "1.0.0", "name": "theirs", "plugins": [
            {"type": "bridge", "bridge": "br7", "isGateway": true, "ipam": {
                "type": "host-local", "dataDir": cleat.lab.folder().join("leases"),
                "ranges": [[{"subnet": "10.7.0.0/24"}]]}, "capabilities": {"ips": true}},
        ],
    });
    fs::write(&file, conflist.to_string()).unwrap();
    let folder = Programs::reference().folder().display().to_string();
    let theirs = format!("--cni-path {folder}");
    cleat.ok(&format!("{theirs} run -d --name c --network theirs:ip=10.7.0.9 sleep 60"));
    cleat.ok("exec c ping -c 1 -W 1 10.7.0.1");
    let error = cleat.error(1, "network rm --force theirs");
    assert!(error.contains("in use by c"), "{error}");
    // Ours take back what theirs made.
    cleat.ok("rm -f c");
    assert_eq!(cleat.json("ip ls theirs"), json!([]));
    cleat.ok("network rm --force theirs");
    // Their bridge is theirs.
    cleat.lab.host.ip("link del br7");
    cleat.lab.host.set_sysctl("net/ipv4/ip_forward", "0");
}

#[test]
fn a_flushed_ruleset_is_made_again() {
    let cleat = Cleat::new();
    cleat.ok("network create web");
    cleat.server("c", 80, "--network web -p 8080:80");
    let reached = || cleat.lab.lan.ask(Transport::Tcp, &format!("{}:8080", Lab::HOST[0])).is_ok();
    assert!(reached());
    let whole = cleat.lab.host.nft_json();
    cleat.lab.host.sh("nft flush ruleset");
    assert!(!reached());
    let doctor = cleat.run("doctor");
    assert!(doctor.code == Some(1) && doctor.stdout.contains("flushed"), "{doctor:?}");
    cleat.ok("gc");
    assert!(reached());
    let count = |ruleset: &Value| ruleset.as_array().unwrap().len();
    assert_eq!(count(&cleat.lab.host.nft_json()), count(&whole));
}

#[test]
fn doctor_names_who_drops_and_what_to_do() {
    let cleat = Cleat::new();
    cleat.ok("network create web");
    cleat.lab.host.nft(
        "table inet strict {
            chain i { type filter hook input priority 0; policy drop; ct state established accept; }
            chain f { type filter hook forward priority 0; policy drop; }
        }",
    );
    let findings = cleat.run("--format json doctor");
    assert_eq!(findings.code, Some(1));
    let findings = findings.json();
    let about = |part: &str| {
        let all = findings.as_array().unwrap();
        let found = all.iter().find(|f| f["subject"].as_str().unwrap().contains(part));
        found.unwrap_or_else(|| panic!("{part}: {findings}")).clone()
    };
    let forward = about("inet strict f");
    assert_eq!(forward["level"], "problem");
    let remedy = forward["remedy"].as_str().unwrap();
    assert!(remedy.contains("nft insert rule inet strict f "), "{remedy}");
    // What it says helps.
    cleat.lab.host.sh(remedy);
    cleat.ok(&format!("run --rm --network web ping -c 1 -W 1 {}", Lab::LAN[0]));
    assert_eq!(about("inet strict i")["level"], "note");
    assert_eq!(about("plugins")["level"], "ok");
    cleat.lab.host.sh("nft delete table inet strict");
    // A plugin that is missing, and a pool that is full.
    cleat.ok("network create --subnet 10.5.0.0/30 tiny");
    cleat.ok("ip allocate tiny");
    let doctor = cleat.run("doctor");
    assert!(doctor.code == Some(1) && doctor.stdout.contains("network tiny"), "{doctor:?}");
    let empty = cleat.lab.folder().display().to_string();
    let doctor = cleat.run(&format!("--cni-path {empty} doctor"));
    assert!(doctor.stdout.contains("PROBLEM  plugin bridge"), "{doctor:?}");
}

#[test]
fn networks_come_and_go_while_a_container_runs() {
    let cleat = Cleat::new();
    cleat.ok("network create web");
    cleat.ok("network create --internal back");
    cleat.ok("network create lan");
    cleat.ok("run -d -e A=b -w /usr --name c --network web --network lan:gw-priority=5 sleep 60");
    assert_eq!(cleat.ok("exec c printenv A"), "b\n");
    assert_eq!(cleat.ok("exec c pwd"), "/usr\n");
    // The interfaces are in the order of the command line, the default route by priority.
    let route = cleat.ok("exec c ip route show default");
    let first = route.lines().next().unwrap();
    assert!(first.contains("dev eth1") && !first.contains("metric"), "{route}");
    cleat.ok("network connect back:mac=02:00:00:00:00:09,ifname=inner c");
    let inner = cleat.ok("exec c ip -br link show dev inner");
    assert!(inner.contains("02:00:00:00:00:09"), "{inner}");
    let error = cleat.error(1, "network connect back c");
    assert!(error.contains("already"), "{error}");
    cleat.ok("exec c ping -c 1 -W 1 10.89.1.1");
    cleat.ok("network disconnect back c");
    assert!(!cleat.run("exec c ip link show dev inner").succeeded());
    assert_eq!(cleat.json("ip ls back"), json!([]));
    let error = cleat.error(1, "network disconnect back c");
    assert!(error.contains("is not on network back"), "{error}");
    cleat.ok("network rm back");
    cleat.ok("rm --force c");
}

#[test]
fn a_killed_supervisor_leaves_nothing_that_gc_does_not_find() {
    let cleat = Cleat::new();
    cleat.ok("network create web");
    cleat.ok("run --rm --network web true");
    let used = cleat.lab.snapshot();
    cleat.ok("run -d --name c --network web -p 8080:80 sleep 60");
    let record = fs::read_dir(cleat.lab.folder().join("run/containers"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "json"))
        .unwrap();
    let record: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
    for who in ["supervisor", "process"] {
        let pid = record[who]["pid"].to_string();
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        let gone =
            || fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |s| s.contains(") Z "));
        wait_for(who, gone);
    }
    assert_eq!(cleat.json("ps")[0]["status"], "abandoned");
    let doctor = cleat.run("doctor");
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    assert!(doctor.stdout.contains("container c") && doctor.stdout.contains("cleat gc"));
    let found = cleat.json("gc --dry-run");
    assert_eq!((&found[0]["kind"], &found[0]["name"]), (&json!("container"), &json!("c")));
    assert_eq!(cleat.json("ps")[0]["status"], "abandoned", "a dry run changed something");
    cleat.ok("gc");
    assert_eq!(cleat.json("gc"), json!([]));
    cleat.ok("rm c");
    cleat.lab.assert_as_before(&used);
    let doctor = cleat.run("doctor");
    assert!(doctor.succeeded() && doctor.stdout.contains("leaks: none"), "{doctor:?}");
}

#[test]
fn reserved_addresses_are_held_through_boots_until_released() {
    let cleat = Cleat::new();
    cleat.ok("network create --subnet 10.5.0.0/29 web");
    assert_eq!(cleat.ok("ip allocate --for printer web 10.5.0.2"), "10.5.0.2\n");
    assert_eq!(cleat.ok("ip allocate web"), "10.5.0.3\n");
    let error = cleat.error(1, "ip allocate web 10.5.0.2");
    assert!(error.contains("10.5.0.2") && error.contains("printer"), "{error}");
    let text = cleat.ok("run --rm --network web ip -br addr show dev eth0");
    assert!(text.contains("10.5.0.4"), "{text}");
    let mut later = cleat.command(&["gc"]);
    later.env("CLEAT_BOOT_ID", "another");
    assert!(cleat.outcome(later).succeeded());
    let held = cleat.json("ip ls web");
    let first =
        json!({"network": "web", "address": "10.5.0.2", "kind": "reservation", "owner": "printer"});
    assert_eq!(held[0], first);
    assert_eq!(held.as_array().unwrap().len(), 2);
    let error = cleat.error(1, "network rm web");
    assert!(error.contains("2 reserved"), "{error}");
    cleat.ok("ip release web 10.5.0.2 10.5.0.3");
    let error = cleat.error(1, "ip release web 10.5.0.2");
    assert!(error.contains("not held"), "{error}");
    cleat.ok("network rm web");
}

#[test]
fn uninstall_waits_for_what_runs() {
    let cleat = Cleat::new();
    cleat.ok("network create --ipv6 web");
    cleat.ok("run -d --name c --network web -p 8080:80 sleep 60");
    cleat.ok("ip allocate web");
    let error = cleat.error(1, "uninstall");
    assert!(error.contains('c') && error.contains("--force"), "{error}");
    cleat.ok("exec c true");
    cleat.ok("uninstall --force");
    cleat.lab.assert_as_before(&cleat.before);
    assert_eq!(cleat.ok("network ls -q"), "host\nnone\n");
}

#[test]
fn a_macvlan_network_is_beside_the_host() {
    let cleat = Cleat::new();
    cleat.ok("network create --driver macvlan --subnet 192.0.2.0/24 --gateway 192.0.2.2 --ip-range 192.0.2.64/28 --opt parent=eth0 lan");
    let text = cleat.ok("run --rm --network lan ip -br addr show dev eth0");
    assert!(text.contains("192.0.2.64/24"), "{text}");
    cleat.ok("run --rm --network lan ping -c 1 -W 1 192.0.2.2");
    let error = cleat.error(125, "run --network lan -p 80 true");
    assert!(error.contains("portmap"), "{error}");
    cleat.ok("network rm lan");
}

#[test]
fn help_and_completions_are_there() {
    let cleat = Cleat::new();
    for verb in ["", "network create", "run", "ip allocate"] {
        let text = cleat.ok(&format!("{verb} --help"));
        assert!(text.contains("Examples:") || verb.contains("ip"), "{verb}: {text}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let text = cleat.ok(&format!("completions {shell}"));
        assert!(text.contains("disconnect"), "{shell}");
    }
}

#[test]
fn programs_find_each_other_by_name_while_netd_runs() {
    let cleat = Cleat::new();
    let netd = cleat.lab.netd();
    cleat.ok("network create web --subnet 10.89.7.0/24 --ipv6");
    cleat.ok("network create quiet --subnet 10.89.8.0/24 --no-dns");
    cleat.server("site", 80, "--network web:alias=www --hostname site.example");
    let look_up = |network: &str, name: &str| {
        cleat.run(&format!("run --rm --network {network} getent ahostsv4 {name}"))
    };
    for name in ["site", "www", "site.example", "site.web", "site.web.cleat.internal"] {
        let found = look_up("web", name);
        assert!(found.stdout.starts_with("10.89.7.2 "), "{name}: {found:?}");
    }
    assert!(!look_up("quiet", "site").succeeded());
    let resolv_conf = cleat.ok("run --rm --network web cat /etc/resolv.conf");
    assert!(resolv_conf.starts_with("nameserver 10.89.7.1\n"), "{resolv_conf}");
    assert!(resolv_conf.contains("search web.cleat.internal\noptions ndots:0"), "{resolv_conf}");
    // Its own servers are asked by netd on its behalf.
    let line = "run --rm --network web --dns 192.0.2.53 --dns-search example cat /etc/resolv.conf";
    let resolv_conf = cleat.ok(line);
    assert!(!resolv_conf.contains("192.0.2.53") && resolv_conf.contains("search example web.c"));
    // Without netd there are the names outside, at least.
    drop(netd);
    let resolv_conf = cleat.ok(line);
    assert!(resolv_conf.starts_with("nameserver 10.89.7.1\n"), "{resolv_conf}");
    assert!(resolv_conf.contains("nameserver 192.0.2.53\n"), "{resolv_conf}");
    for line in ["stop --time 0 site", "rm site", "network rm web quiet"] {
        cleat.ok(line);
    }
    let error = cleat.error(1, "network create x --no-dns --opt dnsIntercept=true");
    assert!(error.contains("dnsIntercept"), "{error}");
}
