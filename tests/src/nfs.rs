//! NFS servers on the lab's LAN: the kernel's own, and nfs-ganesha. Both export one directory, so
//! that one can take the other's place. In the machine of `tests/vm` only: this host's kernel may
//! lack them, and has no place for what they serve.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::volumes::VolumeNode;

/// A file system on which servers find their exports again, and again under the same handles.
const STORAGE: &str = "/srv";

/// What every server has to itself. Whoever registers with rpcbind is known to it by its local
/// socket, which is why /run must be the one that rpcbind has.
const PRIVATE: &str = "
    mount -t tmpfs none /var/lib; mount -t tmpfs none /run
    mkdir -p /var/lib/nfs/v4recovery /var/lib/nfs/sm /var/lib/nfs/sm.bak /run/rpcbind /run/ganesha /var/lib/nfs/ganesha
    : >/var/lib/nfs/etab; : >/var/lib/nfs/rmtab";

const KERNEL: &str = "
    mount -t nfsd nfsd /proc/fs/nfsd
    exportfs -i -o rw,insecure,no_root_squash,no_subtree_check,fsid=7 \"*:$EXPORT\"
    exportfs -i -o rw,insecure,no_root_squash,no_subtree_check,fsid=8 \"10.9.9.9:$EXPORT.closed\"
    echo 10 >/proc/fs/nfsd/nfsv4leasetime; echo 10 >/proc/fs/nfsd/nfsv4gracetime
    echo 1 >/proc/sys/fs/nfs/nlm_grace_period";

/// A server; gone when dropped.
#[derive(Debug)]
pub struct NfsServer {
    child: Child,
    export: PathBuf,
}

impl NfsServer {
    /// The kernel's, of version 4, which needs no rpcbind.
    pub fn kernel(node: &VolumeNode) -> Self {
        let lines = "rpc.mountd -N 3 -N 2; rpc.nfsd --no-udp -N 3 -V 4.2 4
            echo Y >/proc/fs/nfsd/v4_end_grace || true";
        Self::start(node, &format!("{KERNEL}\n{lines}\n: >$READY; exec sleep 600"))
    }

    /// The kernel's, of version 3 alone; its mountd listens at 20048.
    pub fn kernel_3(node: &VolumeNode) -> Self {
        let lines = "rpcbind; rpc.statd --no-notify; rpc.mountd -N 2 --port 20048
            rpc.nfsd --no-udp -V 3 -N 4 4; echo Y >/proc/fs/nfsd/v4_end_grace || true";
        Self::start(node, &format!("{KERNEL}\n{lines}\n: >$READY; exec sleep 600"))
    }

    /// nfs-ganesha at one of the LAN's IPv4 addresses; with version 3 beside 4 if asked.
    pub fn ganesha(node: &VolumeNode, address: &str, has_3: bool) -> Self {
        let (protocols, before) = if has_3 { ("3, 4", "rpcbind") } else { ("4", "true") };
        let lines = format!(
            "{before}; cat >/run/ganesha.conf <<CONF
NFS_CORE_PARAM {{ Protocols = {protocols}; Bind_addr = {address}; MNT_Port = 20048;
    Enable_NLM = false; Enable_RQUOTA = false; }}
NFSv4 {{ Lease_Lifetime = 10; Grace_Period = 10; Graceless = true; RecoveryBackend = fs; }}
EXPORT {{ Export_Id = 7; Path = $EXPORT; Pseudo = $EXPORT; Protocols = {protocols};
    Access_Type = RW; Squash = No_Root_Squash; SecType = sys; FSAL {{ Name = VFS; }} }}
LOG {{ Default_Log_Level = EVENT; }}
CONF
            : >$READY
            exec ganesha.nfsd -F -L STDOUT -f /run/ganesha.conf -p /run/ganesha/pid"
        );
        let server = Self::start(node, &lines);
        let listens = || node.lab().lan.run(|| TcpStream::connect((address, 2049)).is_ok());
        let deadline = Instant::now() + Duration::from_secs(40);
        while !listens() {
            assert!(Instant::now() < deadline, "ganesha does not listen: {}", said(node));
            std::thread::sleep(Duration::from_millis(100));
        }
        server
    }

    fn start(node: &VolumeNode, lines: &str) -> Self {
        let folder = node.enclosure().folder();
        let export = Path::new(STORAGE).join(node.lab().folder().file_name().unwrap());
        fs::create_dir_all(export.join("old")).unwrap();
        fs::create_dir_all(export.with_extension("closed")).unwrap();
        fs::write(export.join("f"), "served\n").unwrap();
        let ready = folder.join("nfs-ready");
        let _ = fs::remove_file(&ready);
        let log = File::create(folder.join("nfs.log")).unwrap();
        let child = Command::new("nsenter")
            .arg(format!("--net={}", node.lab().lan.path().display()))
            .args(["unshare", "-m", "--propagation", "private", "sh", "-ec"])
            .arg(format!("{PRIVATE}\n{lines}"))
            .env("READY", &ready)
            .env("EXPORT", &export)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self { child, export };
        let deadline = Instant::now() + Duration::from_secs(40);
        while !ready.exists() {
            assert!(Instant::now() < deadline, "the server is not ready: {}", said(node));
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// What it exports.
    pub fn export(&self) -> &Path {
        &self.export
    }

    /// Signals its processes: STOP, CONT.
    pub fn signal(&self, signal: Signal) {
        let own = fs::read_link(format!("/proc/{}/ns/mnt", self.child.id())).ok();
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
            let found = fs::read_link(process.path().join("ns/mnt")).ok();
            if let Some(pid) = pid.and_then(Pid::from_raw)
                && found.is_some()
                && found == own
            {
                let _ = kill_process(pid, signal);
            }
        }
    }
}

fn said(node: &VolumeNode) -> String {
    fs::read_to_string(node.enclosure().folder().join("nfs.log")).unwrap_or_default()
}

impl Drop for NfsServer {
    fn drop(&mut self) {
        // Threads of the kernel's server are no processes of ours.
        let id = self.child.id().to_string();
        let within = ["-t", &id, "-n", "-m", "sh", "-c"];
        let line = "[ ! -e /proc/fs/nfsd/threads ] || rpc.nfsd 0";
        let _ = Command::new("nsenter").args(within).arg(line).status();
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}
