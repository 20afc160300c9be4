//! Volumes on what this host's kernel lacks: NFS, by the kernel's own server in a namespace of the
//! lab's LAN, and project quotas.
//@ vm-modules: nfs nfsv3 nfsv4 nfsd lockd loop ext4 xfs quota_v2 crc32c_generic
//@ vm-tools: /usr/bin/nsenter /usr/bin/unshare /usr/bin/setpriv /usr/bin/timeout /usr/bin/flock
//@ vm-tools: rpc.nfsd exportfs rpc.mountd /etc/netconfig /etc/protocols /etc/services
//@ vm-tools: mkfs.ext4 mkfs.xfs /etc/mke2fs.conf /usr/bin/mount /usr/bin/umount
//@ vm-prepare: mkdir -p /opt /var/lib/nfs
//@ vm-prepare: echo 'root:x:0:0::/root:/bin/sh' >/etc/passwd; echo 'nogroup:x:65534:' >/etc/group

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cleat_tests::{VolumeNode, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// The server's own mounts and files. Of version 4, which needs no rpcbind.
const SERVER: &str = "
    mount -t tmpfs none /var/lib; mkdir -p /run/srv /var/lib/nfs/v4recovery; mount -t tmpfs none /run/srv
    : >/var/lib/nfs/etab; : >/var/lib/nfs/rmtab
    mount -t nfsd nfsd /proc/fs/nfsd; mkdir -p /run/srv/export/old
    echo served >/run/srv/export/f; chmod 777 /run/srv/export
    exportfs -i -o rw,insecure,no_root_squash,no_subtree_check,fsid=7 '*:/run/srv/export'
    exportfs -i -o rw,insecure,no_root_squash,no_subtree_check,fsid=8 '10.9.9.9:/run/srv'
    echo 10 >/proc/fs/nfsd/nfsv4leasetime; echo 10 >/proc/fs/nfsd/nfsv4gracetime
    rpc.mountd -N 3 -N 2
    rpc.nfsd --no-udp -N 3 -V 4.2 4
    echo Y >/proc/fs/nfsd/v4_end_grace || true
    : >$READY
    exec sleep 600";

/// A server on the LAN; gone when dropped.
struct Server {
    child: Child,
}

impl Server {
    fn start(node: &VolumeNode) -> Self {
        let ready = node.enclosure().folder().join("nfs-ready");
        let _ = std::fs::remove_file(&ready);
        let log = std::fs::File::create(node.enclosure().folder().join("nfs.log")).unwrap();
        let child = Command::new("nsenter")
            .arg(format!("--net={}", node.lab().lan.path().display()))
            .args(["unshare", "-m", "--propagation", "private", "sh", "-ec", SERVER])
            .env("READY", &ready)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self { child };
        let deadline = Instant::now() + Duration::from_secs(40);
        while !ready.exists() {
            let said = std::fs::read_to_string(node.enclosure().folder().join("nfs.log"));
            assert!(Instant::now() < deadline, "the server is not ready: {said:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its threads are the kernel's; mountd shares its mount namespace.
        let id = self.child.id().to_string();
        let _ = Command::new("nsenter").args(["-t", &id, "-n", "-m", "rpc.nfsd", "0"]).status();
        let own = std::fs::read_link(format!("/proc/{id}/ns/mnt")).ok();
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
            let found = std::fs::read_link(process.path().join("ns/mnt")).ok();
            if let Some(pid) = pid.and_then(Pid::from_raw)
                && found.is_some()
                && found == own
            {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

const ADDRESS: &str = "192.0.2.2";

fn nfs(words: &str) -> Value {
    json!({"type": "nfs", "device": format!("{ADDRESS}:/run/srv/export"), "o": words})
}

fn line_of(node: &VolumeNode, name: &str) -> String {
    node.enclosure().sh(&format!("grep '/{name}/_mnt ' /proc/self/mountinfo"))
}

#[test]
fn version_4() {
    let node = VolumeNode::new("");
    let server = Server::start(&node);
    node.create("v", nfs(""));
    let path = node.mount("v", "1").display().to_string();
    let inside = |line: &str| node.enclosure().try_sh(line);
    assert_eq!(inside(&format!("cat {path}/f; echo mine >{path}/own")).unwrap(), "served\n");
    assert!(line_of(&node, "v").contains("vers=4.2"), "{}", line_of(&node, "v"));
    // Docker's local takes an address for itself; names and IPv6 come by the same way.
    node.create(
        "six",
        json!({"type": "nfs4", "server": "2001:db8::2", "export": "/run/srv/export",
        "o": "ro,soft,timeo=50,vers=4.1,nosharecache"}),
    );
    let six = node.mount("six", "1").display().to_string();
    assert_eq!(inside(&format!("cat {six}/own")).unwrap(), "mine\n");
    assert!(inside(&format!("touch {six}/x")).unwrap_err().contains("Read-only"));
    assert!(line_of(&node, "six").contains("vers=4.1"), "{}", line_of(&node, "six"));
    node.create(
        "sub",
        json!({"type": "nfs", "server": ADDRESS, "export": "/run/srv/export",
        "subdirectory": "made/deep", "create": "true"}),
    );
    let sub = node.mount("sub", "1").display().to_string();
    inside(&format!("echo x >{sub}/g")).unwrap();
    assert_eq!(inside(&format!("cat {path}/made/deep/g")).unwrap(), "x\n");
    let usage = node.cleat("--format json volume usage v");
    assert!(usage.contains("\"limit\""), "{usage}");
    for name in ["v", "six", "sub"] {
        node.unmount(name, "1");
    }
    assert!(node.mounts().is_empty(), "{:?}", node.mounts());
    for (device, words, part) in [
        ("/run/none", "", "no such export or directory"),
        ("/run/srv/export", "vers=3", "111"),
        ("/run/srv/export/none", "", "no such export or directory"),
    ] {
        let device = format!("{ADDRESS}:{device}");
        node.create(
            "bad",
            json!({"type": "nfs", "device": device, "o": format!("nocheck,timeout=15,{words}")}),
        );
        let error = node.error("Mount", json!({"Name": "bad", "ID": "1"}));
        assert!(error.contains(part), "{device} {words}: {error}");
        node.done("Remove", json!({"Name": "bad"}));
    }
    drop(server);
    let error = node.error("Create", json!({"Name": "late", "Opts": nfs("")}));
    assert!(error.contains("nothing listens there"), "{error}");
}

/// A server that dies hangs nobody but who reads from it.
#[test]
fn a_dead_server() {
    let node = VolumeNode::new("");
    let server = Server::start(&node);
    let _driver = node.driver("--measure 1");
    for name in ["a", "b"] {
        node.create(name, nfs("hard,timeout=4"));
    }
    node.create("local", json!({}));
    node.mount("a", "1");
    node.lab().lan.ip("link set eth0 down");
    let quick = |what: &str, seconds: u64, work: &dyn Fn()| {
        let started = Instant::now();
        work();
        assert!(started.elapsed().as_secs() < seconds, "{what}: {:?}", started.elapsed());
    };
    quick("List", 3, &|| assert_eq!(node.post("VolumeDriver.List", "").unwrap().0, 200));
    quick("Get", 3, &|| {
        assert_eq!(node.post("VolumeDriver.Get", r#"{"Name":"a"}"#).unwrap().0, 200)
    });
    quick("Mount of another", 20, &|| {
        let (status, answer) = node.post("VolumeDriver.Mount", r#"{"Name":"b","ID":"1"}"#).unwrap();
        assert_eq!(status, 500, "{answer}");
    });
    quick("a local one meanwhile", 5, &|| drop(node.mount("local", "1")));
    quick("Unmount", 25, &|| {
        let (status, answer) =
            node.post("VolumeDriver.Unmount", r#"{"Name":"a","ID":"1"}"#).unwrap();
        assert_eq!(status, 200, "{answer}");
    });
    assert!(node.mounts().is_empty(), "{:?}", node.mounts());
    // It comes back, and all is as before.
    node.lab().lan.ip("link set eth0 up");
    node.lab().lan.ip("addr replace 2001:db8::2/64 dev eth0 nodad");
    eventually("the server is back", || node.call("Mount", &json!({"Name": "b", "ID": "2"})).0);
    let path = node.volumes().join("b/_mnt/f");
    assert_eq!(node.enclosure().sh(&format!("cat {}", path.display())), "served\n");
    node.unmount("b", "2");
    drop(server);
}

fn limited(make: &str, options: &str) {
    let lines = format!(
        "truncate -s 320M $LAB/disk; {make} $LAB/disk >/dev/null
         mount -o loop,{options} $LAB/disk $CLEAT_STATE_DIR; mkdir $CLEAT_STATE_DIR/volumes"
    );
    let node = VolumeNode::new(&lines);
    node.create("q", json!({"size": "8m", "inodes": "20"}));
    node.create("free", json!({}));
    let path = node.mount("q", "1").display().to_string();
    // Whoever may override resource limits is held to no quota on ext4; containers may not.
    let inside = |line: &str| {
        node.enclosure()
            .try_sh(&format!("exec setpriv --bounding-set -sys_resource sh -ec '{line}'"))
    };
    let error = inside(&format!("dd if=/dev/zero of={path}/big bs=1M count=20")).unwrap_err();
    assert!(error.contains("No space left") || error.contains("quota exceeded"), "{error}");
    let usage: Value = serde_json::from_str(&node.cleat("--format json volume usage q")).unwrap();
    let usage = &usage[0]["usage"];
    assert_eq!(usage["limit"], 8 << 20);
    let used = usage["bytes"].as_u64().unwrap();
    assert!((7 << 20..=8 << 20).contains(&used), "{usage}");
    inside(&format!("rm {path}/big")).unwrap();
    let many = format!("i=0; while [ $i -lt 40 ]; do : >{path}/$i || exit 1; i=$((i+1)); done");
    inside(&many).unwrap_err();
    // The others have no limit, and two have two.
    node.create("r", json!({"size": "16m"}));
    let free = node.volumes().join("free/_data").display().to_string();
    inside(&format!("dd if=/dev/zero of={free}/big bs=1M count=20")).unwrap();
    let other = node.mount("r", "1").display().to_string();
    inside(&format!("dd if=/dev/zero of={other}/big bs=1M count=12")).unwrap();
    node.unmount("q", "1");
    node.done("Remove", json!({"Name": "q"}));
    // Its number is free again, its limits are not.
    node.create("q", json!({"size": "32m"}));
    let path = node.mount("q", "1").display().to_string();
    inside(&format!("dd if=/dev/zero of={path}/big bs=1M count=20")).unwrap();
}

#[test]
fn quotas_on_ext4() {
    limited("mkfs.ext4 -q -O project,quota -E quotatype=prjquota", "prjquota");
}

#[test]
fn quotas_on_xfs() {
    limited("mkfs.xfs -q", "prjquota");
}

#[test]
fn quotas_that_only_count_are_refused() {
    let node = VolumeNode::new(
        "truncate -s 64M $LAB/disk; mkfs.ext4 -q -O project,quota -E quotatype=prjquota $LAB/disk
         mount -o loop $LAB/disk $CLEAT_STATE_DIR; mkdir $CLEAT_STATE_DIR/volumes",
    );
    let error = node.error("Create", json!({"Name": "q", "Opts": {"size": "8m"}}));
    assert!(error.contains("mounted without prjquota"), "{error}");
}
