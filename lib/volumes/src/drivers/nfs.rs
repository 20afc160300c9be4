//! Volumes on an NFS server, by the kernel's client. Names are resolved and mounts made in a
//! child, since a server that does not answer keeps whoever asks it.

use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use cleat_kernel::mount::{Detached, unmount};
use cleat_kernel::{Errno, Error as KernelError};

use super::{LABEL, finish, has_selinux};
use crate::child::{self, Job};
use crate::error::{Error, Result, file};
use crate::folders::Home;
use crate::mounting::{Deadline, absent};
use crate::spec::{Access, Locking, Nfs, NfsVersion};
use crate::volumes::Volumes;

const PORT: u16 = 2049;
/// Where servers of version 3 say which port they are at.
const RPCBIND: u16 = 111;
/// A server on the same continent answers a connection within this.
const REACH: Duration = Duration::from_secs(3);

/// Security by Kerberos is done by a daemon, without which the kernel waits.
pub(super) fn check(nfs: &Nfs) -> Result<()> {
    let kerberos = nfs.options.iter().find(|(key, value)| {
        key == "sec" && value.as_ref().is_some_and(|flavour| flavour.starts_with("krb5"))
    });
    match kerberos {
        Some((_, Some(flavour))) if !runs("rpc.gssd") => Err(Error::RefusedOption {
            key: format!("sec={flavour}"),
            reason: "rpc.gssd does not run on this host; install nfs-common and start it".into(),
        }),
        _ => Ok(()),
    }
}

/// A program of this name runs here: in another network namespace it serves another client.
fn runs(program: &str) -> bool {
    let network = |process: &Path| std::fs::read_link(process.join("ns/net")).ok();
    let ours = network(Path::new("/proc/self"));
    std::fs::read_dir("/proc").into_iter().flatten().flatten().any(|process| {
        let process = process.path();
        let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
        name.trim_end() == program && network(&process) == ours
    })
}

pub(super) fn stage(
    volumes: &Volumes,
    nfs: &Nfs,
    access: &Access,
    home: &Home,
    deadline: Deadline,
) -> Result<Vec<String>> {
    let mut nfs = nfs.clone();
    if nfs.version == Some(NfsVersion::V3) || nfs.version.is_none() {
        let has_locks = runs("rpc.statd");
        match nfs.locks {
            Locking::Required if !has_locks && nfs.version.is_some() => {
                return Err(Error::RefusedOption {
                    key: "locks=required".into(),
                    reason: "rpc.statd does not run on this host; install nfs-common and start \
                             it, or use version 4"
                        .into(),
                });
            }
            Locking::Auto if !has_locks => nfs.locks = Locking::Local,
            _ => {}
        }
    }
    let limit = deadline.at_most(Duration::from_secs(nfs.timeout));
    let job =
        Job::Nfs { nfs, access: access.clone(), target: home.mount(), scratch: home.scratch() };
    let answer = child::run(&volumes.settings, &job, limit);
    // Of a child that was killed.
    absent(unmount(&home.scratch(), true))?;
    let _ = std::fs::remove_dir(home.scratch());
    answer.map(|answer| answer.warnings)
}

/// In the child: whether the server can be connected to.
pub(crate) fn reach(nfs: &Nfs) -> Result<Vec<SocketAddr>> {
    let port = match (nfs.port, nfs.version) {
        (Some(port), _) => port,
        (None, Some(NfsVersion::V3)) => RPCBIND,
        (None, _) => PORT,
    };
    let fail = |text: String, hint: String, errno| Error::Remote {
        source_name: nfs.source(),
        text,
        hint,
        errno,
    };
    let addresses = resolve(nfs, port)?;
    let is_udp = |(key, value): &(String, Option<String>)| {
        key == "udp" || value.as_deref().is_some_and(|v| v.starts_with("udp") || v == "rdma")
    };
    if nfs.options.iter().any(is_udp) {
        return Ok(addresses);
    }
    let mut last = None;
    let mut reached = Vec::new();
    for address in &addresses {
        match TcpStream::connect_timeout(address, REACH) {
            Ok(_) => reached.push(*address),
            Err(error) => last = Some((address, error)),
        }
    }
    if reached.is_empty()
        && let Some((address, error)) = last
    {
        let hint = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => {
                "nothing listens there: is the server running, and is this its port?"
            }
            std::io::ErrorKind::TimedOut => {
                "nothing answers there: is the address right, and does a firewall let it through?"
            }
            _ => "is the network up?",
        };
        return Err(fail(format!("{address}: {error}"), hint.into(), error.raw_os_error()));
    }
    Ok(reached)
}

fn resolve(nfs: &Nfs, port: u16) -> Result<Vec<SocketAddr>> {
    let wants_v6 = nfs.options.iter().any(|(key, value)| {
        key == "proto" && value.as_deref().is_some_and(|protocol| protocol.ends_with('6'))
    });
    let found = (nfs.server.as_str(), port).to_socket_addrs().map_err(|e| Error::Remote {
        source_name: nfs.source(),
        text: e.to_string(),
        hint: format!("the name {} could not be resolved", nfs.server),
        errno: e.raw_os_error(),
    })?;
    Ok(found.filter(|address| !wants_v6 || address.is_ipv6()).collect())
}

/// In the child: mounts it.
pub(crate) fn mount(
    nfs: &Nfs,
    access: &Access,
    target: &Path,
    scratch: &Path,
) -> Result<Vec<String>> {
    let addresses = reach(nfs)?;
    let mut warnings = Vec::new();
    if nfs.create {
        make_subdirectory(nfs, &addresses, scratch)?;
    }
    let (mounted, version) = negotiate(nfs, &nfs.source(), access, &addresses)?;
    if version == NfsVersion::V3 && nfs.locks == Locking::Local && !asked_for_local(nfs) {
        warnings.push(
            "version 3 without rpc.statd: locks are kept on this host only (nolock); \
             locks=required refuses this"
                .to_owned(),
        );
    }
    finish(mounted, access, target)?;
    Ok(warnings)
}

fn asked_for_local(nfs: &Nfs) -> bool {
    nfs.options.iter().any(|(key, _)| key == "local_lock")
}

/// A directory that is not there yet is made in its export, mounted aside for that.
fn make_subdirectory(nfs: &Nfs, addresses: &[SocketAddr], scratch: &Path) -> Result<()> {
    let Some(inner) = &nfs.subdirectory else { return Ok(()) };
    let whole = Nfs { subdirectory: None, ..nfs.clone() };
    let (mounted, _) = negotiate(&whole, &whole.source(), &Access::default(), addresses)?;
    crate::folders::make(scratch)?;
    mounted.attach(scratch)?;
    let path = scratch.join(inner);
    let made = std::fs::create_dir_all(&path).map_err(file("make directory", &path));
    unmount(scratch, true)?;
    made
}

/// The newest version that both sides speak, or the one that was asked for.
fn negotiate(
    nfs: &Nfs,
    source: &str,
    access: &Access,
    addresses: &[SocketAddr],
) -> Result<(Detached, NfsVersion)> {
    use NfsVersion::{V3, V4, V40, V41, V42};
    let versions: &[NfsVersion] = match nfs.version {
        None if nfs.locks == Locking::Required => &[V42, V41, V40],
        None => &[V42, V41, V40, V3],
        Some(V4) => &[V42, V41, V40],
        Some(V3) => &[V3],
        Some(V40) => &[V40],
        Some(V41) => &[V41],
        Some(V42) => &[V42],
    };
    let mut refused = None;
    for address in addresses {
        for version in versions {
            match attempt(nfs, source, access, (address.ip(), *version)) {
                Ok(mount) => return Ok((mount, *version)),
                Err(error) => {
                    let goes_on = is_about_version(&error, *version);
                    refused = Some((error, *version));
                    if !goes_on {
                        break;
                    }
                }
            }
        }
    }
    Err(match refused {
        Some((error, version)) => explain(nfs, source, &error, version),
        None => Error::Remote {
            source_name: source.to_owned(),
            text: "no address of the server fits".into(),
            hint: "proto=tcp6 needs an IPv6 address".into(),
            errno: None,
        },
    })
}

fn attempt(
    nfs: &Nfs,
    source: &str,
    access: &Access,
    (address, version): (IpAddr, NfsVersion),
) -> std::result::Result<Detached, KernelError> {
    let address = address.to_string();
    let port = nfs.port.map(|port| port.to_string());
    let mut parameters = vec![
        ("source", Some(source)),
        ("addr", Some(address.as_str())),
        ("vers", Some(version.text())),
    ];
    if let Some(port) = &port {
        parameters.push(("port", Some(port)));
    }
    parameters.extend(nfs.options.iter().map(|(key, value)| (key.as_str(), value.as_deref())));
    if version == NfsVersion::V3 && nfs.locks == Locking::Local {
        parameters.push(("nolock", None));
    }
    if access.read_only {
        parameters.push(("ro", None));
    }
    if has_selinux() {
        parameters.push(("context", Some(LABEL)));
    }
    Detached::new("nfs", &parameters, access.attributes())
}

/// Another version may fare better.
fn is_about_version(error: &KernelError, version: NfsVersion) -> bool {
    match error.errno() {
        Some(Errno::PROTONOSUPPORT | Errno::OPNOTSUPP | Errno::INVAL | Errno::NODEV) => true,
        // The exports of version 4 have paths of their own, below the server's root.
        Some(Errno::NOENT) => version == NfsVersion::V40,
        _ => false,
    }
}

/// The kernel says little; what it usually means.
fn explain(nfs: &Nfs, source: &str, error: &KernelError, version: NfsVersion) -> Error {
    let text = match error {
        KernelError::Kernel { text, .. } => text.clone(),
        other => other.to_string(),
    };
    let hint = match error.errno() {
        // Its mountd says the same of what is not there.
        Some(Errno::ACCESS | Errno::PERM) if version == NfsVersion::V3 => format!(
            "the server has no such export, or does not export it to this host; \
             `showmount -e {}` lists them",
            nfs.server
        ),
        Some(Errno::ACCESS | Errno::PERM) => {
            "the server does not export this to this host (exportfs -v on the server)".to_owned()
        }
        Some(Errno::NOENT) => format!(
            "the server has no such export or directory; `showmount -e {}` lists them, and \
             version 4 paths may start below a root of their own",
            nfs.server
        ),
        Some(Errno::PROTONOSUPPORT) => {
            format!("the server does not speak version {}", version.text())
        }
        Some(Errno::CONNREFUSED) => "nothing listens on the server's port".to_owned(),
        Some(Errno::TIMEDOUT) => "the server did not answer".to_owned(),
        Some(Errno::OPNOTSUPP) if version == NfsVersion::V3 => {
            "the server's rpcbind knows of no mountd there; mountport= names its port".to_owned()
        }
        Some(Errno::NODEV) => "this kernel has no NFS client (modprobe nfs)".to_owned(),
        _ => String::new(),
    };
    let errno = error.errno().map(Errno::raw_os_error);
    Error::Remote { source_name: source.to_owned(), text, hint, errno }
}
