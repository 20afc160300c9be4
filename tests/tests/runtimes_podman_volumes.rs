//! Podman with volumes of cleat, by `volume_plugins`.

use std::fs;

use cleat_tests::{VolumeNode, busybox_root, require};

const CONFIGURATION: &str = r#"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[engine.volume_plugins]
cleat = "SOCKET"
"#;

#[test]
fn containers_of_podman() {
    require(&[("podman", "podman"), ("runc", "runc"), ("conmon", "conmon")]);
    let node = VolumeNode::new("");
    let enclosure = node.enclosure();
    let text = CONFIGURATION.replace("SOCKET", node.socket().to_str().unwrap());
    fs::write(enclosure.folder().join("containers.conf"), text).unwrap();
    busybox_root(&enclosure.folder().join("root"));
    let podman = |line: &str| {
        enclosure.sh(&format!(
            "CONTAINERS_CONF=$LAB/containers.conf podman --root $LAB/data --runroot $LAB/runroot \
             --tmpdir $LAB/tmp --storage-driver vfs {line}"
        ))
    };
    let driver = node.driver("");
    enclosure.sh("tar -C $LAB/root -cf $LAB/image.tar .");
    podman("import $LAB/image.tar lab");
    podman("volume create --driver cleat --opt type=tmpfs --opt o=size=4m mem");
    podman("volume create --driver cleat data");
    assert!(podman("volume ls --format '{{.Driver}} {{.Name}}'").contains("cleat mem"));
    assert!(podman("volume inspect mem").contains("tmpfs"));
    let run = "run -d --network none -v mem:/mem -v data:/data";
    podman(&format!("{run} --name one lab /bin/sleep 300"));
    podman(&format!("{run} --name two lab /bin/sleep 300"));
    podman("exec one /bin/sh -c 'echo hi >/mem/f; echo kept >/data/f'");
    assert_eq!(podman("exec two /bin/cat /mem/f"), "hi\n");
    // Podman counts by itself, under one id for all.
    assert_eq!(node.get("mem").unwrap()["Status"]["Mounts"], 1);
    drop(driver);
    let _driver = node.driver("");
    assert_eq!(podman("exec two /bin/cat /mem/f"), "hi\n");
    podman("rm -f -t 0 one");
    assert_eq!(podman("exec two /bin/cat /mem/f"), "hi\n");
    podman("rm -f -t 0 two");
    assert!(node.mounts().is_empty(), "{:?}", node.mounts());
    assert_eq!(podman("run --rm --network none -v data:/data lab /bin/cat /data/f"), "kept\n");
    podman("volume rm mem data");
    assert_eq!(node.cleat("volume ls -q"), "");
}
