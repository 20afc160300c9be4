//! Volumes on a node: calls of the driver, once or by its socket, and what is mounted.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::enclosure::{Daemon, Enclosure};
use crate::lab::Lab;

/// The driver serves here.
const SOCKET: &str = "$LAB/cleat.sock";

/// A node with volumes: mounts of its own, state in the lab's folder.
#[derive(Debug)]
pub struct VolumeNode {
    enclosure: Enclosure,
    lab: Lab,
}

impl VolumeNode {
    /// A new one, in which these shell lines were run.
    pub fn new(lines: &str) -> Self {
        let lab = Lab::still();
        let enclosure = Enclosure::new(&lab, lines);
        Self { enclosure, lab }
    }

    /// Where things run.
    pub fn enclosure(&self) -> &Enclosure {
        &self.enclosure
    }

    /// The lab that it is in.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Where volumes lie.
    pub fn volumes(&self) -> PathBuf {
        self.lab.folder().join("state/volumes")
    }

    /// One call with no daemon: what it answers, and whether it was done.
    pub fn call(&self, method: &str, request: &Value) -> (bool, Value) {
        self.call_through(&[], method, request.to_string().as_bytes())
    }

    /// The same under another program, with any bytes as request.
    pub fn call_through(&self, wrapper: &[&str], method: &str, request: &[u8]) -> (bool, Value) {
        let driver = self.lab.programs().path("voldriver");
        let mut words: Vec<&str> = wrapper.to_vec();
        words.extend([driver.to_str().unwrap(), "call", method]);
        let mut command = self.enclosure.command(words[0]);
        command.args(&words[1..]).env("CLEAT_MOUNT_NAMESPACE", "own");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // One that was killed reads nothing.
        let _ = child.stdin.take().unwrap().write_all(request);
        let output = child.wait_with_output().unwrap();
        let answer = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.success(), answer)
    }

    /// A call that must be done.
    #[track_caller]
    pub fn done(&self, method: &str, request: Value) -> Value {
        let (done, answer) = self.call(method, &request);
        assert!(done, "{method} {request}: {answer}");
        answer
    }

    /// What a call that must fail says.
    #[track_caller]
    pub fn error(&self, method: &str, request: Value) -> String {
        let (done, answer) = self.call(method, &request);
        assert!(!done, "{method} {request} should have failed: {answer}");
        answer["Err"].as_str().unwrap_or_else(|| panic!("{method}: no Err: {answer}")).to_owned()
    }

    /// Makes a volume.
    #[track_caller]
    pub fn create(&self, name: &str, options: Value) {
        self.done("Create", json!({"Name": name, "Opts": options}));
    }

    /// Mounts a volume; where it is seen.
    #[track_caller]
    pub fn mount(&self, name: &str, id: &str) -> PathBuf {
        let answer = self.done("Mount", json!({"Name": name, "ID": id}));
        answer["Mountpoint"].as_str().unwrap().into()
    }

    /// Unmounts it.
    #[track_caller]
    pub fn unmount(&self, name: &str, id: &str) {
        self.done("Unmount", json!({"Name": name, "ID": id}));
    }

    /// What is said of a volume; `None` if there is none.
    #[track_caller]
    pub fn get(&self, name: &str) -> Option<Value> {
        let (done, answer) = self.call("Get", &json!({"Name": name}));
        if !done {
            let text = answer["Err"].as_str().unwrap_or_default();
            assert!(text.contains("no such volume"), "Get {name}: {answer}");
            return None;
        }
        Some(answer["Volume"].clone())
    }

    /// The command, which must succeed; what it prints.
    #[track_caller]
    pub fn cleat(&self, line: &str) -> String {
        self.enclosure.sh(&format!("CLEAT_MOUNT_NAMESPACE=own $PLUGINS/cleat {line}"))
    }

    /// The command, which must fail; what it says.
    #[track_caller]
    pub fn cleat_error(&self, line: &str) -> String {
        let line = format!("CLEAT_MOUNT_NAMESPACE=own $PLUGINS/cleat {line}");
        self.enclosure.try_sh(&line).expect_err(&line)
    }

    /// Mounts at and below the volumes' folder: (path, type, options), as the node sees them.
    pub fn mounts(&self) -> Vec<(String, String, String)> {
        let folder = self.volumes().display().to_string();
        let text = self.enclosure.sh("cat /proc/self/mountinfo");
        let line = |line: &str| {
            let (before, after) = line.split_once(" - ")?;
            let fields: Vec<&str> = before.split(' ').collect();
            let kind = after.split(' ').next()?;
            let inner = fields[4].strip_prefix(&folder)?;
            let inner = inner.trim_start_matches('/').to_owned();
            Some((inner, kind.to_owned(), fields[5].to_owned()))
        };
        text.lines().filter_map(line).collect()
    }

    /// Starts the driver; ready when it serves.
    pub fn driver(&self, options: &str) -> Daemon {
        self.enclosure.daemon(
            &format!(
                "env CLEAT_MOUNT_NAMESPACE=own $PLUGINS/voldriver run --socket {SOCKET} {options}"
            ),
            &format!("test -S {SOCKET}"),
        )
    }

    /// The driver's socket, as the test sees it.
    pub fn socket(&self) -> PathBuf {
        self.enclosure.folder().join("cleat.sock")
    }

    /// A call by the socket, as an engine makes it: status and answer. `None` if the driver closed
    /// the connection without a word.
    pub fn post(&self, call: &str, body: &str) -> Option<(u16, Value)> {
        post(&self.socket(), call, body)
    }
}

/// A call by a socket.
pub fn post(socket: &Path, call: &str, body: &str) -> Option<(u16, Value)> {
    let length = body.len();
    let request = format!(
        "POST /{call} HTTP/1.1\r\nHost: \r\nConnection: close\r\n\
         Accept: application/vnd.docker.plugins.v1.2+json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let (status, text) = exchange(socket, &request)?;
    Some((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

/// What a request in plain HTTP gets.
pub fn exchange(socket: &Path, request: &str) -> Option<(u16, String)> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// Waits for something that the driver brings about.
#[track_caller]
pub fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within 15 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
