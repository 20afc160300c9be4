//! Volumes with limits by project quotas, which this host's kernel lacks.
//@ vm-modules: loop ext4 xfs quota_v2 crc32c_generic
//@ vm-tools: /usr/bin/nsenter /usr/bin/unshare /usr/bin/setpriv /usr/bin/timeout /usr/bin/flock
//@ vm-tools: mkfs.ext4 mkfs.xfs /etc/mke2fs.conf /usr/bin/mount /usr/bin/umount
//@ vm-prepare: mkdir -p /opt

use cleat_tests::VolumeNode;
use serde_json::{Value, json};

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
