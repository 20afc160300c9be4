//! Disks that are full or read-only, callers at once, drivers that were killed, boots.

use std::fs;
use std::thread;

use cleat_tests::{VolumeNode, eventually};
use serde_json::{Value, json};

fn tmpfs() -> Value {
    json!({"type": "tmpfs", "device": "tmpfs"})
}

#[test]
fn a_full_disk_fails_cleanly_and_frees() {
    let lines = "mount -t tmpfs -o size=1m none $CLEAT_STATE_DIR; mkdir $CLEAT_STATE_DIR/volumes";
    let node = VolumeNode::new(lines);
    node.create("old", json!({}));
    node.mount("old", "1");
    node.enclosure().try_sh("dd if=/dev/zero of=$CLEAT_STATE_DIR/fill bs=4k 2>&1").unwrap_err();
    let error = node.error("Create", json!({"Name": "new"}));
    assert!(error.contains("No space left"), "{error}");
    assert_eq!(node.enclosure().sh("ls -A $CLEAT_STATE_DIR/volumes"), "old\n");
    // What is in use goes on, and ends.
    node.mount("old", "2");
    for id in ["1", "2"] {
        node.unmount("old", id);
    }
    node.done("Remove", json!({"Name": "old"}));
    node.enclosure().sh("rm $CLEAT_STATE_DIR/fill");
    node.create("new", json!({}));
}

#[test]
fn a_full_run_directory_counts_nothing_that_it_cannot_keep() {
    let node = VolumeNode::new("mount -t tmpfs -o size=256k none $CLEAT_RUN_DIR");
    node.create("v", tmpfs());
    node.enclosure().try_sh("dd if=/dev/zero of=$CLEAT_RUN_DIR/fill bs=4k 2>&1").unwrap_err();
    let error = node.error("Mount", json!({"Name": "v", "ID": "1"}));
    assert!(error.contains("No space left"), "{error}");
    assert!(node.mounts().is_empty());
    node.enclosure().sh("rm $CLEAT_RUN_DIR/fill");
    node.mount("v", "1");
    assert_eq!(node.mounts().len(), 1);
    node.unmount("v", "1");
    assert!(node.mounts().is_empty());
}

#[test]
fn a_read_only_state_directory_still_serves() {
    let node = VolumeNode::new("");
    node.create("v", tmpfs());
    node.create("d", json!({}));
    // Mounts made before are under it.
    node.enclosure().sh("mount --bind $CLEAT_STATE_DIR $CLEAT_STATE_DIR");
    node.enclosure().sh("mount -o remount,bind,ro $CLEAT_STATE_DIR");
    let error = node.error("Create", json!({"Name": "new"}));
    assert!(error.contains("Read-only file system"), "{error}");
    let error = node.error("Remove", json!({"Name": "d"}));
    assert!(error.contains("Read-only file system"), "{error}");
    node.mount("v", "1");
    node.mount("d", "1");
    assert!(node.get("new").is_none());
    assert_eq!(node.mounts().len(), 1);
    for name in ["v", "d"] {
        node.unmount(name, "1");
    }
    assert!(node.mounts().is_empty());
}

#[test]
fn callers_at_once_share_one_mount() {
    let node = VolumeNode::new("");
    node.create("v", tmpfs());
    let _driver = node.driver("");
    let each = |work: &(dyn Fn(usize) + Sync)| {
        thread::scope(|scope| (0..12).for_each(|n| drop(scope.spawn(move || work(n)))));
    };
    let request = |n: usize| json!({"Name": "v", "ID": format!("id{n}")});
    // By the socket and by programs of their own.
    each(&|n| match n % 3 {
        0 => drop(node.done("Mount", request(n))),
        _ => {
            let answer = node.post("VolumeDriver.Mount", &request(n).to_string()).unwrap();
            assert_eq!(answer.0, 200, "{answer:?}");
        }
    });
    assert_eq!(node.mounts().len(), 1);
    assert_eq!(node.get("v").unwrap()["Status"]["Mounts"], 12);
    each(&|n| {
        assert_eq!(node.post("VolumeDriver.Unmount", &request(n).to_string()).unwrap().0, 200);
    });
    assert!(node.mounts().is_empty());
    assert_eq!(node.get("v").unwrap()["Status"]["Mounts"], 0);
    let create = json!({"Name": "w", "Opts": {}}).to_string();
    each(&|_| assert_eq!(node.post("VolumeDriver.Create", &create).unwrap().0, 200));
}

/// Whatever holds one volume up holds up no other, and not for longer than it may take.
#[test]
fn a_volume_that_hangs_keeps_no_other() {
    let node = VolumeNode::new("");
    for name in ["stuck", "free"] {
        node.create(name, tmpfs());
    }
    let _driver = node.driver("--deadline 1");
    let lock = node.lab().folder().join("run/volumes/locks/stuck");
    let holder = node.enclosure().daemon(
        &format!(
            "flock -n {} sh -c 'echo $$ >$LAB/pid; mv $LAB/pid $LAB/held; exec sleep 60'",
            lock.display()
        ),
        "test -e $LAB/held",
    );
    let request = |name: &str| json!({"Name": name, "ID": "1"}).to_string();
    let (status, answer) = node.post("VolumeDriver.Mount", &request("stuck")).unwrap();
    assert!(status == 500 && answer.to_string().contains("not done within"), "{answer}");
    assert_eq!(node.post("VolumeDriver.Mount", &request("free")).unwrap().0, 200);
    assert_eq!(node.post("VolumeDriver.List", "").unwrap().0, 200);
    assert_eq!(node.post("VolumeDriver.Get", r#"{"Name":"stuck"}"#).unwrap().0, 200);
    // The one that has the lock open, not flock alone.
    node.enclosure().sh("kill $(cat $LAB/held)");
    drop(holder);
    // The one that was given up has not counted afterwards.
    eventually("the lock is free", || {
        node.post("VolumeDriver.Unmount", &request("stuck")).unwrap().0 == 200
    });
    assert_eq!(node.get("stuck").unwrap()["Status"]["Mounts"], 0);
}

#[test]
fn uses_that_no_container_has_are_told_of() {
    let node = VolumeNode::new("");
    node.create("dir", json!({}));
    node.create("mem", tmpfs());
    let paths = ["dir", "mem"].map(|name| node.mount(name, "1").display().to_string());
    let container = |path: &str| {
        let line = format!(
            "unshare -m --propagation private sh -ec 'mkdir -p $LAB/c; mount --bind {path} $LAB/c; \
             : >$LAB/ready; exec sleep 600'"
        );
        node.enclosure().daemon(&line, "test -e $LAB/ready && rm $LAB/ready")
    };
    let counted_only = || {
        let health = node.cleat("volume health");
        let lines = health.lines().filter(|line| line.contains("no container has it"));
        lines.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(counted_only(), ["dir", "mem"]);
    let held = paths.each_ref().map(|path| container(path));
    assert_eq!(counted_only(), [""; 0]);
    let [dir, _mem] = held;
    drop(dir);
    assert_eq!(counted_only(), ["dir"]);
    let driver = node.driver("");
    assert_eq!(node.post("VolumeDriver.List", "").unwrap().0, 200);
    assert!(driver.said().contains("`cleat volume reset dir` frees it"), "{}", driver.said());
    assert!(!driver.said().contains("volume mem"), "{}", driver.said());
    // Told, not settled.
    assert_eq!(node.get("dir").unwrap()["Status"]["Mounts"], 1);
}

#[test]
fn a_killed_driver_finds_its_mounts_again() {
    let node = VolumeNode::new("");
    for name in ["used", "unused", "unknown"] {
        node.create(name, tmpfs());
        node.mount(name, "1");
    }
    let path = node.volumes().join("used/_mnt");
    node.enclosure().sh(&format!("echo kept >{}/f", path.display()));
    let uses = node.lab().folder().join("run/volumes/uses");
    // What a crash between count and unmount leaves; and a run directory that lost a file.
    let text = fs::read_to_string(uses.join("unused.json")).unwrap();
    fs::write(uses.join("unused.json"), text.replace("\"1\": 1", "")).unwrap();
    fs::remove_file(uses.join("unknown.json")).unwrap();
    let driver = node.driver("");
    assert_eq!(node.post("VolumeDriver.List", "").unwrap().0, 200);
    let seen: Vec<String> = node.mounts().into_iter().map(|(path, ..)| path).collect();
    assert_eq!(seen, ["used/_mnt", "unknown/_mnt"]);
    assert_eq!(node.enclosure().sh(&format!("cat {}/f", path.display())), "kept\n");
    assert!(driver.said().contains("`cleat volume reset unknown`"), "{}", driver.said());
    let health = node.cleat_error("volume health");
    assert!(health.contains("unknown") && health.contains("problem"), "{health}");
    node.cleat("volume reset unknown used");
    assert!(node.mounts().is_empty());
    node.cleat("volume health");
}

#[test]
fn counts_end_with_the_boot() {
    let node = VolumeNode::new("");
    node.create("v", tmpfs());
    node.mount("v", "1");
    let later = |method: &str, request: Value| {
        let wrapper = ["env", "CLEAT_BOOT_ID=another"];
        node.call_through(&wrapper, method, request.to_string().as_bytes())
    };
    node.enclosure().sh(&format!("umount {}/v/_mnt", node.volumes().display()));
    let (_, answer) = later("Get", json!({"Name": "v"}));
    assert_eq!(answer["Volume"]["Status"]["Mounts"], 0);
    let (done, answer) = later("Remove", json!({"Name": "v"}));
    assert!(done, "{answer}");
}

#[test]
fn mounts_that_the_host_would_not_see_are_refused() {
    let node = VolumeNode::new("");
    node.create("v", tmpfs());
    node.create("d", json!({}));
    let host = |method: &str, name: &str| {
        let request = json!({"Name": name, "ID": "1"}).to_string();
        node.call_through(&["env", "-u", "CLEAT_MOUNT_NAMESPACE"], method, request.as_bytes())
    };
    let (done, answer) = host("Mount", "v");
    assert!(!done && answer.to_string().contains("mount namespace of its own"), "{answer}");
    // A plain directory is seen from anywhere.
    assert!(host("Mount", "d").0);
    assert!(node.mounts().is_empty());
}

#[test]
fn names_never_leave_the_state_directory() {
    let node = VolumeNode::new("");
    let long = "x".repeat(221);
    for name in [
        "", ".", "..", "../x", "a/b", "/etc", ".hidden", "a\0b", "a\nb", "ä", "ａ", "а", "a b",
        &long,
    ] {
        for (method, more) in [
            ("Create", json!({})),
            ("Get", json!({})),
            ("Mount", json!({"ID": "1"})),
            ("Remove", json!({})),
        ] {
            let mut request = more.clone();
            request["Name"] = json!(name);
            let error = node.error(method, request);
            assert!(error.contains("volume name"), "{method} {name:?}: {error}");
        }
    }
    assert!(!node.volumes().exists() || fs::read_dir(node.volumes()).unwrap().next().is_none());
    let longest = "x".repeat(220);
    node.create(&longest, json!({}));
    node.done("Remove", json!({"Name": longest}));
}

#[test]
fn what_others_mount_in_a_volume_is_not_removed() {
    let node = VolumeNode::new("mkdir $LAB/precious; echo x >$LAB/precious/f");
    node.create("v", json!({}));
    let data = node.volumes().join("v/_data");
    fs::create_dir(data.join("in")).unwrap();
    node.enclosure().sh(&format!("mount --bind $LAB/precious {}/in", data.display()));
    let error = node.error("Remove", json!({"Name": "v"}));
    assert!(error.contains("is mounted below it"), "{error}");
    assert!(node.enclosure().folder().join("precious/f").exists());
    node.enclosure().sh(&format!("umount {}/in", data.display()));
    node.done("Remove", json!({"Name": "v"}));
}
