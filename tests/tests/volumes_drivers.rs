//! What each driver makes of its options, as whoever uses the volume sees it.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use cleat_tests::{VolumeNode, require};
use serde_json::json;

#[test]
fn named_volumes_keep_their_content() {
    let node = VolumeNode::new("");
    node.create("a", json!({"o": "uid=1000,gid=100,mode=2750"}));
    let path = node.mount("a", "1");
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (1000, 100, 0o2750));
    fs::write(path.join("f"), "text").unwrap();
    node.unmount("a", "1");
    assert_eq!(fs::read_to_string(node.mount("a", "2").join("f")).unwrap(), "text");
    node.unmount("a", "2");
    node.done("Remove", json!({"Name": "a"}));
    assert!(fs::read_dir(node.volumes()).unwrap().next().is_none());
}

#[test]
fn read_only_and_mapped_owners() {
    let node = VolumeNode::new("mkdir $LAB/seen");
    let inside = |line: &str| node.enclosure().sh(line);
    node.create("ro", json!({"o": "ro,noexec,nosuid,nodev"}));
    let path = node.mount("ro", "1");
    assert!(node.enclosure().try_sh(&format!("touch {}/x", path.display())).is_err());
    let (_, _, options) = node.mounts().pop().unwrap();
    for word in ["ro", "noexec", "nosuid", "nodev"] {
        assert!(options.split(',').any(|option| option == word), "{word}: {options}");
    }
    node.create("map", json!({"uidmap": "0:100000:65536", "gidmap": "0:200000:65536"}));
    let path = node.mount("map", "1");
    assert_eq!(inside(&format!("stat -c %u:%g {}", path.display())), "100000:200000\n");
    // What its owner writes is root's on disk; seen where the owner may go.
    node.cleat("volume mount map $LAB/seen --id 2");
    inside("setpriv --reuid 100000 --regid 200000 --clear-groups touch $LAB/seen/x");
    assert_eq!(fs::metadata(node.volumes().join("map/_data/x")).unwrap().uid(), 0);
    node.create("ns", json!({"userns": "/proc/self/ns/user"}));
    // The initial user namespace maps nothing, which the kernel refuses.
    assert!(node.error("Mount", json!({"Name": "ns", "ID": "1"})).contains("map the owners"));
}

#[test]
fn images_limit_what_they_hold() {
    let node = VolumeNode::new("");
    node.create("img", json!({"backing": "image", "size": "16m", "o": "uid=5,mode=0711"}));
    let image = node.volumes().join("img/_image");
    let meta = fs::metadata(&image).unwrap();
    assert!(meta.len() == 16 << 20 && meta.blocks() * 512 < 8 << 20, "{meta:?}");
    let path = node.mount("img", "1");
    let shown = node.enclosure().sh(&format!("stat -c %u:%a {0}; ls -A {0}", path.display()));
    assert_eq!(shown, "5:711\n");
    let fill = format!("dd if=/dev/zero of={}/big bs=1M count=64 2>&1", path.display());
    assert!(node.enclosure().try_sh(&fill).unwrap_err().contains("No space left"));
    node.enclosure().sh(&format!("rm {0}/big; echo kept >{0}/f", path.display()));
    assert!(node.cleat("--format json volume usage img").contains("\"limit\""));
    node.unmount("img", "1");
    let path = node.mount("img", "2");
    assert_eq!(node.enclosure().sh(&format!("cat {}/f", path.display())), "kept\n");
    node.unmount("img", "2");
    node.done("Remove", json!({"Name": "img"}));
    let loops = fs::read_dir("/sys/block").unwrap().flatten().filter(|entry| {
        let file = fs::read_to_string(entry.path().join("loop/backing_file"));
        file.is_ok_and(|file| file.contains(image.to_str().unwrap()))
    });
    assert_eq!(loops.count(), 0, "a loop device is left");
    let broken = "tests need mkfs.ext4 to be missing";
    let line = "mkdir $LAB/empty; mount --bind $LAB/empty /usr/sbin";
    let without = VolumeNode::new(line);
    let error =
        without.error("Create", json!({"Name": "i", "Opts": {"backing": "image", "size": "16m"}}));
    assert!(error.contains("install e2fsprogs"), "{broken}: {error}");
    assert!(fs::read_dir(without.volumes()).unwrap().next().is_none());
}

#[test]
fn memory_lasts_as_long_as_a_mount() {
    let node = VolumeNode::new("");
    let options = json!({"type": "tmpfs", "device": "tmpfs",
        "o": "size=1m,inodes=50,uid=3,gid=4,mode=1750,noexec"});
    node.create("t", options);
    let path = node.mount("t", "1").display().to_string();
    assert_eq!(node.mount("t", "2").display().to_string(), path);
    let shown =
        node.enclosure().sh(&format!("stat -c %u:%g:%a {path}; stat -f -c %b*%S:%c {path}"));
    assert_eq!(shown, "3:4:1750\n256*4096:50\n");
    node.enclosure().sh(&format!("echo x >{path}/f"));
    node.unmount("t", "1");
    assert_eq!(node.enclosure().sh(&format!("cat {path}/f")), "x\n");
    node.unmount("t", "2");
    assert!(node.mounts().is_empty());
    let path = node.mount("t", "3").display().to_string();
    assert_eq!(node.enclosure().sh(&format!("ls -A {path}")), "");
}

#[test]
fn binds_show_a_directory_of_the_hosts() {
    let node = VolumeNode::new(
        "mkdir -p $LAB/src/sub $LAB/x; echo hi >$LAB/src/f; mount -t tmpfs none $LAB/src/sub
         echo below >$LAB/src/sub/g",
    );
    let folder = node.enclosure().folder();
    let device = folder.join("src").display().to_string();
    let create = |name: &str, words: &str| {
        node.create(name, json!({"type": "none", "device": device, "o": words}));
        node.mount(name, "1").display().to_string()
    };
    let inside = |line: &str| node.enclosure().try_sh(line);
    let plain = create("plain", "bind");
    assert_eq!(inside(&format!("cat {plain}/f; ls -A {plain}/sub")).unwrap(), "hi\n");
    let deep = create("deep", "rbind,ro");
    assert_eq!(inside(&format!("cat {deep}/sub/g")).unwrap(), "below\n");
    assert!(inside(&format!("touch {deep}/sub/h")).is_err(), "a mount below is writable");
    for (name, words, tag) in [
        ("shared", "bind,shared", "shared:"),
        ("slave", "rbind,rslave", ""),
        ("own", "bind,private", ""),
    ] {
        let path = create(name, words);
        let line = inside(&format!("grep ' {path} ' /proc/self/mountinfo")).unwrap();
        assert_eq!(line.contains("shared:"), tag == "shared:", "{words}: {line}");
    }
    let missing = folder.join("new/dir").display().to_string();
    let request = |create: &str| json!({"Name": "made", "Opts": {"type": "none", "device": missing, "create": create}});
    assert!(node.error("Create", request("false")).contains("No such file"));
    node.done("Create", request("true"));
    assert!(folder.join("new/dir").is_dir());
    // What others keep there is not removed with the volume.
    node.done("Remove", json!({"Name": "made"}));
    assert!(folder.join("new/dir").is_dir());
}

#[test]
fn binds_stay_below_the_allowed_roots() {
    let node = VolumeNode::new("mkdir -p $LAB/root/in $LAB/out/secret");
    let folder = node.enclosure().folder().to_owned();
    let roots = format!("CLEAT_VOLUME_ROOTS={}", folder.join("root").display());
    let call = |method: &str, request: serde_json::Value| {
        node.call_through(&["env", &roots], method, request.to_string().as_bytes())
    };
    symlink(folder.join("out/secret"), folder.join("root/link")).unwrap();
    symlink("../out", folder.join("root/relative")).unwrap();
    symlink("in", folder.join("root/within")).unwrap();
    for (path, create, is_done) in [
        ("root/in", "false", true),
        ("root/within", "false", true),
        ("root/new/deep", "true", true),
        ("out/secret", "false", false),
        ("root/link", "false", false),
        ("root/relative/secret", "false", false),
        ("root/relative/new", "true", false),
        ("rooted", "true", false),
    ] {
        let device = folder.join(path);
        let name = path.replace('/', "-");
        let options = json!({"type": "none", "device": device, "create": create});
        let (done, answer) = call("Create", json!({"Name": name, "Opts": options}));
        assert_eq!(done, is_done, "{path}: {answer}");
        assert!(
            done || answer["Err"].as_str().unwrap().contains("allowed root"),
            "{path}: {answer}"
        );
    }
    assert!(!folder.join("out/new").exists() && !folder.join("rooted").exists());
    // A directory that becomes a link after the volume was made.
    fs::remove_dir(folder.join("root/in")).unwrap();
    symlink(folder.join("out/secret"), folder.join("root/in")).unwrap();
    let (done, answer) = call("Mount", json!({"Name": "root-in", "ID": "1"}));
    assert!(!done && answer["Err"].as_str().unwrap().contains("allowed root"), "{answer}");
    assert!(node.mounts().is_empty());
}

#[test]
fn quotas_are_refused_with_what_the_file_system_lacks() {
    let node = VolumeNode::new("");
    for options in [json!({"size": "1g"}), json!({"inodes": "1000"})] {
        let error = node.error("Create", json!({"Name": "q", "Opts": options}));
        assert!(error.contains("project quotas") && error.contains("backing=image"), "{error}");
    }
    assert!(node.get("q").is_none());
}

/// As far as it shows where the kernel has no SELinux: what is written, and what is asked for.
#[test]
fn containers_may_use_them_on_hosts_with_selinux() {
    require(&[("getfattr", "attr")]);
    let node = VolumeNode::new(
        "mount -t tmpfs none /sys/fs; mkdir /sys/fs/selinux; echo 1 >/sys/fs/selinux/enforce",
    );
    node.create("named", json!({}));
    let path = node.mount("named", "1").display().to_string();
    let label = node.enclosure().sh(&format!("getfattr -n security.selinux --only-values {path}"));
    assert_eq!(label, "system_u:object_r:container_file_t:s0");
    node.create("mem", json!({"type": "tmpfs"}));
    let error = node.error("Mount", json!({"Name": "mem", "ID": "1"}));
    assert!(error.contains("context"), "{error}");
}

#[test]
fn servers_that_are_not_there_are_named_early() {
    let node = VolumeNode::new("");
    let create_named =
        |name: &str, options: serde_json::Value| json!({"Name": name, "Opts": options});
    let create = |options: serde_json::Value| create_named("n", options);
    let nfs = |server: &str, words: &str| json!({"type": "nfs", "device": format!("{server}:/export"), "o": words});
    for (server, words, part) in [
        ("127.0.0.1", "vers=4", "Connection refused"),
        ("[::1]", "port=12049", "[::1]:12049"),
        ("no.such.host.invalid", "soft", "could not be resolved"),
        ("127.0.0.1", "sec=krb5", "rpc.gssd does not run"),
    ] {
        let error = node.error("Create", create(nfs(server, words)));
        assert!(error.contains(part), "{server} {words}: {error}");
    }
    assert!(node.get("n").is_none());
    node.done("Create", create(nfs("127.0.0.1", "nocheck,bg,_netdev")));
    let error = node.error("Mount", json!({"Name": "n", "ID": "1"}));
    assert!(error.contains("nothing listens there"), "{error}");
    let status = &node.get("n").unwrap()["Status"];
    assert_eq!((status["Health"].as_str(), status["Mounts"].as_u64()), (Some("failing"), Some(0)));
    assert!(node.mounts().is_empty());
    node.done("Create", create_named("l", nfs("127.0.0.1", "nocheck,vers=3,locks=required")));
    let error = node.error("Mount", json!({"Name": "l", "ID": "1"}));
    assert!(error.contains("rpc.statd does not run"), "{error}");
    // One that takes connections and says nothing.
    let silent = node.enclosure().daemon(
        "socat TCP-LISTEN:2049,fork,reuseaddr EXEC:'sleep 60'",
        "socat -u OPEN:/dev/null TCP:127.0.0.1:2049",
    );
    node.done("Create", json!({"Name": "s", "Opts": nfs("127.0.0.1", "timeout=2")}));
    let started = std::time::Instant::now();
    node.error("Mount", json!({"Name": "s", "ID": "1"}));
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    drop(silent);
}
