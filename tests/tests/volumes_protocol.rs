//! The volume plugin protocol: what engines send, and what they must be answered.

use cleat_tests::{VolumeNode, eventually, exchange, post};
use serde_json::{Value, json};

/// A row: call, request, whether it is done, a part of the answer.
type Row<'r> = (&'r str, &'r str, bool, &'r str);

#[test]
fn each_call_by_the_socket() {
    let node = VolumeNode::new("");
    let driver = node.driver("");
    let rows: &[Row<'_>] = &[
        ("Plugin.Activate", "", true, r#"{"Implements":["VolumeDriver"]}"#),
        ("Plugin.Activate", "null", true, "VolumeDriver"),
        ("VolumeDriver.Capabilities", "{}", true, r#""Scope":"local""#),
        ("VolumeDriver.List", "", true, r#""Volumes":[]"#),
        ("VolumeDriver.Get", r#"{"Name":"a"}"#, false, "no such volume"),
        ("VolumeDriver.Path", r#"{"Name":"a"}"#, false, "no such volume"),
        ("VolumeDriver.Mount", r#"{"Name":"a","ID":"1"}"#, false, "no such volume"),
        ("VolumeDriver.Create", r#"{"Name":"a","Opts":null}"#, true, r#"{"Err":""}"#),
        // A second time, and with keys in another case.
        ("VolumeDriver.Create", r#"{"name":"a","opts":{}}"#, true, r#"{"Err":""}"#),
        ("VolumeDriver.Create", r#"{"Name":"a","Opts":{"o":"ro"}}"#, false, "other options"),
        ("VolumeDriver.Create", r#"{"Name":"b","Opts":{"sice":"1g"}}"#, false, "nearest is size"),
        (
            "VolumeDriver.Create",
            r#"{"Name":"b","Opts":{"o":"password=geheim,password=anders"}}"#,
            false,
            "password=***",
        ),
        ("VolumeDriver.Create", r#"{"Name":"b","Opts":{"token":"geheim"}}"#, false, "token"),
        ("VolumeDriver.Create", r#"{"Name":"../b"}"#, false, "volume name"),
        ("VolumeDriver.Create", "", false, "no body"),
        ("VolumeDriver.Create", "[1]", false, "not a JSON object"),
        ("VolumeDriver.Create", "{", false, "not JSON"),
        ("VolumeDriver.Explode", "{}", false, "no such call"),
        ("VolumeDriver.Get", r#"{"Name":"a"}"#, true, r#""Name":"a""#),
        ("VolumeDriver.Path", r#"{"Name":"a"}"#, true, "/a/_data"),
        ("VolumeDriver.Mount", r#"{"Name":"a"}"#, false, "ID"),
        ("VolumeDriver.Mount", r#"{"Name":"a","ID":""}"#, false, "mount id"),
        ("VolumeDriver.Mount", r#"{"Name":"a","ID":"1"}"#, true, "/a/_data"),
        ("VolumeDriver.Mount", r#"{"Name":"a","ID":"1"}"#, true, "/a/_data"),
        ("VolumeDriver.Remove", r#"{"Name":"a"}"#, false, "in use by 1"),
        ("VolumeDriver.Unmount", r#"{"Name":"a","ID":"1"}"#, true, r#"{"Err":""}"#),
        ("VolumeDriver.Remove", r#"{"Name":"a"}"#, false, "in use by 1"),
        ("VolumeDriver.Unmount", r#"{"Name":"a","ID":"1"}"#, true, r#"{"Err":""}"#),
        // Nobody: a call that was counted before its connection broke.
        ("VolumeDriver.Unmount", r#"{"Name":"a","ID":"1"}"#, true, r#"{"Err":""}"#),
        ("VolumeDriver.List", "{}", true, r#""Mounts":0"#),
        ("VolumeDriver.Remove", r#"{"Name":"a"}"#, true, r#"{"Err":""}"#),
        ("VolumeDriver.Remove", r#"{"Name":"a"}"#, true, r#"{"Err":""}"#),
    ];
    for (call, body, is_done, part) in rows {
        let (status, answer) = node.post(call, body).unwrap_or_else(|| panic!("{call}: no answer"));
        // Podman takes the status for the outcome, dockerd the document.
        assert_eq!(status == 200, *is_done, "{call} {body}: {status} {answer}");
        let text = answer.to_string();
        assert!(text.contains(part), "{call} {body}: {text}");
        assert!(!text.contains("geheim") && !text.contains("anders"), "{call} {body}: {text}");
    }
    let said = driver.said();
    assert!(said.contains("password=***") && !said.contains("geheim"), "{said}");
    let (_, metrics) = exchange(&node.socket(), "GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    assert!(
        metrics.contains(r#"voldriver_calls_total{call="Unmount",outcome="done"} 3"#),
        "{metrics}"
    );
    let mode = std::fs::metadata(node.socket()).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    // An engine keeps its connection open; that holds nobody up.
    let idle = std::os::unix::net::UnixStream::connect(node.socket()).unwrap();
    let started = std::time::Instant::now();
    drop(driver);
    assert!(started.elapsed().as_secs() < 3, "{:?}", started.elapsed());
    drop(idle);
    assert!(!node.socket().exists(), "the socket is left");
}

#[test]
fn the_same_handlers_once() {
    let node = VolumeNode::new("");
    node.create("a", json!({"o": "uid=7,mode=0700"}));
    let path = node.mount("a", "one");
    assert!(path.ends_with("a/_data"));
    // Beside a running driver.
    let _driver = node.driver("");
    let (_, answer) = node.post("VolumeDriver.Get", r#"{"Name":"a"}"#).unwrap();
    assert_eq!(answer["Volume"]["Status"]["Mounts"], 1);
    node.mount("a", "two");
    let (_, answer) = node.post("VolumeDriver.Remove", r#"{"Name":"a"}"#).unwrap();
    assert!(answer["Err"].as_str().unwrap().contains("one, two"), "{answer}");
    for id in ["one", "two"] {
        node.unmount("a", id);
    }
    let created = answer_of(&node, "a")["CreatedAt"].as_str().unwrap().to_owned();
    assert!(created.ends_with('Z') && created.len() == 20, "{created}");
    assert!(node.error("Activated", json!({})).contains("no such call"));
}

#[track_caller]
fn answer_of(node: &VolumeNode, name: &str) -> Value {
    node.get(name).unwrap_or_else(|| panic!("no volume {name}"))
}

/// dockerd forgets a volume's labels when Get fails for whatever reason; a broken connection makes
/// it ask again, without a body.
#[test]
fn get_says_no_such_volume_only_if_there_is_none() {
    let node = VolumeNode::new("");
    node.create("a", json!({}));
    let _driver = node.driver("");
    assert_eq!(node.post("VolumeDriver.Get", ""), None);
    let record = node.volumes().join("a/volume.json");
    let text = std::fs::read_to_string(&record).unwrap();
    for damage in ["{", r#"{"schema": 99}"#] {
        std::fs::write(&record, damage).unwrap();
        assert_eq!(node.post("VolumeDriver.Get", r#"{"Name":"a"}"#), None);
        let (status, _) = node.post("VolumeDriver.Mount", r#"{"Name":"a","ID":"1"}"#).unwrap();
        assert_eq!(status, 500);
        // The others are still listed, and nothing is written over.
        assert_eq!(node.post("VolumeDriver.List", "").unwrap().0, 200);
        assert_eq!(std::fs::read_to_string(&record).unwrap(), damage);
    }
    std::fs::write(&record, text).unwrap();
    assert_eq!(node.post("VolumeDriver.Get", r#"{"Name":"a"}"#).unwrap().0, 200);
}

#[test]
fn sockets_are_taken_over_from_the_dead_only() {
    let node = VolumeNode::new("");
    // What a killed one leaves.
    drop(std::os::unix::net::UnixListener::bind(node.socket()).unwrap());
    let line = "exec env CLEAT_MOUNT_NAMESPACE=own $PLUGINS/voldriver run --socket $LAB/cleat.sock";
    let _driver = node.driver("");
    eventually("the driver answers", || {
        std::os::unix::net::UnixStream::connect(node.socket()).is_ok()
    });
    assert_eq!(post(&node.socket(), "Plugin.Activate", "").unwrap().0, 200);
    let said = node.enclosure().try_sh(line).unwrap_err();
    assert!(said.contains("another process serves this socket"), "{said}");
    assert_eq!(post(&node.socket(), "Plugin.Activate", "").unwrap().0, 200);
}

#[test]
fn a_socket_of_the_service_manager_is_used_and_left() {
    let node = VolumeNode::new("");
    // What systemd does: a listening socket as descriptor 3, and the number of the process.
    let script = r#"
import os, socket, sys
s = socket.socket(socket.AF_UNIX); s.bind(os.environ["LAB"] + "/cleat.sock"); s.listen(8)
os.dup2(s.fileno(), 3); os.set_inheritable(3, True)
os.environ["LISTEN_FDS"] = "1"; os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(os.environ["PLUGINS"] + "/voldriver", ["voldriver", "run", "--socket", "/nowhere/x"])
"#;
    std::fs::write(node.enclosure().folder().join("activate.py"), script).unwrap();
    let driver = node.enclosure().daemon("python3 $LAB/activate.py", "test -S $LAB/cleat.sock");
    assert_eq!(node.post("Plugin.Activate", "").unwrap().0, 200);
    drop(driver);
    assert!(node.socket().exists(), "the manager's socket is gone");
}

#[test]
fn flexvolume() {
    let node = VolumeNode::new("");
    let run = |words: &str| {
        let line = format!("CLEAT_MOUNT_NAMESPACE=own $PLUGINS/voldriver {words}");
        node.enclosure().try_sh(&line)
    };
    assert!(run("init").unwrap().contains(r#""attach":false"#));
    let options =
        r#"'{"volume":"flex","size":"4m","type":"tmpfs","kubernetes.io/readwrite":"rw"}'"#;
    for _ in 0..2 {
        let said = run(&format!("mount $LAB/pod {options}")).unwrap();
        assert!(said.contains("Success"), "{said}");
    }
    node.enclosure().sh("echo x >$LAB/pod/f; findmnt -n -o FSTYPE $LAB/pod | grep tmpfs");
    assert_eq!(answer_of(&node, "flex")["Status"]["Mounts"], 1);
    for _ in 0..2 {
        assert!(run("unmount $LAB/pod").unwrap().contains("Success"));
    }
    assert_eq!(answer_of(&node, "flex")["Status"]["Mounts"], 0);
    assert!(node.mounts().is_empty());
    let said = run("mount $LAB/pod '{}'").unwrap_err();
    assert!(
        said.contains(r#""status":"Failure""#) && said.contains("volume: it is missing"),
        "{said}"
    );
}
