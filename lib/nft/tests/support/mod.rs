//! A network namespace of the test's own thread, and `nft` run in it.
#![allow(dead_code, deprecated)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::process::{Command, Stdio};

use rustix::thread::UnshareFlags;

/// Moves the calling thread into a new network namespace; it goes with the thread.
pub(crate) fn enter_fresh_netns() {
    assert!(
        rustix::process::geteuid().is_root(),
        "these tests make network namespaces: run them as root",
    );
    rustix::thread::unshare(UnshareFlags::NEWNET).expect("unshare(CLONE_NEWNET)");
}

/// The standard output of a program, which must succeed.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}: install the packages nftables and iptables"));
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Feeds a ruleset to `nft -f -`.
pub(crate) fn load(ruleset: &str) {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("nft: install the package nftables");
    child.stdin.take().unwrap().write_all(ruleset.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "nft -f refused:\n{ruleset}");
}

/// The rules of a chain as `nft` prints them.
pub(crate) fn rules(table: &str, chain: &str) -> Vec<String> {
    let args: Vec<&str> = ["list", "chain"].into_iter().chain(table.split(' ')).collect();
    let listed = run("nft", &[args.as_slice(), &[chain]].concat());
    let body = listed.lines().skip(2).map(str::trim);
    body.filter(|l| !l.starts_with("type ") && *l != "}").map(str::to_owned).collect()
}
