//! Options of NFS volumes (nfs(5)), in our form (`server`, `export`) or in that of Docker's
//! `local` (`device=:/export`, `o=addr=…`).

use std::net::IpAddr;

use super::words::{Words, bad};
use crate::error::{Error, Result};
use crate::spec::{Locking, Nfs, NfsVersion};

/// What the kernel knows, and what values it may have.
enum Kind {
    Flag,
    Number(u64, u64),
    Choice(&'static [&'static str], &'static str),
}

const KERNEL: &[(&str, Kind)] = &[
    ("hard", Kind::Flag),
    ("soft", Kind::Flag),
    ("softerr", Kind::Flag),
    ("softreval", Kind::Flag),
    ("nosoftreval", Kind::Flag),
    ("timeo", Kind::Number(1, 6000)),
    ("retrans", Kind::Number(0, 100)),
    ("rsize", Kind::Number(1024, 4 << 20)),
    ("wsize", Kind::Number(1024, 4 << 20)),
    ("bsize", Kind::Number(1024, 4 << 20)),
    ("namlen", Kind::Number(1, 255)),
    ("acregmin", Kind::Number(0, 86_400)),
    ("acregmax", Kind::Number(0, 86_400)),
    ("acdirmin", Kind::Number(0, 86_400)),
    ("acdirmax", Kind::Number(0, 86_400)),
    ("actimeo", Kind::Number(0, 86_400)),
    ("ac", Kind::Flag),
    ("noac", Kind::Flag),
    ("acl", Kind::Flag),
    ("noacl", Kind::Flag),
    ("cto", Kind::Flag),
    ("nocto", Kind::Flag),
    ("sync", Kind::Flag),
    ("resvport", Kind::Flag),
    ("noresvport", Kind::Flag),
    ("sharecache", Kind::Flag),
    ("nosharecache", Kind::Flag),
    ("rdirplus", Kind::Flag),
    ("nordirplus", Kind::Flag),
    ("migration", Kind::Flag),
    ("nomigration", Kind::Flag),
    ("fsc", Kind::Flag),
    ("nofsc", Kind::Flag),
    ("nconnect", Kind::Number(1, 16)),
    ("max_connect", Kind::Number(1, 16)),
    ("mountport", Kind::Number(1, 65_535)),
    ("mountvers", Kind::Number(1, 3)),
    ("mountproto", Kind::Choice(PROTOCOLS, "tcp, udp, tcp6 or udp6")),
    ("proto", Kind::Choice(PROTOCOLS, "tcp, udp, tcp6, udp6 or rdma")),
    ("tcp", Kind::Flag),
    ("udp", Kind::Flag),
    ("rdma", Kind::Flag),
    ("lookupcache", Kind::Choice(&["all", "none", "pos", "positive"], "all, none or pos")),
    ("local_lock", Kind::Choice(&["all", "flock", "posix", "none"], "all, flock, posix or none")),
    ("sec", Kind::Choice(FLAVOURS, "sys, none, krb5, krb5i or krb5p")),
];
const PROTOCOLS: &[&str] = &["tcp", "udp", "tcp6", "udp6", "rdma"];
const FLAVOURS: &[&str] = &["sys", "none", "null", "krb5", "krb5i", "krb5p"];

/// For the nearest name.
pub(super) const NFS: &[&str] = &[
    "server",
    "export",
    "addr",
    "device",
    "subdirectory",
    "create",
    "vers",
    "nfsvers",
    "minorversion",
    "port",
    "timeout",
    "check",
    "locks",
    "lock",
    "nolock",
    "bg",
    "fg",
    "retry",
    "hard",
    "soft",
    "softerr",
    "softreval",
    "nosoftreval",
    "timeo",
    "retrans",
    "rsize",
    "wsize",
    "bsize",
    "namlen",
    "acregmin",
    "acregmax",
    "acdirmin",
    "acdirmax",
    "actimeo",
    "ac",
    "noac",
    "acl",
    "noacl",
    "cto",
    "nocto",
    "sync",
    "async",
    "intr",
    "nointr",
    "resvport",
    "noresvport",
    "sharecache",
    "nosharecache",
    "rdirplus",
    "nordirplus",
    "migration",
    "nomigration",
    "fsc",
    "nofsc",
    "nconnect",
    "max_connect",
    "mountport",
    "mountvers",
    "mountproto",
    "proto",
    "tcp",
    "udp",
    "rdma",
    "lookupcache",
    "local_lock",
    "sec",
    "clientaddr",
];

/// A mount may take this long unless told otherwise; less than any caller waits.
const TIMEOUT: u64 = 20;

pub(super) fn nfs(words: &mut Words, is_v4: bool) -> Result<Nfs> {
    let (server, export) = place(words)?;
    let version = version(words, is_v4)?;
    let subdirectory = words.take_any(&["subdirectory", "subdir"])?;
    let subdirectory = subdirectory.map(|text| inner(&text)).transpose()?;
    let create = words.flag("create")?.unwrap_or(false);
    if create && subdirectory.is_none() {
        let (driver, key) = ("nfs volumes with create, as", "subdirectory");
        return Err(Error::MissingOption { driver, key, example: "subdirectory=web/data" });
    }
    let number = |key: &'static str, text: String, low: u64, high: u64, expected| {
        let parsed = text.parse::<u64>().ok().filter(|n| (low..=high).contains(n));
        parsed.ok_or_else(|| bad(key, &text, expected))
    };
    let port = words.take("port")?;
    let port = port.map(|text| number("port", text, 0, 65_535, "a port")).transpose()?;
    let timeout = words.take("timeout")?;
    let timeout = timeout
        .map(|text| {
            let text = text.trim_end_matches('s').to_owned();
            number("timeout", text, 1, 100, "seconds, 1 to 100, for a mount to be done")
        })
        .transpose()?;
    let locks = locks(words)?;
    let check = words.either("check", "nocheck")?.unwrap_or(true);
    // mount.nfs's own. A mount here is done or refused within its time.
    for word in ["fg", "intr", "nointr", "async", "bg"] {
        words.flag(word)?;
    }
    words.raw("retry");
    // Found out by the kernel.
    words.raw("clientaddr");
    let options = kernel_options(words)?;
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
    let timeout = timeout.unwrap_or(TIMEOUT);
    Ok(Nfs { server, export, subdirectory, create, version, port, options, locks, timeout, check })
}

/// Server and export.
fn place(words: &mut Words) -> Result<(String, String)> {
    let mut server = words.take_any(&["server", "addr"])?;
    let mut export = words.take("export")?;
    if let Some(device) = words.take("device")? {
        // `host:/export`, `[::1]:/export` or `:/export`; the export's slash marks the colon.
        let Some((host, path)) = device.split_once(":/") else {
            return Err(bad("device", &device, "SERVER:/EXPORT, or :/EXPORT with addr="));
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // Docker's local takes addr= as where to connect to, and the device's host as a name.
        if server.is_none() && !host.is_empty() {
            server = Some(host.to_owned());
        }
        let path = format!("/{path}");
        if export.as_ref().is_some_and(|export| *export != path) {
            return Err(Error::Contradiction { one: "export".into(), other: "device".into() });
        }
        export = Some(path);
    }
    let missing = |key, example| Error::MissingOption { driver: "nfs", key, example };
    let server = server.ok_or_else(|| missing("server", "server=files.example"))?;
    let server = server.trim_start_matches('[').trim_end_matches(']').to_owned();
    let is_name = !server.is_empty()
        && server.len() <= 253
        && server.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        && !server.starts_with('-');
    // A link-local address has its interface behind a percent sign.
    let address = server.split('%').next().unwrap_or_default();
    if !is_name && address.parse::<IpAddr>().is_err() {
        return Err(bad("server", &server, "a host name or an address"));
    }
    let export = export.ok_or_else(|| missing("export", "export=/srv/data"))?;
    let valid = export.starts_with('/')
        && export.len() < 1024
        && !export.chars().any(|c| c.is_control() || c == ',')
        && !export.split('/').any(|part| part == "..");
    if valid { Ok((server, export)) } else { Err(bad("export", &export, "an absolute path")) }
}

/// A directory below the export.
fn inner(text: &str) -> Result<String> {
    let text = text.trim_matches('/');
    let valid = !text.is_empty()
        && text.len() < 1024
        && !text.chars().any(|c| c.is_control() || c == ',')
        && text.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if valid {
        Ok(text.to_owned())
    } else {
        Err(bad("subdirectory", text, "a relative path without `..`"))
    }
}

fn version(words: &mut Words, is_v4: bool) -> Result<Option<NfsVersion>> {
    const EXPECTED: &str = "3, 4, 4.0, 4.1 or 4.2";
    let mut text = words.take_any(&["vers", "nfsvers"])?;
    for (word, meaning) in
        [("v3", "3"), ("v4", "4"), ("v4.0", "4.0"), ("v4.1", "4.1"), ("v4.2", "4.2")]
    {
        if words.flag(word)? == Some(true) {
            text = Some(meaning.to_owned());
        }
    }
    if let Some(minor) = words.take("minorversion")? {
        match text.as_deref() {
            None | Some("4") => text = Some(format!("4.{minor}")),
            Some(_) => {
                return Err(Error::Contradiction {
                    one: "vers".into(),
                    other: "minorversion".into(),
                });
            }
        }
    }
    let version = match text.as_deref() {
        None if is_v4 => Some(NfsVersion::V4),
        None => None,
        Some("3") if is_v4 => {
            return Err(Error::Contradiction { one: "type=nfs4".into(), other: "vers=3".into() });
        }
        Some("3" | "3.0") => Some(NfsVersion::V3),
        Some("4") => Some(NfsVersion::V4),
        Some("4.0") => Some(NfsVersion::V40),
        Some("4.1") => Some(NfsVersion::V41),
        Some("4.2") => Some(NfsVersion::V42),
        Some(other) => return Err(bad("vers", other, EXPECTED)),
    };
    Ok(version)
}

fn locks(words: &mut Words) -> Result<Locking> {
    let locks = match words.take("locks")?.as_deref() {
        None => None,
        Some("auto") => Some(Locking::Auto),
        Some("required") => Some(Locking::Required),
        Some("local") => Some(Locking::Local),
        Some(other) => return Err(bad("locks", other, "auto, required or local")),
    };
    match (locks, words.either("lock", "nolock")?) {
        (Some(Locking::Required), Some(false)) => {
            Err(Error::Contradiction { one: "locks=required".into(), other: "nolock".into() })
        }
        (Some(locks), _) => Ok(locks),
        (None, Some(false)) => Ok(Locking::Local),
        (None, _) => Ok(Locking::Auto),
    }
}

fn kernel_options(words: &mut Words) -> Result<Vec<(String, Option<String>)>> {
    let mut options = Vec::new();
    for (key, kind) in KERNEL {
        match kind {
            Kind::Flag => {
                if words.flag(key)? == Some(true) {
                    options.push(((*key).to_owned(), None));
                }
            }
            Kind::Number(low, high) => {
                if let Some(text) = words.take(key)? {
                    let parsed = text.parse::<u64>().ok().filter(|n| (low..=high).contains(&n));
                    let Some(number) = parsed else {
                        return Err(bad(key, &text, "a number within the limits of nfs(5)"));
                    };
                    options.push(((*key).to_owned(), Some(number.to_string())));
                }
            }
            Kind::Choice(choices, expected) => {
                if let Some(text) = words.take(key)? {
                    if !choices.contains(&text.as_str()) {
                        return Err(bad(key, &text, expected));
                    }
                    options.push(((*key).to_owned(), Some(text)));
                }
            }
        }
    }
    let has = |key: &str| options.iter().any(|(name, _)| name == key);
    for (one, other) in [("hard", "soft"), ("hard", "softerr"), ("tcp", "udp"), ("ac", "noac")] {
        if has(one) && has(other) {
            return Err(Error::Contradiction { one: one.into(), other: other.into() });
        }
    }
    Ok(options)
}
