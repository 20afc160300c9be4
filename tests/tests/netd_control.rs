//! The control socket of netd, as `curl` and the `cleat` command see it; metrics; and what a
//! service manager is told.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use cleat_tests::{
    Attached, Chain, Container, Lab, Outcome, Transport, ranges, require, wait_until,
};
use rustix::process::Signal;
use serde_json::{Value, json};

fn chain(lab: &Lab) -> Chain<'_> {
    let bridge = json!({"type": "bridge", "bridge": "br0", "isDefaultGateway": true,
        "ipMasq": true, "embeddedDNS": true, "ipam": ranges(&["10.88.0.0/24"])});
    let plugins = json!([bridge, {"type": "portmap", "capabilities": {"portMappings": true}}]);
    let list = json!({"cniVersion": "1.0.0", "name": "web", "plugins": plugins});
    let mut stored = list.clone();
    stored["plugins"][0]["ipam"]["dataDir"] = json!(lab.folder().join("leases"));
    fs::write(lab.folder().join("net.d/web.conflist"), stored.to_string()).unwrap();
    lab.chain(list).capabilities(json!({"portMappings": [
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}))
}

fn attach<'l>(lab: &'l Lab) -> (Chain<'l>, Container, Attached) {
    let (chain, container) = (chain(lab), lab.container());
    let attached = chain.attach(&container);
    (chain, container, attached)
}

/// What `curl` gets from netd's socket: the status and the body.
fn curl(lab: &Lab, args: &[&str], path: &str) -> (u16, String) {
    require(&[("curl", "curl")]);
    let output = Command::new("curl")
        .args(["-s", "--max-time", "10", "-w", "\n%{http_code}", "--unix-socket"])
        .arg(lab.folder().join("run/netd.sock"))
        .args(args)
        .arg(format!("http://netd{path}"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

#[track_caller]
fn get(lab: &Lab, path: &str) -> Value {
    let (status, body) = curl(lab, &[], path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[track_caller]
fn post(lab: &Lab, path: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let args = ["-H", "content-type: application/json", "-d", &body];
    let (status, body) = curl(lab, &args, path);
    (status, serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}")))
}

fn cleat(lab: &Lab, line: &str) -> Outcome {
    Outcome::of(&mut lab.cleat(line))
}

/// What a command that must succeed prints.
#[track_caller]
fn said(lab: &Lab, line: &str) -> String {
    let outcome = cleat(lab, line);
    assert!(outcome.succeeded(), "{outcome:?}");
    outcome.stdout
}

#[test]
fn the_socket_is_roots_and_goes_with_a_clean_stop() {
    let lab = Lab::new();
    let socket = lab.folder().join("run/netd.sock");
    let netd = lab.netd();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    // What a killed one left is replaced.
    netd.kill();
    assert!(socket.exists());
    let netd = lab.netd();
    get(&lab, "/v1/status");
    assert!(netd.stop() && !socket.exists());
}

#[test]
fn what_there_is_is_told() {
    let lab = Lab::new();
    let _netd = lab.netd();
    let (_chain, container, _attached) = attach(&lab);
    let _serving = container.ns.serve(80);
    assert!(container.ns.ping("10.88.0.1"));

    let status = get(&lab, "/v1/status");
    assert_eq!(status["counts"]["networks"], 1);
    assert_eq!(status["counts"]["attachments"], 1);
    assert_eq!(status["counts"]["named"], 1);
    assert_eq!(status["counts"]["publishedPorts"], 1);
    assert_eq!(status["names"]["addresses"], json!(["10.88.0.1"]));
    assert_eq!(status["names"]["port"], 53);
    assert_eq!(status["troubles"], json!([]));

    let networks = get(&lab, "/v1/networks");
    assert_eq!(networks[0]["name"], "web");
    assert_eq!(networks[0]["driver"], "bridge");
    assert_eq!(networks[0]["attachments"], 1);
    assert_eq!(
        networks[0]["pools"],
        json!([{"subnet": "10.88.0.0/24", "held": 1, "capacity": 253}])
    );

    let asked = container.ns.look_up("10.88.0.1", &container.id[..12], "A");
    assert_eq!(asked.data, ["10.88.0.2"]);
    let attachments = get(&lab, "/v1/attachments");
    let one = &attachments[0];
    assert_eq!(one["container"], container.id.as_str());
    assert_eq!(one["addresses"], json!(["10.88.0.2"]));
    assert_eq!(one["ports"][0]["hostPort"], 8080);
    assert_eq!(one["ready"], true);
    assert!(one["sent"]["packets"].as_u64().unwrap() > 0, "{one}");
    assert!(one["received"]["bytes"].as_u64().unwrap() > 0, "{one}");
    assert_eq!(one["questions"], json!({"asked": 1, "failed": 0}));

    let names = get(&lab, "/v1/names?network=web");
    assert_eq!(names[0]["addresses"], json!(["10.88.0.2"]));
    assert_eq!(get(&lab, "/v1/names?network=other"), json!([]));
}

#[test]
fn wrong_requests_are_refused_in_one_shape() {
    let lab = Lab::new();
    let _netd = lab.netd();
    let large = "x".repeat(70_000);
    let large = format!("{{\"name\": \"{large}\"}}");
    let json = ["-H", "content-type: application/json"];
    for (args, path, status, code) in [
        (vec![], "/v1/nothing", 404, "not_found"),
        (vec![], "/", 404, "not_found"),
        (vec!["-X", "DELETE"], "/v1/status", 405, "wrong_method"),
        (vec![], "/v1/dns/flush", 405, "wrong_method"),
        (vec![], "/v1/names?net=web", 400, "invalid"),
        (vec![], "/v1/events?follow=perhaps", 400, "invalid"),
        (vec![json[0], json[1], "-d", "{"], "/v1/dns/query", 400, "invalid"),
        (vec![json[0], json[1], "-d", "{}"], "/v1/dns/query", 422, "invalid"),
        (
            vec![json[0], json[1], "-d", "{\"name\":\"a\",\"type\":\"B\"}"],
            "/v1/dns/query",
            400,
            "invalid",
        ),
        (vec![json[0], json[1], "-d", "{\"name\":\"a..b\"}"], "/v1/dns/query", 400, "invalid"),
        (
            vec![json[0], json[1], "-d", "{\"name\":\"a\",\"client\":\"b\"}"],
            "/v1/dns/query",
            404,
            "not_found",
        ),
        (vec![json[0], json[1], "-d", &large], "/v1/dns/query", 413, "too_large"),
        (vec!["-d", "{\"name\":\"a\"}"], "/v1/dns/query", 415, "invalid"),
    ] {
        let (found, body) = curl(&lab, &args, path);
        let body: Value =
            serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"));
        assert_eq!((found, body["error"]["code"].as_str()), (status, Some(code)), "{path}: {body}");
        assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    }
}

#[test]
fn a_question_is_answered_as_a_client_would_be() {
    let lab = Lab::new();
    let upstream = lab.lan.name_server(Lab::LAN[0], &[("example.org", "198.51.100.7")]);
    let _netd = lab.netd();
    let (_chain, container, _attached) = attach(&lab);
    let id = &container.id[..12];
    for client in [json!("10.88.0.2"), json!(id), json!(container.id), Value::Null] {
        let (status, answer) = post(&lab, "/v1/dns/query", &json!({"name": id, "client": client}));
        assert_eq!((status, &answer["code"]), (200, &json!("NOERROR")), "{answer}");
        assert_eq!(answer["answers"][0]["data"], "10.88.0.2");
    }
    let (_, none) = post(&lab, "/v1/dns/query", &json!({"name": "nobody", "client": id}));
    assert_eq!(none["code"], "NXDOMAIN");
    for _ in 0..2 {
        let (_, other) = post(&lab, "/v1/dns/query", &json!({"name": "example.org"}));
        assert_eq!(other["answers"][0]["data"], "198.51.100.7", "{other}");
    }
    assert_eq!(upstream.asked(), 1);
    let upstreams = get(&lab, "/v1/upstreams");
    assert_eq!(upstreams[0]["server"], Lab::LAN[0]);
    assert_eq!(upstreams[0]["healthy"], true);
    assert_eq!(post(&lab, "/v1/dns/flush", &json!({})), (200, json!({"flushed": 1})));
    post(&lab, "/v1/dns/query", &json!({"name": "example.org"}));
    assert_eq!(upstream.asked(), 2);

    // The same by the command.
    let listed = said(&lab, "dns ls");
    assert!(listed.contains("10.88.0.2"), "{listed}");
    let found = said(&lab, &format!("dns query {id} --client {id}"));
    assert!(found.contains("10.88.0.2"), "{found}");
    assert!(said(&lab, "dns query nobody").contains("NXDOMAIN"));
    assert!(said(&lab, "dns flush").contains("1 answers forgotten"));
    assert!(said(&lab, "dns upstreams").contains(Lab::LAN[0]));
    let unknown = cleat(&lab, "dns query a --client nobody");
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("client \"nobody\""), "{unknown:?}");
}

#[test]
fn events_are_listed_and_followed_to_the_end() {
    let lab = Lab::new();
    let netd = lab.netd();
    let all = get(&lab, "/v1/events");
    assert_eq!(all[0]["number"], 1);
    assert!(all.as_array().unwrap().iter().any(|event| event["kind"] == "netd.started"));
    let following = lab.cleat("events -f --format json").stdout(Stdio::piped()).spawn().unwrap();
    let people = said(&lab, "events");
    assert!(people.contains("netd.started"), "{people}");
    lab.configure_netd(&json!({"dsn": 1}));
    netd.signal(Signal::HUP);
    wait_until("the trouble is there", || get(&lab, "/v1/status")["troubles"] != json!([]));
    let doctor = cleat(&lab, "doctor");
    assert!(doctor.stdout.contains("the configuration stays as it was"), "{doctor:?}");
    lab.configure_netd(&json!({}));
    netd.signal(Signal::HUP);
    wait_until("the trouble is over", || get(&lab, "/v1/status")["troubles"] == json!([]));
    assert!(netd.stop());
    let output = following.wait_with_output().unwrap();
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).unwrap();
    let kinds: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].as_str().unwrap().into())
        .collect();
    for kind in ["netd.started", "netd.trouble", "netd.configured"] {
        assert!(kinds.iter().any(|found| found == kind), "{kind}: {kinds:?}");
    }
    assert_eq!(kinds.last().unwrap(), "netd.stopped");
}

#[test]
fn the_command_says_what_to_do_without_netd() {
    let lab = Lab::still();
    for line in
        ["status", "events", "events -f", "dns ls", "dns query a", "dns flush", "top --once"]
    {
        let outcome = cleat(&lab, line);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        for part in ["netd does not run", "netd.sock", "systemctl start cleat-netd"] {
            assert!(outcome.stderr.contains(part), "{outcome:?}");
        }
    }
    let doctor = cleat(&lab, "doctor");
    assert!(doctor.stdout.contains("netd: does not run"), "{doctor:?}");
}

#[test]
fn status_and_top_are_for_people_and_for_programs() {
    let lab = Lab::new();
    let _netd = lab.netd();
    let (_chain, container, _attached) = attach(&lab);
    assert!(container.ns.ping("10.88.0.1"));
    let status = said(&lab, "status");
    for part in ["1 attachments", "10.88.0.1", "port 53", "troubles     none"] {
        assert!(status.contains(part), "{part}: {status}");
    }
    assert_eq!(cleat(&lab, "--format json status").ok()["counts"]["attachments"], 1);
    let top = said(&lab, "top --once");
    assert!(top.contains("10.88.0.2") && top.contains("web"), "{top}");
    assert_eq!(cleat(&lab, "--format json top").ok()[0]["network"], "web");
    let refused = cleat(&lab, "top");
    assert!(refused.stderr.contains("--once"), "{refused:?}");
    let doctor = cleat(&lab, "doctor");
    assert!(doctor.stdout.contains("runs, process"), "{doctor:?}");
}

#[test]
fn top_is_left_by_q_with_the_terminal_as_it_was() {
    require(&[("script", "bsdutils"), ("stty", "coreutils")]);
    let lab = Lab::new();
    let _netd = lab.netd();
    let (_chain, _container, _attached) = attach(&lab);
    let top = lab.programs().path("cleat");
    for key in ["q", "\u{3}"] {
        // A terminal of its own; the key is pressed once the table is there.
        let top = top.display();
        let line = format!("stty rows 24 cols 120; stty -g; {top} top; echo left $?; stty -g");
        let mut child = lab
            .host
            .command("script")
            .args(["-qfec", &line, "/dev/null"])
            .envs(lab.environment())
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        use std::io::{BufRead, BufReader, Read, Write};
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut stdin = child.stdin.take().unwrap();
        let mut said = String::new();
        while !said.contains("10.88.0.2") {
            assert!(out.read_line(&mut said).unwrap() > 0, "it ended: {said}");
        }
        stdin.write_all(key.as_bytes()).unwrap();
        out.read_to_string(&mut said).unwrap();
        child.wait().unwrap();
        assert!(said.contains("left 0"), "{said}");
        let first = said.lines().next().unwrap().trim();
        let last = said.lines().last().unwrap().trim();
        assert_eq!(first, last, "{said}");
        drop(stdin);
    }
}

/// The metrics that there are, by name, without what a histogram adds to its own.
fn exposed(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn metrics_tell_what_there_is_and_the_dashboard_asks_for_no_others() {
    let lab = Lab::new();
    let _upstream = lab.lan.name_server(Lab::LAN[0], &[("example.org", "198.51.100.7")]);
    let netd = lab.netd_with(&json!({"metrics": "127.0.0.1:9330"}));
    let (chain, container, attached) = attach(&lab);
    container.ns.look_up("10.88.0.1", &container.id[..12], "A");
    for _ in 0..2 {
        container.ns.look_up("10.88.0.1", "example.org", "A");
    }
    container.ns.look_up("10.88.0.1", "nobody", "A");
    let _serving = container.ns.serve(80);
    wait_until("::1 leads to the container", || lab.host.ask(Transport::Tcp, "[::1]:8080").is_ok());
    lab.host.sh("nft delete table inet cleat");
    wait_until("it is repaired", || {
        curl(&lab, &[], "/metrics").1.contains("cleat_repairs_total{kind=\"ruleset\"} 1")
    });

    let (status, text) = curl(&lab, &["-i"], "/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("content-type: text/plain; version=0.0.4"), "{text}");
    for sample in [
        "cleat_attachments{network=\"web\"} 1",
        "cleat_published_ports{network=\"web\"} 1",
        "cleat_pool_addresses{network=\"web\",pool=\"10.88.0.0/24\",state=\"held\"} 1",
        "cleat_pool_addresses{network=\"web\",pool=\"10.88.0.0/24\",state=\"free\"} 252",
        "cleat_dns_questions_total{result=\"local\"} 1",
        "cleat_dns_questions_total{result=\"no_name\"} 1",
        "cleat_dns_questions_total{result=\"forwarded\"} 1",
        "cleat_dns_questions_total{result=\"cached\"} 1",
        "cleat_dns_latency_seconds_count 4",
        "cleat_dns_latency_seconds_bucket{le=\"+Inf\"} 4",
        "cleat_dns_cache_entries 1",
        "cleat_dns_upstream_up{server=\"192.0.2.2\"} 1",
        "cleat_relay_listeners 1",
        "cleat_relay_connections_total{protocol=\"tcp\"} ",
    ] {
        assert!(text.contains(sample), "{sample}:\n{text}");
    }
    let names = exposed(&text);
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_max_fds"] {
        assert!(names.contains(name), "{name}");
    }
    let by_tcp = lab.host.sh("curl -sf http://127.0.0.1:9330/metrics");
    assert_eq!(exposed(&by_tcp), names);
    assert_eq!(
        lab.host.sh("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:9330/v1/status"),
        "404"
    );
    dashboard(&names);
    // Moved and closed while it runs.
    lab.configure_netd(&json!({}));
    netd.signal(Signal::HUP);
    wait_until("it is closed", || lab.host.sh("ss -Htln 'src 127.0.0.1:9330'").is_empty());
    chain.detach(&container, &attached);
}

fn dashboard(exposed: &BTreeSet<String>) {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/grafana/cleat.json");
    let document: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let panels = document["panels"].as_array().unwrap();
    let mut asked = 0;
    for target in panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten() {
        let expression = target["expr"].as_str().unwrap();
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in words.filter(|w| w.starts_with("cleat_") || w.starts_with("process_")) {
            let family = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(exposed.contains(family), "{expression}: nothing is called {name}");
            asked += 1;
        }
    }
    assert!(asked >= 10, "the dashboard asks for {asked} metrics");
}

#[test]
fn a_service_manager_is_told_and_may_hold_the_socket() {
    let lab = Lab::still();
    let notices = lab.folder().join("notify");
    let notify = UnixDatagram::bind(&notices).unwrap();
    notify.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let next = || {
        let mut buffer = [0; 512];
        let length = notify.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let socket = lab.folder().join("activation.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    // The shell's process becomes netd's, so that the number which is noted is netd's. The socket
    // comes as its standard input: Debian's sh takes no descriptor of two digits.
    let line = format!(
        "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 NOTIFY_SOCKET={} WATCHDOG_USEC=400000 exec {} run --config {}",
        notices.display(),
        lab.programs().path("netd").display(),
        lab.folder().join("none.json").display(),
    );
    let mut child = lab
        .host
        .command("setpriv")
        .args(["--pdeathsig", "KILL", "sh", "-c", &line])
        .envs(lab.environment())
        .stdin(OwnedFd::from(listener))
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    // The first is a ping, or that it is ready; pings come again and again.
    let told = |wanted: &str| loop {
        let said = next();
        if said.contains(wanted) {
            break said;
        }
        assert!(said.contains("WATCHDOG=1"), "{said}, and not {wanted}");
    };
    told("READY=1");
    told("WATCHDOG=1");
    told("WATCHDOG=1");
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    let said = told("RELOADING=1");
    assert!(said.contains("MONOTONIC_USEC="), "{said}");
    told("READY=1");
    let output = Command::new("curl")
        .args(["-sf", "--max-time", "10", "--unix-socket"])
        .arg(&socket)
        .arg("http://netd/v1/status")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!lab.folder().join("run/netd.sock").exists());
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    told("STOPPING=1");
    assert!(child.wait().unwrap().success());
    assert!(socket.exists(), "the service manager's socket stays");
}

#[test]
fn the_units_are_valid_and_the_sandbox_is_tight() {
    require(&[("systemd-analyze", "systemd")]);
    let lab = Lab::still();
    let units = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/systemd");
    let folder = lab.folder().join("units");
    fs::create_dir(&folder).unwrap();
    let netd = lab.programs().path("netd").display().to_string();
    for name in ["cleat-netd.service", "cleat-netd.socket"] {
        let text = fs::read_to_string(format!("{units}/{name}")).unwrap();
        fs::write(folder.join(name), text.replace("/usr/local/bin/netd", &netd)).unwrap();
    }
    let unit = folder.join("cleat-netd.service");
    for args in
        [&["verify", "--man=no"] as &[&str], &["security", "--offline=true", "--threshold=40"]]
    {
        let output = Command::new("systemd-analyze").args(args).arg(&unit).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{args:?}: {said}");
    }
}

#[test]
fn another_server_at_port_53_is_named() {
    let lab = Lab::new();
    let _other = lab.host.name_server("0.0.0.0", &[]);
    let _netd = lab.netd();
    let (_chain, container, _attached) = attach(&lab);
    let names = &get(&lab, "/v1/status")["names"];
    assert_eq!((&names["fallback"], &names["port"]), (&json!(true), &json!(5330)));
    assert!(said(&lab, "status").contains("another server has port 53"));
    let doctor = cleat(&lab, "doctor");
    assert!(doctor.stdout.contains("another server has port 53"), "{doctor:?}");
    let id = &container.id[..12];
    assert_eq!(container.ns.look_up("10.88.0.1", id, "A").data, ["10.88.0.2"]);
}
