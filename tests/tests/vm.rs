//! Suites in a virtual machine with Debian's own kernel: those written for what this host's
//! kernel lacks (`guest_…`), and some of the others, on a kernel years older.

use std::fs;
use std::path::{Path, PathBuf};

use cleat_tests::Report;

/// The files of tests that run in a machine only, each with a test of its own below.
const GUESTS: [&str; 10] = [
    "guest_bandwidth",
    "guest_bridge",
    "guest_host_device",
    "guest_links",
    "guest_nfs",
    "guest_overlay",
    "guest_steps",
    "guest_volumes",
    "guest_vrf",
    "guest_wireguard",
];

/// All of a suite's tests ran, in the kernel that they are for.
#[track_caller]
fn run_all(suite: &str) {
    assert!(GUESTS.contains(&suite), "add {suite} to GUESTS");
    let report = Report::of(suite, &[]);
    let passed = report.passed().len();
    assert_eq!(passed, tests_in(suite), "{suite}: not every test ran");
    assert!(report.said("cleat-vm: kernel ").is_some_and(|release| release.starts_with("6.1")));
}

/// Where they are: beside this file, and with what they need to call.
fn folders() -> [PathBuf; 2] {
    ["tests", "../netd/tests"].map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
}

fn tests_in(suite: &str) -> usize {
    let files = folders().map(|folder| folder.join(format!("{suite}.rs")));
    let source = files.iter().find_map(|file| fs::read_to_string(file).ok()).unwrap();
    source.lines().filter(|line| *line == "#[test]").count()
}

#[test]
fn no_guest_is_forgotten() {
    let mut found: Vec<String> = folders()
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".rs").filter(|name| name.starts_with("guest_")).map(str::to_owned)
        })
        .collect();
    found.sort();
    assert_eq!(found, GUESTS);
}

#[test]
fn bandwidth_with_a_fair_queue() {
    run_all("guest_bandwidth");
}

#[test]
fn bridge_vlans() {
    run_all("guest_bridge");
}

#[test]
fn ipvlan_vlan_and_dummy() {
    run_all("guest_links");
}

#[test]
fn devices_by_their_place_on_a_bus() {
    run_all("guest_host_device");
}

#[test]
fn interfaces_at_their_steps() {
    run_all("guest_steps");
}

#[test]
fn routing_domains() {
    run_all("guest_vrf");
}

#[test]
fn containers_on_an_older_kernel() {
    for (suite, tests) in [
        (
            "bridge",
            ["containers_reach", "default_gateway", "masquerading", "detach", "check"].as_slice(),
        ),
        ("portmap", &["from_", "detach", "datagram"]),
        ("macvlan", &["containers_reach", "modes", "detach"]),
    ] {
        Report::of(suite, tests).passed();
    }
}

#[test]
fn volumes_on_servers() {
    run_all("guest_nfs");
}

#[test]
fn volumes_with_quotas() {
    run_all("guest_volumes");
}

#[test]
fn encrypted_between_nodes() {
    run_all("guest_wireguard");
}

#[test]
fn encrypted_overlays_with_netd() {
    run_all("guest_overlay");
}
