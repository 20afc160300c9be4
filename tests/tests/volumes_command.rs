//! `cleat volume`, and volumes of `cleat run`, as their users see them.

use std::fs;

use cleat_tests::{VolumeNode, require};
use serde_json::{Value, json};

#[track_caller]
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Content of every kind that a backup keeps.
const CONTENT: &str = "
    cd $1; mkdir -p d/e; echo text >d/f; ln d/f d/e/g; ln -s ../nowhere d/l; mkfifo d/p
    mknod d/n c 1 3; truncate -s 64M holes; echo end >>holes; : >empty; echo x >'a b é'
    dd if=/dev/urandom of=random bs=64k count=20 2>/dev/null
    i=0; while [ $i -lt 30 ]; do truncate -s $((i * 8192)) d/sparse; echo x >>d/sparse; i=$((i+1)); done
    chown 1000:100 d/f; chmod 4750 d/f; chmod 1777 d; chown 7:8 .; chmod 0751 .
    setfattr -n user.colour -v blue d/f; touch -d '2001-02-03 04:05:06.789' d/f d/e";
/// All of it as text.
const LISTING: &str = "
    cd $1; find . -type d -printf '%P %m %U:%G %n %T@\n' -o -printf '%P %y %m %U:%G %n %s %l %T@\n' | sort
    find . -type f ! -name random -exec sha256sum {} + | sort -k2; sha256sum random
    getfattr -R -d . 2>/dev/null | grep -v '^$' | sort; stat -c %t:%T d/n";

fn with(script: &str, path: &str) -> String {
    format!("set -- {path}; {script}")
}

#[test]
fn made_listed_used_and_removed() {
    let node = VolumeNode::new("");
    assert_eq!(node.cleat("volume create web --label tier=front -o uid=5"), "web\n");
    node.cleat("volume create mem --opt type=tmpfs --opt size=1m");
    let anonymous = node.cleat("volume create").trim().to_owned();
    assert_eq!(anonymous.len(), 64);
    node.create("engine", json!({}));
    for (filter, names) in [
        ("", vec![anonymous.as_str(), "engine", "mem", "web"]),
        ("-f driver=tmpfs", vec!["mem"]),
        ("-f label=tier=front -f name=w", vec!["web"]),
        ("-f name=mem -f name=web", vec!["mem", "web"]),
        ("-f label!=tier -f dangling=false", vec![]),
    ] {
        let mut names: Vec<&str> = names;
        names.sort_unstable();
        let listed = node.cleat(&format!("volume ls -q {filter}"));
        assert_eq!(listed.lines().collect::<Vec<_>>(), names, "{filter}");
    }
    assert!(node.cleat("volume ls").starts_with("NAME"));
    let inspected = parsed(&node.cleat("volume inspect web"));
    assert_eq!(inspected[0]["labels"]["tier"], "front");
    assert_eq!(inspected[0]["driver"], "named");

    let path = node.cleat("volume mount mem --id job").trim().to_owned();
    node.enclosure().sh(&format!("echo x >{path}/f; mkdir $LAB/at"));
    node.cleat("volume mount mem $LAB/at --read-only --id other");
    assert_eq!(node.enclosure().sh("cat $LAB/at/f"), "x\n");
    assert!(node.enclosure().try_sh("touch $LAB/at/g").is_err());
    assert!(node.cleat_error("volume rm mem").contains("in use by job, other"));
    // What is in use, named, or an engine's, is not pruned.
    let pruned = parsed(&node.cleat("--format json volume prune"));
    assert_eq!(pruned["removed"], json!([anonymous]));
    let data = node.volumes().join("web/_data");
    fs::write(data.join("big"), vec![7_u8; 1 << 20]).unwrap();
    let would = node.cleat("volume prune --all --dry-run");
    assert!(would.contains("web") && would.contains("Reclaimable space: 1.0 MiB"), "{would}");
    let pruned = node.cleat("volume prune --all");
    assert!(pruned.contains("Total reclaimed space: 1.0 MiB"), "{pruned}");
    assert_eq!(node.cleat("volume ls -q"), "engine\nmem\n");
    node.cleat("volume unmount mem --id other; ! mountpoint -q $LAB/at");
    node.cleat("volume unmount mem --id job");
    node.cleat("volume rm mem engine");
    assert!(node.mounts().is_empty());
    assert!(node.cleat_error("volume rm mem").contains("no such volume"));
    node.cleat("volume rm --force mem");
    assert!(node.cleat_error("volume create x -o sise=1").contains("nearest is size"));
}

#[test]
fn usage_is_measured() {
    let node = VolumeNode::new("");
    node.create("v", json!({}));
    fs::write(node.volumes().join("v/_data/f"), vec![1_u8; 300_000]).unwrap();
    let holes = fs::File::create(node.volumes().join("v/_data/holes")).unwrap();
    holes.set_len(1 << 30).unwrap();
    let usage = parsed(&node.cleat("--format json volume usage v"));
    let bytes = usage[0]["usage"]["bytes"].as_u64().unwrap();
    assert!((300_000..400_000).contains(&bytes), "{usage}");
    // Told from then on, with its moment.
    let status = &node.get("v").unwrap()["Status"]["Usage"];
    assert_eq!(status["Bytes"].as_u64(), Some(bytes));
    assert!(status["MeasuredAt"].as_str().is_some());
}

#[test]
fn backups_come_back_as_they_were() {
    let node = VolumeNode::new("");
    node.create("v", json!({}));
    let path = |name: &str| node.volumes().join(name).join("_data").display().to_string();
    node.enclosure().sh(&with(CONTENT, &path("v")));
    let before = node.enclosure().sh(&with(LISTING, &path("v")));
    node.cleat("volume backup v $LAB/v.tar.zst");
    let archive = node.enclosure().folder().join("v.tar.zst");
    assert!(fs::metadata(&archive).unwrap().len() < 2 << 20, "holes are in the archive");
    let said = node.cleat("volume restore w $LAB/v.tar.zst");
    assert!(said.contains("files verified"), "{said}");
    assert_eq!(node.enclosure().sh(&with(LISTING, &path("w"))), before);
    let blocks = node.enclosure().sh(&format!("du -s {} | cut -f1", path("w")));
    assert!(blocks.trim().parse::<u64>().unwrap() < 4096, "holes are filled: {blocks}");
    // Through a pipe; and what any tar reads.
    node.cleat("volume backup v | CLEAT_MOUNT_NAMESPACE=own $PLUGINS/cleat volume restore x");
    assert_eq!(node.enclosure().sh(&with(LISTING, &path("x"))), before);
    // Into what is there: an image, if it is empty.
    node.create("i", json!({"backing": "image", "size": "64m"}));
    node.cleat("volume restore i $LAB/v.tar.zst");
    let mounted = node.mount("i", "1").display().to_string();
    assert_eq!(node.enclosure().sh(&with(LISTING, &mounted)), before);
    assert!(node.cleat_error("volume restore w $LAB/v.tar.zst").contains("not empty"));
    // Damaged or cut short: nothing is left.
    let bytes = fs::read(&archive).unwrap();
    for (name, damaged) in [
        ("short", bytes[..bytes.len() / 2].to_vec()),
        ("flipped", {
            let mut bytes = bytes.clone();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x55;
            bytes
        }),
    ] {
        fs::write(&archive, damaged).unwrap();
        let error = node.cleat_error(&format!("volume restore {name} $LAB/v.tar.zst"));
        assert!(error.contains("restore"), "{error}");
        assert!(node.get(name).is_none(), "{name} is left");
    }
    assert_eq!(node.get("v").unwrap()["Status"]["Mounts"], 0);
}

#[test]
fn a_bar_shows_how_far_it_is_on_a_terminal() {
    require(&[("script", "bsdutils")]);
    let node = VolumeNode::new("");
    node.create("v", json!({}));
    let data = node.volumes().join("v/_data").display().to_string();
    node.enclosure().sh(&format!("head -c 48M /dev/urandom >{data}/f"));
    for line in ["backup v $LAB/v.tar.zst", "restore w $LAB/v.tar.zst"] {
        let line = format!("$PLUGINS/cleat volume {line}");
        let shown = node.enclosure().sh(&format!("script -qec '{line}' /dev/null"));
        assert!(shown.contains("iB/s"), "{line}: {shown:?}");
    }
    // Elsewhere it would be in the way.
    let plain = node.cleat("volume backup v $LAB/plain.tar.zst 2>&1");
    assert!(!plain.contains("iB/s"), "{plain:?}");
}

#[test]
fn hostile_archives_reach_nothing_outside() {
    let node = VolumeNode::new("");
    node.create("v", json!({}));
    let record = fs::read_to_string(node.volumes().join("v/volume.json")).unwrap();
    let folder = node.enclosure().folder().to_owned();
    fs::write(folder.join("volume.json"), record).unwrap();
    let script = r#"
import tarfile, io, os, sys
lab = os.environ["LAB"]
def archive(name, entries):
    with tarfile.open(f"{lab}/{name}.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(f"{lab}/volume.json", "volume.json")
        for kind, path, target in entries:
            info = tarfile.TarInfo(path); info.type = kind; info.linkname = target; info.mode = 0o755
            data = b"evil" if kind == tarfile.REGTYPE else b""
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
R, S, L, D = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
archive("dots", [(R, "data/../../../evil", "")])
archive("absolute", [(R, lab + "/evil", "")])
archive("symlink", [(D, "data", ""), (S, "data/out", lab), (R, "data/out/evil", "")])
archive("up", [(D, "data", ""), (S, "data/out", "../../.."), (R, "data/out/evil", "")])
archive("hard", [(D, "data", ""), (L, "data/passwd", "/etc/passwd")])
archive("harddots", [(D, "data", ""), (L, "data/passwd", "data/../../../volume.json")])
archive("twice", [(D, "data", ""), (S, "data/f", lab + "/evil"), (R, "data/f", "")])
"#;
    fs::write(folder.join("make.py"), script).unwrap();
    node.enclosure().sh("python3 $LAB/make.py");
    for name in ["dots", "absolute", "symlink", "up", "hard", "harddots", "twice"] {
        node.enclosure().sh(&format!("zstd -q $LAB/{name}.tar"));
        let error = node.cleat_error(&format!("volume restore r $LAB/{name}.tar.zst"));
        assert!(error.contains("cleat: "), "{name}: {error}");
        assert!(node.get("r").is_none(), "{name}: the volume is left");
    }
    let found = node.enclosure().sh("find $LAB $CLEAT_STATE_DIR /etc -name evil");
    assert_eq!(found, "");
}

#[test]
fn clones_are_equal_and_apart() {
    let node = VolumeNode::new("");
    node.create("v", json!({"o": "uid=9"}));
    let path = |name: &str| node.volumes().join(name).join("_data").display().to_string();
    node.enclosure().sh(&with(CONTENT, &path("v")));
    let before = node.enclosure().sh(&with(LISTING, &path("v")));
    node.cleat("volume clone v w");
    assert_eq!(node.enclosure().sh(&with(LISTING, &path("w"))), before);
    node.enclosure().sh(&format!("echo other >{}/d/f", path("w")));
    assert_eq!(node.enclosure().sh(&with(LISTING, &path("v"))), before);
    assert!(node.cleat_error("volume clone v w").contains("exists already"));
    assert!(node.cleat_error("volume clone none x").contains("no such volume"));
}

/// Blocks are shared where the file system can.
#[test]
fn clones_share_blocks_on_xfs() {
    let lines = "truncate -s 320M $LAB/xfs; mkfs.xfs -q $LAB/xfs
        mount -o loop $LAB/xfs $CLEAT_STATE_DIR; mkdir $CLEAT_STATE_DIR/volumes";
    cleat_tests::require(&[("mkfs.xfs", "xfsprogs")]);
    let node = VolumeNode::new(lines);
    node.create("v", json!({}));
    let data = node.volumes().join("v/_data").display().to_string();
    node.enclosure().sh(&format!("dd if=/dev/urandom of={data}/f bs=1M count=8 2>&1"));
    let cloned = parsed(&node.cleat("--format json volume clone v w"));
    assert_eq!(
        (cloned["bytes"].as_u64(), cloned["sharedBytes"].as_u64()),
        (Some(8 << 20), Some(8 << 20))
    );
    let data = node.volumes().display().to_string();
    node.enclosure().sh(&format!("cmp {data}/v/_data/f {data}/w/_data/f"));
}

#[test]
fn programs_see_volumes() {
    let node = VolumeNode::new(
        "mkdir -p $LAB/at $LAB/at2 $LAB/at3 $LAB/host; echo image >$LAB/at/shipped; chown 5:6 $LAB/at
         echo hi >$LAB/host/f",
    );
    let run =
        |options: &str, line: &str| node.cleat(&format!("run --rm {options} -- sh -ec '{line}'"));
    // Made on first use, with what the directory has.
    let shown =
        run("--volume data:$LAB/at", "cd $LAB/at; cat shipped; stat -c %u:%g .; echo mine >own");
    assert_eq!(shown, "image\n5:6\n");
    assert_eq!(run("--volume data:$LAB/at2", "cat $LAB/at2/own $LAB/at2/shipped"), "mine\nimage\n");
    assert_eq!(node.get("data").unwrap()["Status"]["Mounts"], 0);
    // The host does not see it there.
    assert!(!node.enclosure().folder().join("at/own").exists());
    let line = "! touch $LAB/at/x && ! touch $LAB/at2/x && cat $LAB/at2/f && touch $LAB/at3/x";
    let mounts = "-v data:$LAB/at:ro -v $LAB/host:$LAB/at2:ro \
        --mount type=tmpfs,target=$LAB/at3,tmpfs-size=1m";
    assert_eq!(run(mounts, &format!("({line}) 2>/dev/null")), "hi\n");
    run(
        "--mount type=volume,src=mem,dst=$LAB/at,volume-opt=type=tmpfs,volume-opt=size=1m,volume-label=a=b",
        "stat -f -c %T $LAB/at | grep tmpfs",
    );
    let mem = parsed(&node.cleat("volume inspect mem"));
    assert_eq!((&mem[0]["driver"], &mem[0]["labels"]["a"]), (&json!("tmpfs"), &json!("b")));
    // In use while it runs, free when it is over; nameless ones go with --rm.
    node.cleat("run -d --name site --volume mem:$LAB/at --volume $LAB/at2 -- sleep 60");
    assert_eq!(node.get("mem").unwrap()["Status"]["Mounts"], 1);
    assert!(node.cleat_error("volume rm mem").contains("in use"));
    assert_eq!(node.cleat("volume ls -q").lines().count(), 3);
    node.cleat("stop --time 0 site");
    node.cleat("rm site");
    assert_eq!(node.get("mem").unwrap()["Status"]["Mounts"], 0);
    assert!(node.mounts().is_empty());
    run("-v $LAB/at3", "touch $LAB/at3/x");
    assert_eq!(node.cleat("volume prune | wc -l"), "2\n");
    for (options, part) in [
        ("-v data:relative", "absolute path"),
        ("-v data:$LAB/none", "no such directory"),
        ("-v $LAB/none:$LAB/at", "No such file"),
        ("-v a:$LAB/at -v b:$LAB/at", "already"),
        ("--mount type=volume,dst=$LAB/at,volume-opt=sise=3", "nearest is size"),
    ] {
        let error = node.cleat_error(&format!("run --rm {options} -- true"));
        assert!(error.contains(part), "{options}: {error}");
    }
    assert!(node.cleat_error("volume rm x").contains("no such volume"));
}
