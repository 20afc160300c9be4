//! Volumes: what a call of the driver costs, by itself and through dockerd beside `local`; what
//! ten thousand volumes cost.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use cleat_tests::{VolumeNode, require};
use serde_json::json;

use crate::report::{row, section, table, timed, timed_head, verdict};
use crate::timing::{Contestant, Samples, interleaved, milliseconds, time};

/// As /run is on a host.
const IN_MEMORY: &str = "mount -t tmpfs none $CLEAT_RUN_DIR";

/// A connection that stays, as dockerd's.
struct Connection {
    stream: BufReader<UnixStream>,
}

impl Connection {
    fn open(socket: &Path) -> Self {
        Self { stream: BufReader::new(UnixStream::connect(socket).unwrap()) }
    }

    /// How long a request took; its status must be a success.
    fn send(&mut self, method: &str, path: &str, body: &str) -> Duration {
        let start = Instant::now();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut status = String::new();
        self.stream.read_line(&mut status).unwrap();
        let mut length = None;
        let mut line = String::new();
        while self.stream.read_line(&mut line).unwrap() > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = Some(value.trim().parse::<usize>().unwrap());
            }
            line.clear();
        }
        let answer = match length {
            Some(length) => self.bytes(length),
            None if status.contains(" 204") => Vec::new(),
            None => self.chunks(),
        };
        let took = start.elapsed();
        let text = String::from_utf8_lossy(&answer);
        assert!(status.contains(" 20"), "{method} {path} {body}: {status}{text}");
        took
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// An answer whose length its server did not know beforehand, as those in Go do not.
    fn chunks(&mut self) -> Vec<u8> {
        let mut answer = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let length = usize::from_str_radix(line.trim(), 16).unwrap();
            answer.extend(self.bytes(length));
            self.bytes(2);
            if length == 0 {
                return answer;
            }
        }
    }

    fn call(&mut self, call: &str, body: serde_json::Value) -> Duration {
        self.send("POST", &format!("/VolumeDriver.{call}"), &body.to_string())
    }
}

fn p99(samples: &mut [Duration]) -> f64 {
    samples.sort();
    milliseconds(samples[samples.len() * 99 / 100])
}

#[test]
fn calls_of_the_driver() {
    section("Volumes: round trips of the driver's socket, ms");
    let node = VolumeNode::new(IN_MEMORY);
    let _driver = node.driver("--measure 0");
    let mut driver = Connection::open(&node.socket());
    driver.call("Create", json!({"Name": "plain"}));
    driver.call("Create", json!({"Name": "mem", "Opts": {"type": "tmpfs"}}));
    driver.call("Mount", json!({"Name": "mem", "ID": "held"}));
    let mut rows = vec![row(["", "median", "p99", "calls/s"])];
    let mut worst: f64 = 0.0;
    for (what, steps) in [
        ("Get", vec![("Get", json!({"Name": "plain"}))]),
        (
            "Mount and Unmount of a directory",
            vec![
                ("Mount", json!({"Name": "plain", "ID": "1"})),
                ("Unmount", json!({"Name": "plain", "ID": "1"})),
            ],
        ),
        (
            "Mount and Unmount of what is mounted",
            vec![
                ("Mount", json!({"Name": "mem", "ID": "1"})),
                ("Unmount", json!({"Name": "mem", "ID": "1"})),
            ],
        ),
        (
            "Create and Remove",
            vec![("Create", json!({"Name": "new"})), ("Remove", json!({"Name": "new"}))],
        ),
    ] {
        let mut samples = Vec::new();
        for _ in 0..500 {
            for (call, body) in &steps {
                samples.push(driver.call(call, body.clone()));
            }
        }
        let total: Duration = samples.iter().sum();
        let rate = samples.len() as f64 / total.as_secs_f64();
        let high = p99(&mut samples);
        let median = milliseconds(samples[samples.len() / 2]);
        if what != "Create and Remove" {
            worst = worst.max(median);
        }
        rows.push(vec![
            what.into(),
            format!("{median:.3}"),
            format!("{high:.3}"),
            format!("{rate:.0}"),
        ]);
    }
    table(&rows);
    verdict("the slowest of Get, Mount, Unmount, ms", worst, 1.0);
}

#[test]
fn ten_thousand_volumes() {
    const COUNT: usize = 10_000;
    section("Volumes: ten thousand of them");
    // State as well: what is measured is the driver.
    let node = VolumeNode::new(&format!("{IN_MEMORY}; mount -t tmpfs none $CLEAT_STATE_DIR"));
    let driver = node.driver("--measure 0");
    let mut connection = Connection::open(&node.socket());
    let made = time(|| {
        for number in 0..COUNT {
            connection.call("Create", json!({"Name": format!("volume-{number:05}")}));
        }
    });
    let name = |number: usize| json!({"Name": format!("volume-{:05}", number % COUNT)});
    let mut gets: Vec<Duration> =
        (0..2000).map(|round| connection.call("Get", name(round * 7919))).collect();
    let before = resident("voldriver");
    let mut lists = Samples::default();
    (0..9).for_each(|_| lists.push(connection.call("List", json!({}))));
    let after = resident("voldriver");
    drop(driver);
    let start = Instant::now();
    let _driver = node.driver("--measure 0");
    Connection::open(&node.socket()).call("Get", json!({"Name": "volume-09999"}));
    let restart = start.elapsed();
    table(&[
        row(["", ""]),
        row(["Create, each, ms", &format!("{:.3}", milliseconds(made) / COUNT as f64)]),
        row(["Get, p99, ms", &format!("{:.3}", p99(&mut gets))]),
        row(["List, median, ms", &format!("{:.0}", lists.median())]),
        row(["List, least, ms", &format!("{:.0}", lists.min())]),
        row(["resident before List, MiB", &format!("{:.1}", before as f64 / 1024.0)]),
        row(["resident after List, MiB", &format!("{:.1}", after as f64 / 1024.0)]),
        row(["start to first answer, ms", &format!("{:.0}", milliseconds(restart))]),
    ]);
    verdict("what List leaves resident, MiB", after.saturating_sub(before) as f64 / 1024.0, 20.0);
    verdict("restart, s", restart.as_secs_f64(), 1.0);
}

/// KiB of the newest process of this name.
fn resident(name: &str) -> u64 {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let of = |path: &Path| fs::read_to_string(path.join("status")).unwrap_or_default();
    let named =
        processes.map(|p| of(&p.path())).filter(|s| s.starts_with(&format!("Name:\t{name}\n")));
    let kib = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.to_owned();
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    named.filter_map(kib).max().unwrap()
}

const DOCKERD: &str = "dockerd --data-root $LAB/data --exec-root $LAB/exec \
    --host unix://$LAB/docker.sock --pidfile $LAB/docker.pid --storage-driver vfs \
    --bridge none --iptables=false";

#[test]
fn beside_dockers_local() {
    require(&[("dockerd", "docker.io")]);
    section("Volumes: create and remove through dockerd, ms");
    let node = VolumeNode::new(&format!("{IN_MEMORY}; mkdir -p /run/docker/plugins"));
    let _driver = node.enclosure().daemon(
        "env CLEAT_MOUNT_NAMESPACE=own $PLUGINS/voldriver run --socket /run/docker/plugins/cleat.sock",
        "test -S /run/docker/plugins/cleat.sock",
    );
    let _dockerd = node.enclosure().daemon(DOCKERD, "test -S $LAB/docker.sock");
    let socket = node.enclosure().folder().join("docker.sock");
    let one = |driver: &'static str| -> Contestant<'_> {
        let mut dockerd = Connection::open(&socket);
        Box::new(move |round| {
            let name = format!("{driver}-{round}");
            let body = json!({"Name": name, "Driver": driver}).to_string();
            let made = dockerd.send("POST", "/v1.41/volumes/create", &body);
            let gone = dockerd.send("DELETE", &format!("/v1.41/volumes/{name}"), "");
            vec![made, gone]
        })
    };
    let samples: Vec<Vec<Samples>> = interleaved(101, &mut [one("local"), one("cleat")]);
    let mut rows = vec![timed_head()];
    for (who, steps) in ["local", "cleat"].iter().zip(&samples) {
        for (what, step) in ["create", "remove"].iter().zip(steps) {
            rows.push(timed(&format!("{what}, {who}"), step));
        }
    }
    table(&rows);
}

/// Debian's rclone has a volume driver in Go, after go-plugins-helpers.
#[test]
fn beside_rclone() {
    require(&[("rclone", "rclone"), ("fusermount3", "fuse3")]);
    section("Volumes: calls with a hundred volumes, by the socket, ms");
    let node = VolumeNode::new(&format!("{IN_MEMORY}; mount -t tmpfs none $CLEAT_STATE_DIR"));
    let _ours = node.driver("--measure 0");
    let _theirs = node.enclosure().daemon(
        "rclone serve docker --base-dir $CLEAT_STATE_DIR/base --cache-dir $CLEAT_STATE_DIR/cache \
         --config /dev/null --socket-addr $LAB/rclone.sock",
        "test -S $LAB/rclone.sock",
    );
    let served = node.enclosure().folder().join("served");
    fs::create_dir(&served).unwrap();
    let remote = json!({"type": "local", "path": served});
    let one = |socket: &str, plain: serde_json::Value, held: serde_json::Value| -> Contestant<'_> {
        let mut driver = Connection::open(&node.enclosure().folder().join(socket));
        for number in 0..100 {
            driver.call("Create", json!({"Name": format!("v{number}"), "Opts": plain}));
        }
        driver.call("Create", json!({"Name": "held", "Opts": held}));
        driver.call("Mount", json!({"Name": "held", "ID": "held"}));
        let uses = |driver: &mut Connection, id: String| {
            let use_of = json!({"Name": "held", "ID": id});
            [driver.call("Mount", use_of.clone()), driver.call("Unmount", use_of)]
        };
        Box::new(move |round| {
            let new = json!({"Name": "new", "Opts": plain});
            let mut took = vec![driver.call("Create", new.clone())];
            took.push(driver.call("Get", new.clone()));
            took.extend(uses(&mut driver, round.to_string()));
            took.push(driver.call("List", json!({})));
            took.push(driver.call("Remove", new));
            took
        })
    };
    let ours = one("cleat.sock", json!({}), json!({"type": "tmpfs"}));
    let theirs = one("rclone.sock", remote.clone(), remote);
    let samples: Vec<Vec<Samples>> = interleaved(101, &mut [theirs, ours]);
    let mut rows = vec![timed_head()];
    for (who, steps) in ["rclone", "cleat"].iter().zip(&samples) {
        let calls = ["Create", "Get", "Mount, mounted", "Unmount, mounted", "List", "Remove"];
        for (what, step) in calls.iter().zip(steps) {
            rows.push(timed(&format!("{what}, {who}"), step));
        }
    }
    table(&rows);
}
