//! An overlay network's peers on one node: written, looked over, moved.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cleat_tests::Namespace;

use crate::report::{compare, section, table, timed, timed_head};
use crate::timing::{Contestant, interleaved, rest};
use crate::tools::{amount, compiled};

const LOCAL: &str = "192.0.2.1";

/// A host that reaches everybody by one link.
fn host() -> Namespace {
    let host = Namespace::create("peers");
    host.sh(&format!(
        "ip link set lo up; ip link add eth0 type veth peer name lan; ip link set lan up; \
         ip link set eth0 up; ip addr add {LOCAL}/24 dev eth0; ip route add default via 192.0.2.2"
    ));
    host
}

/// The engine's own, optimised as netd is.
fn engine() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    // As tests/build has it.
    let profile = match std::env::var("CLEAT_PROFILE") {
        Ok(small) if small != "release" => format!("{small}-daemon"),
        _ => "daemon".to_owned(),
    };
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--profile", &profile, "--package", "cleat-engine"]);
    cargo.args(["--example", "overlay_peers", "--target-dir"]).arg(target);
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let status = cargo.status().unwrap();
    assert!(status.success(), "{cargo:?}: {status}");
    target.join(profile).join("examples/overlay_peers")
}

/// What a program prints: microseconds.
fn measured(mut command: Command) -> Vec<Duration> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().map(|word| Duration::from_micros(word.parse().unwrap())).collect()
}

#[test]
#[ignore = "measures"]
fn overlay_peers() {
    let (count, rounds) = (amount("CLEAT_PEERS", 10_000), amount("CLEAT_PEERS_ROUNDS", 20));
    let (ours, floor) = (engine(), compiled("peers"));
    let (one, other) = (host(), host());
    let folder = std::env::temp_dir().join(format!("cleat-peers-{}", std::process::id()));
    let engine: Contestant<'_> = Box::new(|_| {
        let mut command = one.command(&ours);
        command.args([&count.to_string(), LOCAL]).arg(&folder);
        let found = measured(command);
        std::fs::remove_dir_all(&folder).unwrap();
        rest();
        found
    });
    let bare: Contestant<'_> = Box::new(|_| {
        let mut command = other.command(&floor);
        command.args([&count.to_string(), LOCAL]);
        let found = measured(command);
        rest();
        found
    });
    let found = interleaved(rounds, &mut [engine, bare]);
    section(&format!("overlay: {count} peers"));
    let mut rows = vec![timed_head()];
    for (step, what) in ["cold", "again"].iter().enumerate() {
        for (who, samples) in ["cleat", "floor"].iter().zip(&found) {
            rows.push(timed(&format!("{what} {who}"), &samples[step]));
        }
    }
    rows.push(timed("one moved cleat", &found[0][2]));
    table(&rows);
    println!();
    compare("cold, to the floor", &found[0][0], &found[1][0], 1.5);
    compare("again, to the floor", &found[0][1], &found[1][1], 1.5);
}
