//! The host's own servers, from its resolv.conf. Looked at anew when the file behind the name is
//! another one or has changed, however it was replaced: by a rename, through a link, in place.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Looking costs a system call, so not for every question.
const FRESH: Duration = Duration::from_millis(250);

/// What tells one state of a file from another: device, inode, size, change time.
type Stamp = (u64, u64, u64, i64, i64);

#[derive(Debug)]
struct Read {
    looked: Option<Instant>,
    stamp: Option<Stamp>,
    servers: Arc<[IpAddr]>,
}

/// The host's servers.
#[derive(Debug)]
pub struct ResolvConf {
    path: PathBuf,
    read: Mutex<Read>,
}

impl ResolvConf {
    /// Of the file with this path; it need not exist yet.
    pub fn new(path: PathBuf) -> Self {
        let read = Read { looked: None, stamp: None, servers: Arc::default() };
        Self { path, read: Mutex::new(read) }
    }

    /// The servers that it names now.
    pub fn servers(&self) -> Arc<[IpAddr]> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.looked.is_some_and(|when| when.elapsed() < FRESH) {
            return read.servers.clone();
        }
        read.looked = Some(Instant::now());
        let stamp = std::fs::metadata(&self.path)
            .map(|m| (m.dev(), m.ino(), m.size(), m.ctime(), m.ctime_nsec()))
            .ok();
        if stamp != read.stamp || stamp.is_none() {
            read.stamp = stamp;
            let text = std::fs::read_to_string(&self.path).unwrap_or_default();
            read.servers = parse(&text).into();
        }
        read.servers.clone()
    }
}

/// The servers of a resolv.conf(5), without a zone.
fn parse(text: &str) -> Vec<IpAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        let bare = words.next().and_then(|word| word.split('%').next());
        if let Some(server) = bare.and_then(|word| word.parse().ok())
            && !servers.contains(&server)
        {
            servers.push(server);
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_by_rename_or_through_a_link_it_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let put = |name: &str, text: &str| {
            let file = dir.path().join(name);
            std::io::Write::write_all(&mut std::fs::File::create(&file).unwrap(), text.as_bytes())
                .unwrap();
            file
        };
        let conf = ResolvConf::new(path.clone());
        let now = || {
            conf.read.lock().unwrap().looked = None;
            conf.servers().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(now().is_empty());
        for server in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
            let new = put("new", &format!("# x\nsearch a\nnameserver {server}\n"));
            std::fs::rename(new, &path).unwrap();
            assert_eq!(now(), [server]);
        }
        let real = put("real", "nameserver 2001:db8::1\n");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&real, &path).unwrap();
        assert_eq!(now(), ["2001:db8::1"]);
        put("real", "nameserver 2001:db8::22\nnameserver fe80::1%eth0\nnameserver x\n");
        assert_eq!(now(), ["2001:db8::22", "fe80::1"]);
    }
}
