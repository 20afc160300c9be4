//! Programs in namespaces of their own. Needs root.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cleat_kernel::Namespace;
use cleat_kernel::spawn::{
    Exit, Place, Seen, Spawn, began, processes_in, signal, spawn, wait_gone,
};

fn shell(line: &str) -> Vec<OsString> {
    ["/bin/sh", "-c", line].map(OsString::from).to_vec()
}

#[test]
fn a_program_has_its_own_network_names_and_files() {
    let folder = tempfile::tempdir().unwrap();
    let netns = folder.path().join("net");
    let namespace = Namespace::create_at(&netns).unwrap();
    let hosts = folder.path().join("hosts");
    let mut file = std::fs::File::create(&hosts).unwrap();
    std::io::Write::write_all(&mut file, b"192.0.2.9 here\n").unwrap();
    let binds = [(hosts, PathBuf::from("/etc/hosts"))];
    let output = tempfile::tempfile().unwrap();
    let env = [(OsString::from("PATH"), OsString::from("/usr/sbin:/usr/bin:/sbin:/bin"))];
    let mut asked = Spawn {
        argv: &shell("hostname; cat /etc/hosts; ls /sys/class/net; exec sleep 60"),
        env: &env,
        folder: Path::new("/nowhere"),
        place: Place::New {
            netns: Some(&namespace),
            hostname: Some("inside"),
            seen: Seen { binds: &binds, mounts: &[] },
        },
        output: Some(&output),
        interactive: false,
    };
    let mut child = spawn(&asked).unwrap();
    assert!(began(child.id()).is_some());
    let joined = shell("hostname; cat /etc/hosts");
    asked.argv = &joined;
    assert!(processes_in(&namespace).contains(&child.id()));
    // One writer at a time: they share the file's offset.
    wait_for_lines(&output, 3);
    asked.place = Place::Beside(child.id());
    assert!(spawn(&asked).unwrap().wait().unwrap().success());
    wait_for_lines(&output, 5);
    signal(child.id(), 15).unwrap();
    assert!(wait_gone(child.id(), Duration::from_secs(5)).unwrap());
    assert!(!child.wait().unwrap().success());
    assert!(began(child.id()).is_none());
    let mut lines: Vec<String> = read(&output).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["192.0.2.9 here", "192.0.2.9 here", "inside", "inside", "lo"]);
    drop(namespace);
    Namespace::remove_at(&netns).unwrap();
}

#[test]
fn a_missing_program_is_an_error_that_names_it() {
    let asked = Spawn {
        argv: &[OsString::from("/nowhere/program")],
        env: &[],
        folder: Path::new("/"),
        place: Place::New { netns: None, hostname: None, seen: Seen::default() },
        output: None,
        interactive: false,
    };
    let error = spawn(&asked).unwrap_err();
    assert!(error.is_not_found());
    assert!(error.to_string().contains("/nowhere/program"), "{error}");
}

#[test]
fn exit_codes_are_a_shells() {
    assert_eq!(Exit::Code(3).code(), 3);
    assert_eq!(Exit::Signal(15).code(), 143);
}

fn wait_for_lines(file: &std::fs::File, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while read(file).lines().count() < count {
        assert!(Instant::now() < deadline, "not in time: {}", read(file));
        std::thread::yield_now();
    }
}

/// By a path of one's own: the writers share the descriptor's offset.
#[allow(clippy::unwrap_used, reason = "of a test")]
fn read(file: &std::fs::File) -> String {
    let mut text = String::new();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
    text
}
