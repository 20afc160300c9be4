//! `dhcp daemon`: the reference's command line for the daemon, which netd is. This program becomes
//! netd, with the same process id, standard streams and handed over sockets.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// The command line is the daemon's, not a runtime's.
pub fn asks_for_daemon(mut args: impl Iterator<Item = OsString>) -> bool {
    args.nth(1).is_some_and(|verb| verb == "daemon")
}

/// Becomes `netd dhcp` with the flags after `daemon`; the exit status where that fails.
#[allow(clippy::print_stderr, reason = "a command line, not a runtime, is answered")]
#[allow(clippy::disallowed_methods, reason = "it becomes the daemon: nothing is forked")]
pub fn become_daemon(args: impl Iterator<Item = OsString>) -> u8 {
    let netd = netd();
    let error = Command::new(&netd).arg("dhcp").args(args.skip(2).map(spelled_out)).exec();
    eprintln!("dhcp: execute {}: {error}; netd belongs beside dhcp, or in PATH", netd.display());
    1
}

/// The one beside this program, else that in PATH.
fn netd() -> PathBuf {
    let own = std::env::current_exe().ok();
    let beside = own.and_then(|own| own.parent().map(|folder| folder.join("netd")));
    beside.filter(|netd| netd.exists()).unwrap_or_else(|| "netd".into())
}

/// Go's flags have one dash or two, with the same meaning.
fn spelled_out(flag: OsString) -> OsString {
    let bytes = flag.as_bytes();
    if !bytes.starts_with(b"-") || bytes.starts_with(b"--") || bytes.len() < 3 {
        return flag;
    }
    OsString::from_vec([OsStr::new("-").as_bytes(), bytes].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_spelled_out() {
        for (given, wanted) in [
            ("-timeout=5s", "--timeout=5s"),
            ("--broadcast", "--broadcast"),
            ("10s", "10s"),
            ("-h", "-h"),
            ("-", "-"),
        ] {
            assert_eq!(spelled_out(given.into()), wanted);
        }
        let daemon = |args: &[&str]| asks_for_daemon(args.iter().map(OsString::from));
        assert!(daemon(&["dhcp", "daemon"]));
        assert!(!daemon(&["dhcp"]));
        assert!(!daemon(&["daemon"]));
    }
}
