//! netd under a service manager that keeps its sockets: what is asked while no netd runs waits, and
//! the next netd answers it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use cleat_tests::{Container, Lab, question, ranges};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

const GATEWAY: &str = "10.61.0.1";
const KEPT: &str = "names_10.61.0.1_53";
const PATIENCE: Duration = Duration::from_secs(10);

/// What systemd is to a service of `Type=notify` with `FileDescriptorStoreMax=`.
struct Manager<'l> {
    lab: &'l Lab,
    notify: UnixDatagram,
    kept: BTreeMap<String, Vec<OwnedFd>>,
}

impl<'l> Manager<'l> {
    fn new(lab: &'l Lab) -> Self {
        let notify = UnixDatagram::bind(lab.folder().join("notify")).unwrap();
        notify.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Self { lab, notify, kept: BTreeMap::new() }
    }

    /// Starts netd with what is kept, of one name at most: as standard input and output, since
    /// Debian's sh takes no descriptor of two digits.
    fn start(&mut self) -> Netd {
        let log = self.lab.folder().join("netd.log");
        let log = File::options().append(true).create(true).open(log).unwrap();
        let (given, before) = match self.kept.get(KEPT) {
            Some(_) => ("LISTEN_PID=$$ LISTEN_FDS=2", "exec 3<&0 4<&1 0</dev/null 1>&2;"),
            None => ("", ""),
        };
        let line = format!(
            "{before} NOTIFY_SOCKET={} {given} exec {} run --config {}",
            self.lab.folder().join("notify").display(),
            self.lab.programs().path("netd").display(),
            self.lab.folder().join("none.json").display(),
        );
        let mut command = self.lab.host.command("setpriv");
        command.args(["--pdeathsig", "KILL", "sh", "-c", &line]).envs(self.lab.environment());
        command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent").stderr(log);
        if let Some([udp, tcp]) = self.kept.get(KEPT).map(Vec::as_slice) {
            command.stdin(Stdio::from(udp.try_clone().unwrap()));
            command.stdout(Stdio::from(tcp.try_clone().unwrap()));
        }
        let netd = Netd(command.spawn().unwrap());
        self.hear_until(|_, told| told.contains("READY=1"));
        netd
    }

    /// Takes notices until one of them makes it so.
    #[track_caller]
    fn hear_until(&mut self, is_so: impl Fn(&Self, &str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.hear();
            if is_so(self, &told) {
                return;
            }
            let said = || fs::read_to_string(self.lab.folder().join("netd.log")).unwrap();
            assert!(Instant::now() < deadline, "not in time, after {told:?}:\n{}", said());
        }
    }

    fn hear(&mut self) -> String {
        let (mut bytes, mut room) =
            ([0; 512], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))]);
        let mut beside = RecvAncillaryBuffer::new(&mut room);
        let buffer = &mut [IoSliceMut::new(&mut bytes)];
        let Ok(came) = recvmsg(&self.notify, buffer, &mut beside, RecvFlags::CMSG_CLOEXEC) else {
            return String::new();
        };
        let told = String::from_utf8_lossy(&bytes[..came.bytes]).into_owned();
        let name = told.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or_default();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(sockets) = message {
                assert!(told.contains("FDSTORE=1"), "{told}");
                self.kept.insert(name.to_owned(), sockets.collect());
            }
        }
        if told.contains("FDSTOREREMOVE=1") {
            self.kept.remove(name);
        }
        told
    }
}

struct Netd(Child);

impl Drop for Netd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn network(name: &str, subnet: &str) -> Value {
    json!({
        "cniVersion": "1.1.0", "name": name, "plugins": [{
            "type": "bridge", "bridge": format!("cl{name}"), "isDefaultGateway": true,
            "ipMasq": true, "embeddedDNS": true, "ipam": ranges(&[subnet]),
        }],
    })
}

/// A container that is called `one`, and its address.
fn attach(lab: &Lab) -> (Container, Ipv4Addr) {
    let chain = lab.chain(network("web", "10.61.0.0/24"));
    let container = lab.container();
    container.ns.ip("link set lo up");
    let attached = chain.args("IgnoreUnknown=1;K8S_POD_NAME=one").attach(&container);
    (container, attached.v4().parse().unwrap())
}

#[test]
fn what_is_asked_while_no_netd_runs_is_answered_by_the_next() {
    let lab = Lab::still();
    let mut manager = Manager::new(&lab);
    let netd = manager.start();
    let (one, address) = attach(&lab);
    manager.hear_until(|manager, _| manager.kept.get(KEPT).is_some_and(|kept| kept.len() == 2));
    assert_eq!(one.ns.look_up(GATEWAY, "one", "A").data, [address.to_string()]);

    drop(netd);
    let letter = question(7, "one");
    let (datagrams, mut stream) = one.ns.run(|| {
        let datagrams = UdpSocket::bind("0.0.0.0:0").unwrap();
        datagrams.connect((GATEWAY, 53)).unwrap();
        let mut stream = TcpStream::connect((GATEWAY, 53)).unwrap();
        stream.write_all(&(letter.len() as u16).to_be_bytes()).unwrap();
        stream.write_all(&letter).unwrap();
        (datagrams, stream)
    });
    // The second one would tell of a closed port.
    for _ in 0..2 {
        datagrams.send(&letter).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    let _netd = manager.start();
    let mut answer = [0; 512];
    datagrams.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = datagrams.recv(&mut answer).unwrap();
    assert!(answer[..length].ends_with(&address.octets()), "{:?}", &answer[..length]);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut framed = vec![0; length + 2];
    stream.read_exact(&mut framed).unwrap();
    assert!(framed.ends_with(&address.octets()), "{framed:?}");
    assert_eq!(manager.kept[KEPT].len(), 2);
}

#[test]
fn what_is_not_listened_at_any_more_is_not_kept() {
    const OTHER: &str = "names_fd62--1_53";
    let lab = Lab::still();
    let conflist = lab.folder().join("net.d/other.conflist");
    let mut manager = Manager::new(&lab);
    let _netd = manager.start();
    fs::write(&conflist, network("other", "fd62::/64").to_string()).unwrap();
    manager.hear_until(|manager, _| manager.kept.contains_key(OTHER));
    fs::remove_file(conflist).unwrap();
    manager.hear_until(|manager, _| manager.kept.is_empty());
}
