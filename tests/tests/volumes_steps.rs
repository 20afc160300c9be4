//! Calls killed at every step: each system call of each call in turn is the last thing it does.
//! Then the driver starts again. No volume is lost, none in use is unmounted, no mount is leaked.

use std::collections::BTreeMap;
use std::fs;

use cleat_tests::{VolumeNode, require};
use serde_json::{Value, json};

/// The calls that change something outside the process, or look before changing.
const CALLS: &str = "openat,openat2,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,\
    mkdirat,rmdir,write,ftruncate,fsync,fdatasync,flock,fsopen,fsconfig,fsmount,open_tree,\
    mount_setattr,move_mount,umount2,ioctl,fchown,fchownat,chown,fchmod,chmod,setxattr";

/// A call, what is there before it, and what must hold after the driver's next start.
struct Case {
    method: &'static str,
    request: Value,
    before: fn(&VolumeNode),
    /// `was_done`: the killed call had come to its commit point.
    after: fn(&VolumeNode, &str),
    /// Brings the node back to where `before` finds it.
    clean: fn(&VolumeNode),
}

fn tmpfs() -> Value {
    json!({"type": "tmpfs", "device": "tmpfs", "o": "size=1m"})
}

fn no_remains(node: &VolumeNode, what: &str) {
    for entry in fs::read_dir(node.volumes()).into_iter().flatten() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with('.'), "{what}: {name} is left");
    }
}

fn users(node: &VolumeNode, name: &str) -> u64 {
    node.get(name).unwrap()["Status"]["Mounts"].as_u64().unwrap()
}

/// Mounted once if somebody is counted, else not at all.
fn mounts_follow_users(node: &VolumeNode, what: &str) {
    let expected = usize::from(users(node, "v") > 0);
    assert_eq!(node.mounts().len(), expected, "{what}: {:?}", node.mounts());
}

fn remove(node: &VolumeNode) {
    let (_, answer) = node.call("Get", &json!({"Name": "v"}));
    if !answer["Volume"].is_null() {
        node.cleat("volume reset v");
    }
    node.done("Remove", json!({"Name": "v"}));
    no_remains(node, "after Remove");
    assert!(node.mounts().is_empty());
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            method: "Create",
            request: json!({"Name": "v", "Opts": {"o": "uid=1,mode=0700,ro"}}),
            before: |_| {},
            after: |node, what| {
                no_remains(node, what);
                node.create("v", json!({"o": "uid=1,mode=0700,ro"}));
                assert!(node.mount("v", "1").is_dir(), "{what}");
            },
            clean: remove,
        },
        Case {
            method: "Mount",
            request: json!({"Name": "v", "ID": "1"}),
            before: |node| node.create("v", tmpfs()),
            after: |node, what| {
                mounts_follow_users(node, what);
                node.mount("v", "2");
                assert_eq!(node.mounts().len(), 1, "{what}");
            },
            clean: remove,
        },
        Case {
            method: "Mount",
            request: json!({"Name": "v", "ID": "2"}),
            before: |node| {
                node.create("v", tmpfs());
                let path = node.mount("v", "1");
                node.enclosure().sh(&format!("echo kept >{}/f", path.display()));
            },
            after: |node, what| {
                let path = node.volumes().join("v/_mnt");
                let kept = node.enclosure().sh(&format!("cat {}/f", path.display()));
                assert_eq!((kept.as_str(), node.mounts().len()), ("kept\n", 1), "{what}");
                assert!((1..=2).contains(&users(node, "v")), "{what}");
            },
            clean: remove,
        },
        Case {
            method: "Unmount",
            request: json!({"Name": "v", "ID": "2"}),
            before: |node| {
                node.create("v", tmpfs());
                let path = node.mount("v", "1");
                node.mount("v", "2");
                node.enclosure().sh(&format!("echo kept >{}/f", path.display()));
            },
            after: |node, what| {
                let path = node.volumes().join("v/_mnt");
                let kept = node.enclosure().sh(&format!("cat {}/f", path.display()));
                assert_eq!((kept.as_str(), node.mounts().len()), ("kept\n", 1), "{what}");
                node.unmount("v", "2");
                assert_eq!(users(node, "v"), 1, "{what}");
            },
            clean: remove,
        },
        Case {
            method: "Unmount",
            request: json!({"Name": "v", "ID": "1"}),
            before: |node| {
                node.create("v", tmpfs());
                node.mount("v", "1");
            },
            after: |node, what| {
                mounts_follow_users(node, what);
                node.unmount("v", "1");
                assert!(node.mounts().is_empty(), "{what}: {:?}", node.mounts());
            },
            clean: remove,
        },
        Case {
            method: "Remove",
            request: json!({"Name": "v"}),
            before: |node| {
                node.create("v", json!({}));
                let path = node.mount("v", "1");
                fs::create_dir(path.join("d")).unwrap();
                fs::write(path.join("d/f"), "kept").unwrap();
                node.unmount("v", "1");
            },
            after: |node, what| {
                no_remains(node, what);
                // All of it, or nothing.
                if node.get("v").is_some() {
                    let file = node.volumes().join("v/_data/d/f");
                    assert_eq!(fs::read_to_string(file).unwrap(), "kept", "{what}");
                }
            },
            clean: remove,
        },
    ]
}

/// How often a call makes each system call when nothing is in its way.
fn count(node: &VolumeNode, case: &Case) -> BTreeMap<String, usize> {
    let log = node.enclosure().folder().join("trace");
    let trace = format!("trace={CALLS}");
    let wrapper = ["strace", "-o", log.to_str().unwrap(), "-e", &trace];
    let (done, answer) =
        node.call_through(&wrapper, case.method, case.request.to_string().as_bytes());
    assert!(done, "{}: {answer}", case.method);
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(&log).unwrap().lines() {
        if let Some((name, _)) = line.split_once('(') {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    counts
}

fn killed_at_each_step(stride: usize) {
    require(&[("strace", "strace")]);
    let node = VolumeNode::new("");
    for case in cases() {
        (case.before)(&node);
        let counts = count(&node, &case);
        assert!(counts.len() > 3, "{}: strace saw {counts:?}", case.method);
        (case.clean)(&node);
        let steps = counts.iter().flat_map(|(name, times)| (1..=*times).map(move |n| (name, n)));
        for (name, number) in steps.step_by(stride) {
            let what = format!("{} {}: {name} {number}", case.method, case.request);
            (case.before)(&node);
            let inject = format!("inject={name}:signal=KILL:when={number}");
            let wrapper = ["strace", "-qq", "-o", "/dev/null", "-e", &inject];
            node.call_through(&wrapper, case.method, case.request.to_string().as_bytes());
            // In order before it answers.
            let driver = node.driver("");
            assert_eq!(node.post("VolumeDriver.List", "").unwrap().0, 200, "{what}");
            (case.after)(&node, &what);
            drop(driver);
            (case.clean)(&node);
        }
    }
}

#[test]
fn killed_at_some_steps() {
    killed_at_each_step(11);
}

#[test]
#[ignore = "takes long"]
fn killed_at_every_step() {
    killed_at_each_step(1);
}
