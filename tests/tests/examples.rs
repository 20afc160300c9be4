//! The examples that need nothing but this machine do what they say, and leave nothing behind.

use std::path::PathBuf;
use std::process::Command;

use cleat_tests::{Programs, require};

/// Runs one with the programs under test; what it printed.
fn run(example: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples").join(example);
    let programs = Programs::under_test().path("cleat");
    let output = Command::new(&file)
        .env("CLEAT_BIN", programs.parent().unwrap())
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example}: {text}\n{error}");
    text
}

#[test]
fn quickstart_shows_a_network_and_leaves_nothing() {
    require(&[("python3", "python3-minimal"), ("ping", "iputils-ping")]);
    let text = run("quickstart");
    assert_eq!(text.matches("\nHello from a network with no runtime.").count(), 3, "{text}");
    assert!(text.trim_end().ends_with("Nothing is left. It worked."), "{text}");
}

#[test]
fn an_overlay_of_three_hosts_is_brought_up_and_drawn() {
    require(&[("etcd", "etcd-server"), ("jq", "jq"), ("ping", "iputils-ping")]);
    let text = run("overlay/lab");
    for host in 1..=3 {
        let next = host % 3 + 1;
        assert!(text.contains(&format!("web{host}: 64 bytes from 10.128.")), "{text}");
        assert!(text.contains(&format!("web{host} asks for web{next}: 10.128.")), "{text}");
        assert!(text.contains(&format!("+-- host{host}  192.0.2.{host}")), "{text}");
    }
    let left = Command::new("ip").args(["netns", "list"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&left.stdout).contains("cleat-lab"));
    assert!(!PathBuf::from("/run/cleat-lab").exists());
}
