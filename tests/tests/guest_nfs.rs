//! Volumes on NFS servers: the kernel's own and nfs-ganesha, on the lab's LAN. They die, pause and
//! move while mounts are held.
//@ vm-modules: nfs nfsv3 nfsv4 nfsd lockd
//@ vm-tools: /usr/bin/nsenter /usr/bin/unshare /usr/bin/setpriv /usr/bin/timeout /usr/bin/flock
//@ vm-tools: rpc.nfsd exportfs rpc.mountd rpc.statd rpcbind ganesha.nfsd
//@ vm-tools: /usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so /lib/x86_64-linux-gnu/libgcc_s.so.1
//@ vm-tools: /usr/lib/x86_64-linux-gnu/libnfsidmap/nsswitch.so
//@ vm-tools: /etc/netconfig /etc/protocols /etc/services /etc/rpc
//@ vm-prepare: mkdir -p /opt /srv /var/lib/nfs; ln -s /run /var/run; mount -t tmpfs none /srv
//@ vm-prepare: echo 'root:x:0:0::/root:/bin/sh' >/etc/passwd; echo 'nogroup:x:65534:' >/etc/group
//@ vm-prepare: echo '_rpc:x:100:65534::/run/rpcbind:/bin/false' >>/etc/passwd
//@ vm-prepare: printf '[General]\nDomain = example\n' >/etc/idmapd.conf
//@ vm-prepare: echo 'hosts: files' >/etc/nsswitch.conf; : >/etc/hosts

use std::time::Instant;

use cleat_tests::{NfsServer, VolumeNode, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

const ADDRESS: &str = "192.0.2.2";

fn nfs(server: &NfsServer, words: &str) -> Value {
    json!({"type": "nfs", "device": format!("{ADDRESS}:{}", server.export().display()), "o": words})
}

fn line_of(node: &VolumeNode, name: &str) -> String {
    node.enclosure().sh(&format!("grep '/{name}/_mnt ' /proc/self/mountinfo"))
}

/// Something is done within so many seconds, whatever became of a server.
#[track_caller]
fn quick<T>(what: &str, seconds: u64, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let done = work();
    assert!(started.elapsed().as_secs() < seconds, "{what}: {:?}", started.elapsed());
    done
}

/// What looks at volumes waits for no server.
#[track_caller]
fn nobody_waits(node: &VolumeNode, name: &str) {
    let get = format!(r#"{{"Name":"{name}"}}"#);
    quick("List", 8, || assert_eq!(node.post("VolumeDriver.List", "").unwrap().0, 200));
    quick("Get", 8, || assert_eq!(node.post("VolumeDriver.Get", &get).unwrap().0, 200));
    quick("Path", 8, || assert_eq!(node.post("VolumeDriver.Path", &get).unwrap().0, 200));
    quick("ls", 8, || assert!(node.cleat("volume ls").contains(name)));
    quick("inspect", 8, || node.cleat(&format!("volume inspect {name}")));
    let (status, answer) = node.post("VolumeDriver.Create", r#"{"Name":"beside"}"#).unwrap();
    assert_eq!(status, 200, "{answer}");
    quick("a local one", 8, || {
        node.mount("beside", "1");
        node.unmount("beside", "1");
    });
}

#[test]
fn version_4() {
    let node = VolumeNode::new("");
    let server = NfsServer::kernel(&node);
    node.create("v", nfs(&server, ""));
    let path = node.mount("v", "1").display().to_string();
    let inside = |line: &str| node.enclosure().try_sh(line);
    assert_eq!(inside(&format!("cat {path}/f; echo mine >{path}/own")).unwrap(), "served\n");
    assert!(line_of(&node, "v").contains("vers=4.2"), "{}", line_of(&node, "v"));
    // Docker's local takes an address for itself; names and IPv6 come by the same way.
    node.create(
        "six",
        json!({"type": "nfs4", "server": "2001:db8::2", "export": server.export(),
        "o": "ro,soft,timeo=50,vers=4.1,nosharecache"}),
    );
    let six = node.mount("six", "1").display().to_string();
    assert_eq!(inside(&format!("cat {six}/own")).unwrap(), "mine\n");
    assert!(inside(&format!("touch {six}/x")).unwrap_err().contains("Read-only"));
    assert!(line_of(&node, "six").contains("vers=4.1"), "{}", line_of(&node, "six"));
    node.create(
        "sub",
        json!({"type": "nfs", "server": ADDRESS, "export": server.export(),
        "subdirectory": "made/deep", "create": "true"}),
    );
    // At another port, as behind a router.
    node.lab().lan.nft(
        "table ip n { chain p { type nat hook prerouting priority -100;
            tcp dport 12049 redirect to :2049; }; }",
    );
    node.create("port", nfs(&server, "port=12049,nosharecache"));
    node.mount("port", "1");
    assert!(line_of(&node, "port").contains("port=12049"), "{}", line_of(&node, "port"));
    let sub = node.mount("sub", "1").display().to_string();
    inside(&format!("echo x >{sub}/g")).unwrap();
    assert_eq!(inside(&format!("cat {path}/made/deep/g")).unwrap(), "x\n");
    let usage = node.cleat("--format json volume usage v");
    assert!(usage.contains("\"limit\""), "{usage}");
    for name in ["v", "six", "port", "sub"] {
        node.unmount(name, "1");
    }
    assert!(node.mounts().is_empty(), "{:?}", node.mounts());
    for (below, words, part) in [
        ("-none", "", "no such export or directory"),
        ("/none", "", "no such export or directory"),
        ("", "vers=3", "111"),
    ] {
        refused(&node, &server, below, words, part);
    }
    let options = nfs(&server, "");
    drop(server);
    let error = node.error("Create", json!({"Name": "late", "Opts": options}));
    assert!(error.contains("nothing listens there"), "{error}");
}

/// A mount of something beside or below the export fails, and says this.
#[track_caller]
fn refused(node: &VolumeNode, server: &NfsServer, below: &str, words: &str, part: &str) {
    let device = format!("{ADDRESS}:{}{below}", server.export().display());
    let options = format!("nocheck,timeout=15,{words}");
    node.create("bad", json!({"type": "nfs", "device": device, "o": options}));
    let error = node.error("Mount", json!({"Name": "bad", "ID": "1"}));
    assert!(error.contains(part), "{device} {words}: {error}");
    node.done("Remove", json!({"Name": "bad"}));
}

/// From a server that has no other version, found by its rpcbind or by ports that are given.
#[test]
fn version_3() {
    let node = VolumeNode::new("");
    let server = NfsServer::kernel_3(&node);
    let export = server.export().display();
    for (name, options) in [
        ("negotiated", json!({"device": format!("{ADDRESS}:{export}"), "o": ""})),
        (
            "asked",
            json!({"device": format!(":{export}"), "o": format!("addr={ADDRESS},nfsvers=3")}),
        ),
        (
            "six",
            json!({"server": "2001:db8::2", "export": format!("{export}"), "o": "vers=3,proto=tcp6"}),
        ),
        (
            "sub",
            json!({"server": ADDRESS, "export": format!("{export}"), "vers": "3",
            "subdirectory": "made/3", "create": "true"}),
        ),
    ] {
        let mut options = options;
        options["type"] = "nfs".into();
        node.create(name, options);
        let path = node.mount(name, "1").display().to_string();
        let line = line_of(&node, name);
        assert!(line.contains("vers=3") && line.contains("nolock"), "{line}");
        node.enclosure().sh(&format!("echo {name} >{path}/by; rm {path}/by"));
        let status = &node.get(name).unwrap()["Status"];
        assert!(status["Warnings"][0].as_str().unwrap().contains("nolock"), "{status}");
        node.unmount(name, "1");
    }
    assert!(server.export().join("made/3").is_dir());
    refused(&node, &server, "-none", "vers=3", "the server has no such export");
    refused(&node, &server, ".closed", "vers=3", "does not export it to this host");
    refused(&node, &server, "", "vers=4.2", "does not speak version 4.2");
    refused(&node, &server, "", "vers=3,locks=required", "rpc.statd does not run");
    refused(&node, &server, "", "locks=required", "does not speak version");
    // A firewall that lets through nothing but two ports.
    node.lab().lan.nft(
        "table inet f { chain i { type filter hook input priority 0; policy accept;
        meta l4proto { tcp, udp } th dport != { 2049, 20048 } drop; }; }",
    );
    node.create("ports", nfs(&server, "vers=3,port=2049,mountport=20048,hard"));
    let path = node.mount("ports", "1").display().to_string();
    assert_eq!(node.enclosure().sh(&format!("cat {path}/f")), "served\n");
    node.unmount("ports", "1");
    refused(&node, &server, "", "vers=3,soft,timeo=10", "nothing answers there");
    assert!(node.mounts().is_empty(), "{:?}", node.mounts());
}

/// With rpc.statd on both sides a lock is the server's: two clients cannot have it.
#[test]
fn locks_of_version_3() {
    let node = VolumeNode::new(
        "ln -s /run /var/run 2>/dev/null || true
         mkdir -p /run/rpcbind /var/lib/nfs/sm /var/lib/nfs/sm.bak; rpcbind; rpc.statd --no-notify",
    );
    let server = NfsServer::kernel_3(&node);
    for name in ["a", "b"] {
        node.create(name, nfs(&server, "vers=3,locks=required,nosharecache"));
        node.mount(name, "1");
        assert!(!line_of(&node, name).contains("nolock"), "{}", line_of(&node, name));
        assert!(node.get(name).unwrap()["Status"]["Warnings"].is_null());
    }
    let file = |name: &str| node.volumes().join(name).join("_mnt/f").display().to_string();
    let line = format!("flock -n {} sh -c ': >$LAB/locked; exec sleep 600'", file("a"));
    let _holder = node.enclosure().daemon(&line, "test -e $LAB/locked");
    let taken = node.enclosure().try_sh(&format!("flock -n {} true", file("b")));
    assert!(taken.is_err(), "{}", node.enclosure().sh("cat /proc/locks /proc/self/mountinfo"));
}

#[test]
fn ganesha_in_all_versions() {
    let node = VolumeNode::new("");
    let server = NfsServer::ganesha(&node, ADDRESS, true);
    for version in ["", "3", "4.0", "4.1", "4.2"] {
        let (words, shown) = match version {
            "" => (String::new(), "4.2"),
            given => (format!("vers={given}"), given),
        };
        node.create("v", nfs(&server, &words));
        let path = node.mount("v", "1").display().to_string();
        let line = line_of(&node, "v");
        assert!(line.contains(&format!("vers={shown}")), "{version}: {line}");
        let text = node.enclosure().sh(&format!("cat {path}/f; echo {shown} >{path}/own"));
        assert_eq!(text, "served\n");
        assert_eq!(std::fs::read_to_string(server.export().join("own")).unwrap().trim(), shown);
        node.unmount("v", "1");
        node.done("Remove", json!({"Name": "v"}));
    }
    refused(&node, &server, "-none", "", "no such export or directory");
}

/// A server that dies hangs nobody but who reads from it.
#[test]
fn a_server_out_of_reach() {
    let node = VolumeNode::new("");
    let server = NfsServer::kernel(&node);
    let driver = node.driver("--measure 1");
    for name in ["a", "b"] {
        node.create(name, nfs(&server, "hard,timeout=4"));
    }
    node.mount("a", "1");
    node.lab().lan.ip("link set eth0 down");
    nobody_waits(&node, "a");
    quick("Mount of another", 20, || {
        let (status, answer) = node.post("VolumeDriver.Mount", r#"{"Name":"b","ID":"1"}"#).unwrap();
        assert_eq!(status, 500, "{answer}");
        let text = answer["Err"].as_str().unwrap();
        let reasons = ["not done within 4 s", "nothing answers there", "is the network up?"];
        assert!(reasons.iter().any(|reason| text.contains(reason)), "{text}");
    });
    quick("Unmount", 25, || {
        let (status, answer) =
            node.post("VolumeDriver.Unmount", r#"{"Name":"a","ID":"1"}"#).unwrap();
        assert_eq!(status, 200, "{answer}");
    });
    assert!(node.mounts().is_empty(), "{:?}", node.mounts());
    let said = driver.said();
    assert!(said.contains("does not answer") || said.contains("out of sight"), "{said}");
    // It comes back, and all is as before.
    node.lab().lan.ip("link set eth0 up");
    node.lab().lan.ip("addr replace 2001:db8::2/64 dev eth0 nodad");
    eventually("the server is back", || node.call("Mount", &json!({"Name": "b", "ID": "2"})).0);
    let path = node.volumes().join("b/_mnt/f");
    assert_eq!(node.enclosure().sh(&format!("cat {}", path.display())), "served\n");
    node.unmount("b", "2");
}

/// It takes connections and answers nothing; the driver starts anew meanwhile.
#[test]
fn a_server_that_pauses() {
    let node = VolumeNode::new("");
    let server = NfsServer::ganesha(&node, ADDRESS, false);
    let driver = node.driver("--measure 1");
    for name in ["held", "left"] {
        node.create(name, nfs(&server, "hard,timeout=4,nosharecache"));
        node.mount(name, "1");
    }
    server.signal(Signal::STOP);
    nobody_waits(&node, "held");
    drop(driver);
    let _driver = quick("start of the driver", 12, || node.driver("--measure 1"));
    nobody_waits(&node, "held");
    assert_eq!(node.get("held").unwrap()["Status"]["Mounts"], 1);
    quick("Unmount", 20, || {
        let (status, answer) =
            node.post("VolumeDriver.Unmount", r#"{"Name":"left","ID":"1"}"#).unwrap();
        assert_eq!(status, 200, "{answer}");
    });
    assert_eq!(node.mounts().len(), 1, "{:?}", node.mounts());
    // Whoever reads waits, and reads on.
    let reader = node.volumes().join("held/_mnt/f").display().to_string();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| node.enclosure().try_sh(&format!("cat {reader}")));
        std::thread::sleep(std::time::Duration::from_secs(1));
        server.signal(Signal::CONT);
        assert_eq!(reading.join().unwrap().unwrap(), "served\n");
    });
    node.unmount("held", "1");
    assert!(node.mounts().is_empty(), "{:?}", node.mounts());
}

/// It is killed, and another one takes over its address and its storage.
#[test]
fn a_server_that_is_replaced() {
    let node = VolumeNode::new("");
    let server = NfsServer::ganesha(&node, ADDRESS, false);
    let driver = node.driver("--measure 1");
    node.create("v", nfs(&server, "hard"));
    let path = node.mount("v", "1").display().to_string();
    node.enclosure().sh(&format!("echo before >{path}/before"));
    drop(server);
    nobody_waits(&node, "v");
    drop(driver);
    let _driver = quick("start of the driver", 12, || node.driver("--measure 1"));
    let (status, answer) = quick("Mount of what is mounted", 5, || {
        node.post("VolumeDriver.Mount", r#"{"Name":"v","ID":"2"}"#)
    })
    .unwrap();
    assert_eq!(status, 200, "{answer}");
    let server = NfsServer::ganesha(&node, ADDRESS, false);
    let text = node
        .enclosure()
        .sh(&format!("cat {path}/before; echo after >{path}/after; cat {path}/after"));
    assert_eq!(text, "before\nafter\n");
    drop(server);
    // Of another make: it knows none of the handles that the client has.
    let server = NfsServer::kernel(&node);
    nobody_waits(&node, "v");
    for id in ["1", "2"] {
        quick("Unmount", 20, || node.unmount("v", id));
    }
    assert!(node.mounts().is_empty(), "{:?}", node.mounts());
    let path = node.mount("v", "3").display().to_string();
    assert_eq!(node.enclosure().sh(&format!("cat {path}/after")), "after\n");
    node.unmount("v", "3");
    drop(server);
}

/// The name leads to another address; what is mounted stays with the old one until it is let go.
#[test]
fn a_server_that_moves() {
    const ELSEWHERE: &str = "192.0.2.3";
    let node =
        VolumeNode::new("cp /etc/nsswitch.conf $LAB/hosts; mount --bind $LAB/hosts /etc/hosts");
    let leads_to = |address: &str| {
        node.enclosure().sh(&format!("echo '{address} files.example' >/etc/hosts"));
    };
    node.lab().lan.ip(&format!("addr add {ELSEWHERE}/24 dev eth0"));
    let server = NfsServer::ganesha(&node, ADDRESS, false);
    leads_to(ADDRESS);
    let driver = node.driver("--measure 1");
    node.create(
        "v",
        json!({"type": "nfs", "server": "files.example", "export": server.export(),
            "o": "hard"}),
    );
    node.mount("v", "1");
    assert!(line_of(&node, "v").contains(&format!("addr={ADDRESS}")), "{}", line_of(&node, "v"));
    let other = NfsServer::ganesha(&node, ELSEWHERE, false);
    leads_to(ELSEWHERE);
    drop(server);
    nobody_waits(&node, "v");
    let (status, answer) =
        quick("Unmount", 20, || node.post("VolumeDriver.Unmount", r#"{"Name":"v","ID":"1"}"#))
            .unwrap();
    assert_eq!(status, 200, "{answer}");
    let said = driver.said();
    assert!(said.contains("does not answer") || said.contains("out of sight"), "{said}");
    let path = node.mount("v", "2").display().to_string();
    assert!(line_of(&node, "v").contains(&format!("addr={ELSEWHERE}")), "{}", line_of(&node, "v"));
    assert_eq!(node.enclosure().sh(&format!("cat {path}/f")), "served\n");
    node.unmount("v", "2");
    drop(other);
}
