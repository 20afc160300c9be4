//! Questions about names elsewhere: who is asked, what is kept, what becomes of servers that are
//! slow, silent, wrong or hostile.

use std::time::{Duration, Instant};

use cleat_tests::{Ask, Attached, Container, Lab, Netd, Upstream, ranges};
use rustix::process::Signal;
use serde_json::{Value, json};

const GATEWAY: &str = "10.81.0.1";
const SECOND: &str = "192.0.2.3";
const EXAMPLE: (&str, &str) = ("example.com", "192.0.2.7");

fn network(change: impl FnOnce(&mut Value)) -> Value {
    let mut plugin = json!({
        "type": "bridge", "bridge": "clfwd", "isDefaultGateway": true, "ipMasq": true,
        "embeddedDNS": true, "ipam": ranges(&["10.81.0.0/24"]), "capabilities": {"dns": true},
    });
    change(&mut plugin);
    json!({"cniVersion": "1.1.0", "name": "fwd", "plugins": [plugin]})
}

/// A container on a network, netd, and two servers on the LAN.
struct Scene {
    asker: Container,
    _attached: Attached,
    netd: Netd,
    first: Upstream,
    second: Upstream,
    lab: Lab,
}

impl Scene {
    fn new(change: impl FnOnce(&mut Value)) -> Self {
        Self::with(change, &json!({}), json!({}))
    }

    fn with(change: impl FnOnce(&mut Value), config: &Value, capabilities: Value) -> Self {
        let lab = Lab::new();
        lab.lan.ip(&format!("addr add {SECOND}/24 dev eth0"));
        let first = lab.lan.name_server(Lab::LAN[0], &[EXAMPLE]);
        let second = lab.lan.name_server(SECOND, &[EXAMPLE]);
        let servers = format!("nameserver {}\nnameserver {SECOND}\n", Lab::LAN[0]);
        std::fs::create_dir_all(lab.folder().join("daemon")).unwrap();
        std::fs::write(lab.resolv_conf(), servers).unwrap();
        let netd = lab.netd_with(config);
        let asker = lab.container();
        let attached = lab.chain(network(change)).capabilities(capabilities).attach(&asker);
        Self { asker, _attached: attached, netd, first, second, lab }
    }

    #[track_caller]
    fn ask(&self, name: &str) -> cleat_tests::Answer {
        self.asker.ns.look_up(GATEWAY, name, "A")
    }

    fn timed(&self, name: &str) -> (cleat_tests::Answer, Duration) {
        let since = Instant::now();
        (self.ask(name), since.elapsed())
    }
}

#[test]
fn answers_are_kept_for_as_long_as_they_say() {
    let scene = Scene::new(|_| {});
    scene.first.behave(|m| {
        m.ttl = 2;
        m.names.insert("v6.example".into(), vec!["2001:db8::7".parse().unwrap()]);
    });
    for _ in 0..5 {
        let answer = scene.ask("example.com");
        assert_eq!(
            (answer.data.as_slice(), answer.authoritative),
            (["192.0.2.7".to_owned()].as_slice(), false)
        );
        assert!(answer.ttls[0] <= 2);
        assert_eq!(scene.ask("nothing.example.com").code, "Non-Existent Domain");
    }
    // The case that is asked for comes back, though it is kept once.
    assert_eq!(scene.ask("eXample.COM").asked, "eXample.COM.");
    assert_eq!(scene.first.asked(), 2, "{:?}", scene.first.names());
    std::thread::sleep(Duration::from_millis(2100));
    scene.ask("example.com");
    assert_eq!(scene.first.asked(), 3);
    assert_eq!(scene.asker.ns.look_up(GATEWAY, "v6.example", "AAAA").data, ["2001:db8::7"]);
    assert_eq!(scene.second.asked(), 0);
}

#[test]
fn a_slow_server_costs_one_question_and_a_dead_one_no_other() {
    let scene = Scene::new(|_| {});
    scene.first.behave(|m| m.silent = true);
    let (answer, first) = scene.timed("example.com");
    assert_eq!(answer.data, ["192.0.2.7"]);
    assert!(first < Duration::from_secs(1), "{first:?}");
    // From now on it is asked last.
    let names: Vec<String> = (0..10).map(|n| format!("n{n}.example")).collect();
    let asked = scene.first.asked();
    for name in &names {
        let (answer, took) = scene.timed(name);
        assert_eq!(answer.code, "Non-Existent Domain");
        assert!(took < Duration::from_millis(200), "{name}: {took:?}");
    }
    assert_eq!(scene.first.asked(), asked);
    // And when it is back, it is found out, in time.
    scene.first.behave(|m| m.silent = false);
    let deadline = Instant::now() + Duration::from_secs(15);
    let mut n = 0;
    while scene.first.asked() == asked {
        assert!(Instant::now() < deadline, "never asked again");
        n += 1;
        scene.ask(&format!("back{n}.example"));
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn all_dead_is_a_failure_in_time() {
    let scene = Scene::new(|_| {});
    for server in [&scene.first, &scene.second] {
        server.behave(|m| m.silent = true);
    }
    let (answer, took) = scene.timed("example.com");
    assert_eq!(answer.code, "Server Failure");
    assert!(took < Duration::from_secs(3), "{took:?}");
    // No servers at all: at once.
    std::fs::write(scene.lab.resolv_conf(), "").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let (answer, took) = scene.timed("other.example");
    assert_eq!(answer.code, "Server Failure");
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn a_server_whose_port_is_closed_costs_no_time() {
    const CLOSED: [&str; 2] = ["192.0.2.4", "192.0.2.5"];
    let scene = Scene::new(|_| {});
    CLOSED.iter().for_each(|closed| {
        scene.lab.lan.ip(&format!("addr add {closed}/24 dev eth0"));
    });
    let ask_at = |servers: [&str; 2], name| {
        let lines = servers.map(|server| format!("nameserver {server}\n")).concat();
        std::fs::write(scene.lab.resolv_conf(), lines).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        scene.timed(name)
    };
    // One that nothing is known of is else waited for before the next one is asked.
    let (answer, took) = ask_at([CLOSED[0], SECOND], "example.com");
    assert_eq!(answer.data, ["192.0.2.7"]);
    assert!(took < Duration::from_millis(200), "{took:?}");
    let (answer, took) = ask_at(CLOSED, "other.example");
    assert_eq!(answer.code, "Server Failure");
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn a_server_that_fails_or_refuses_is_passed_over() {
    for code in [2, 5] {
        let scene = Scene::new(|_| {});
        scene.first.behave(|m| m.code = Some(code));
        let (answer, took) = scene.timed("example.com");
        assert_eq!(answer.data, ["192.0.2.7"], "code {code}: {answer:?}");
        assert!(took < Duration::from_millis(500), "code {code}: {took:?}");
    }
}

#[test]
fn what_is_cut_is_fetched_by_stream() {
    let scene = Scene::new(|_| {});
    scene.first.behave(|m| m.truncates = true);
    assert_eq!(scene.ask("example.com").data, ["192.0.2.7"]);
    // An answer that is too long for the asker's datagram is cut for him, and whole by stream.
    let ask = |payload| Ask::new(GATEWAY, "example.com", "TXT").edns(payload);
    let cut = scene.asker.ns.ask_name(&ask(1232)).unwrap();
    assert!(cut.truncated && cut.size <= 1232, "{cut:?}");
    let whole = scene.asker.ns.ask_name(&ask(1232).by_tcp()).unwrap();
    assert!(!whole.truncated && whole.size > 2400, "{whole:?}");
}

#[test]
fn forged_answers_are_not_heard() {
    let scene = Scene::new(|_| {});
    scene.first.behave(|m| m.spoofs = true);
    for _ in 0..3 {
        assert_eq!(scene.ask("example.com").data, ["192.0.2.7"]);
    }
    assert_eq!(scene.ask("evil.example").code, "Non-Existent Domain");
}

#[test]
fn the_same_question_is_asked_once_however_many_ask_it() {
    let scene = Scene::new(|_| {});
    scene.first.behave(|m| m.delay = Duration::from_millis(250));
    std::thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| assert_eq!(scene.ask("example.com").data, ["192.0.2.7"]));
        }
    });
    assert_eq!(scene.first.asked(), 1, "{:?}", scene.first.names());
}

#[test]
fn the_networks_servers_go_before_the_containers_and_those_before_the_hosts() {
    let own = |server: &str| json!({"dns": {"servers": [server]}});
    let of_network = |plugin: &mut Value| plugin["dns"] = json!({"nameservers": [SECOND]});
    for (network, capabilities, first, second) in [
        (false, json!({}), 1, 0),
        (false, own(SECOND), 0, 1),
        (true, json!({}), 0, 1),
        (true, own(Lab::LAN[0]), 0, 1),
    ] {
        let change = |plugin: &mut Value| {
            if network {
                of_network(plugin)
            }
        };
        let scene = Scene::with(change, &json!({}), capabilities.clone());
        assert_eq!(scene.ask("example.com").data, ["192.0.2.7"]);
        let asked = (scene.first.asked(), scene.second.asked());
        assert_eq!(asked, (first, second), "network {network}, container {capabilities}");
        // Wherever its questions go, the container asks at the gateway.
        assert_eq!(scene._attached.result["dns"]["nameservers"], json!([GATEWAY]));
    }
}

#[test]
fn nothing_leaves_an_internal_network_and_single_labels_leave_none() {
    let scene = Scene::new(|plugin| plugin["inboundPolicy"] = json!("internal"));
    assert_eq!(scene.ask("example.com").code, "Non-Existent Domain");
    assert_eq!(scene.ask("single").code, "Non-Existent Domain");
    assert_eq!(scene.first.asked() + scene.second.asked(), 0);
    let scene = Scene::new(|_| {});
    for name in ["single", "x.cleat.internal", "x.fwd.cleat.internal"] {
        assert_eq!(scene.ask(name).code, "Non-Existent Domain", "{name}");
    }
    assert_eq!(scene.first.asked(), 0, "{:?}", scene.first.names());
    let config = json!({"dns": {"forwardSingleLabels": true}});
    let scene = Scene::with(|_| {}, &config, json!({}));
    scene
        .first
        .behave(|m| drop(m.names.insert("single".into(), vec!["192.0.2.8".parse().unwrap()])));
    assert_eq!(scene.ask("single").data, ["192.0.2.8"]);
}

#[test]
fn the_hosts_servers_are_followed_however_their_file_changes() {
    let scene = Scene::new(|_| {});
    scene.second.behave(|m| {
        drop(m.names.insert("moved.example".into(), vec!["192.0.2.9".parse().unwrap()]))
    });
    assert_eq!(scene.ask("moved.example").code, "Non-Existent Domain");
    let path = scene.lab.resolv_conf();
    let target = scene.lab.folder().join("other.conf");
    // By a rename, twice; then through a link to a file that is rewritten.
    let servers = [SECOND, Lab::LAN[0], SECOND];
    for (n, server) in servers.iter().enumerate() {
        let text = format!("nameserver {server}\n");
        if n < 2 {
            std::fs::write(&target, text).unwrap();
            std::fs::rename(&target, &path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&target, text).unwrap();
            std::os::unix::fs::symlink(&target, &path).unwrap();
        }
        let (asked, other) = if *server == SECOND {
            (&scene.second, &scene.first)
        } else {
            (&scene.first, &scene.second)
        };
        std::thread::sleep(Duration::from_millis(300));
        let before = other.asked();
        scene.ask(&format!("turn{n}.example"));
        assert_eq!(other.asked(), before, "turn {n}");
        assert!(
            asked.names().iter().any(|name| name.starts_with(&format!("turn{n}."))),
            "turn {n}"
        );
    }
}

#[test]
fn one_client_with_too_many_questions_takes_nothing_from_the_others() {
    let config = json!({"dns": {"outstandingPerClient": 20}});
    let scene = Scene::with(|_| {}, &config, json!({}));
    for server in [&scene.first, &scene.second] {
        server.behave(|m| m.delay = Duration::from_millis(1200));
    }
    let other = scene.lab.container();
    scene.lab.chain(network(|_| {})).attach(&other);
    let codes: Vec<String> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..40)
            .map(|n| {
                let scene = &scene;
                scope.spawn(move || scene.ask(&format!("flood{n}.example")).code)
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(other.ns.look_up(GATEWAY, "example.com", "A").data, ["192.0.2.7"]);
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let refused = codes.iter().filter(|code| *code == "Query Refused").count();
    assert_eq!(refused, 20, "{codes:?}");
}

#[test]
fn a_new_configuration_counts_and_a_wrong_one_changes_nothing() {
    let mut scene = Scene::new(|_| {});
    let file = scene.lab.folder().join("daemon/netd.json");
    std::fs::write(&file, json!({"dns": {"servers": [SECOND]}}).to_string()).unwrap();
    scene.netd.signal(Signal::HUP);
    scene.netd.wait_for("it is configured", |netd| netd.said().contains("netd.configured"));
    scene.ask("one.example");
    assert_eq!((scene.first.asked(), scene.second.asked()), (0, 1));
    std::fs::write(&file, "{\"dns\": {\"server\": []}}").unwrap();
    scene.netd.signal(Signal::HUP);
    scene.netd.wait_for("it complains", |netd| netd.said().contains("stays as it was"));
    assert!(scene.netd.said().contains("server"), "{}", scene.netd.said());
    scene.ask("two.example");
    assert_eq!((scene.first.asked(), scene.second.asked()), (0, 2));
}
