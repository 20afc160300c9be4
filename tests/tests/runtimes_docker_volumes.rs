//! Docker Engine with volumes of cleat: by the socket, as a managed plugin, in Compose and Swarm.

use std::fs;
use std::path::Path;

use cleat_tests::{Daemon, VolumeNode, busybox_root, eventually, require};

const DOCKERD: &str = "dockerd --data-root $LAB/data --exec-root $LAB/exec \
    --host unix://$LAB/docker.sock --pidfile $LAB/docker.pid --storage-driver vfs \
    --insecure-registry 127.0.0.0/8";
const DOCKER: &str = "DOCKER_CONFIG=$LAB/config DOCKER_API_VERSION=1.41 docker \
    --host unix://$LAB/docker.sock";
const DRIVER: &str =
    "env CLEAT_MOUNT_NAMESPACE=own $PLUGINS/voldriver run --socket /run/docker/plugins/cleat.sock";

/// An engine; dockerd and the driver come and go by themselves.
struct Engine {
    node: VolumeNode,
}

impl Engine {
    fn new() -> Self {
        require(&[("dockerd", "docker.io"), ("runc", "runc"), ("curl", "curl")]);
        let node = VolumeNode::new("mkdir -p /run/docker/plugins");
        busybox_root(&node.enclosure().folder().join("root"));
        for applet in ["ls", "df", "tail", "touch", "stat", "mount", "grep"] {
            let link = node.enclosure().folder().join("root/bin").join(applet);
            std::os::unix::fs::symlink("busybox", link).unwrap();
        }
        Self { node }
    }

    fn dockerd(&self) -> Daemon {
        self.dockerd_with("")
    }

    fn dockerd_with(&self, options: &str) -> Daemon {
        let line = format!("{DOCKERD} {options}");
        let daemon = self.node.enclosure().daemon(&line, &format!("{DOCKER} info"));
        // Made once; asked for after each start.
        self.docker("image inspect busybox || tar -C $LAB/root -c . | $DOCKER import - busybox");
        daemon
    }

    fn driver(&self) -> Daemon {
        self.node.enclosure().daemon(DRIVER, "test -S /run/docker/plugins/cleat.sock")
    }

    #[track_caller]
    fn docker(&self, line: &str) -> String {
        self.node.enclosure().sh(&format!("DOCKER='{DOCKER}'; export DOCKER; {}", self.line(line)))
    }

    fn docker_error(&self, line: &str) -> String {
        self.node.enclosure().try_sh(&self.line(line)).expect_err(line)
    }

    fn line(&self, line: &str) -> String {
        format!("{DOCKER} {}", line.replace("$DOCKER", DOCKER))
    }

    fn mounts(&self) -> usize {
        self.node.mounts().len()
    }
}

#[test]
fn containers_with_the_socket() {
    let engine = Engine::new();
    let docker = |line: &str| engine.docker(line);
    let driver = engine.driver();
    let dockerd = engine.dockerd();
    docker("volume create -d cleat -o type=tmpfs -o device=tmpfs -o o=size=4m,mode=1777 mem");
    docker("volume create -d cleat -o backing=image -o size=16m img");
    assert!(
        engine.docker_error("volume create -d cleat -o sise=1 bad").contains("nearest is size")
    );
    let inspected = docker("volume inspect mem --format '{{.Status.Driver}} {{.CreatedAt}}'");
    assert!(inspected.starts_with("tmpfs 20"), "{inspected}");

    // Shared, and counted.
    docker(
        "run -d --name one --network none -v mem:/mem -v img:/img -v data:/etc --volume-driver cleat busybox sleep 300",
    );
    docker("run -d --name two --network none -v mem:/mem:ro busybox sleep 300");
    docker("exec one sh -c 'echo hi >/mem/f; echo kept >/img/f'");
    assert_eq!(docker("exec two cat /mem/f"), "hi\n");
    assert!(engine.docker_error("exec two touch /mem/g").contains("Read-only"));
    assert_eq!(engine.mounts(), 2);
    // The image's content, copied up.
    assert!(engine.node.volumes().join("data/_data/hostname").exists());
    // Another mount with the same id.
    docker("cp one:/mem/f $LAB/copied");
    assert_eq!(docker("version >/dev/null; cat $LAB/copied"), "hi\n");
    assert_eq!(docker("exec two cat /mem/f"), "hi\n");
    assert!(engine.docker_error("volume rm mem").contains("in use"));
    docker("volume prune -f");
    assert!(engine.node.get("mem").is_some() && engine.node.get("data").is_some());
    // The engine's volumes are no business of ours.
    engine.node.cleat("volume prune --all");
    assert!(engine.node.get("data").is_some());

    // The driver goes and comes with containers running.
    drop(driver);
    assert_eq!(docker("exec two cat /mem/f"), "hi\n");
    let driver = engine.driver();
    docker("run --rm --network none -v mem:/mem busybox cat /mem/f");
    docker("rm -f two");
    assert_eq!(docker("exec one cat /mem/f"), "hi\n");
    assert_eq!(engine.node.get("mem").unwrap()["Status"]["Mounts"], 1);

    // dockerd goes and comes; it ends its containers, and unmounts.
    drop(dockerd);
    eventually("dockerd has unmounted", || engine.mounts() == 0);
    let dockerd = engine.dockerd();
    assert_eq!(docker("volume ls -q"), "data\nimg\nmem\n");
    docker("start one");
    assert_eq!(docker("exec one cat /img/f"), "kept\n");

    // Both, the driver last.
    drop(dockerd);
    drop(driver);
    let driver = engine.driver();
    let _dockerd = engine.dockerd();
    assert_eq!(docker("volume ls -q"), "data\nimg\nmem\n");
    docker("start one");
    assert_eq!(docker("exec one cat /img/f"), "kept\n");
    docker("rm -f one");
    docker("volume rm data img mem");
    assert_eq!(engine.node.cleat("volume ls -q"), "");
    assert_eq!(engine.mounts(), 0);
    drop(driver);
}

/// With live-restore containers outlive dockerd, and the driver meanwhile comes and goes as well, in
/// both orders.
#[test]
fn containers_that_outlive_dockerd() {
    let engine = Engine::new();
    let docker = |line: &str| engine.docker(line);
    let mut driver = engine.driver();
    let mut dockerd = engine.dockerd_with("--live-restore");
    docker("volume create -d cleat --label a=b -o type=tmpfs -o size=4m mem");
    docker("run -d --name one --network none -v mem:/mem busybox sleep 300");
    docker("exec one sh -c 'echo hi >/mem/f'");
    for is_driver_first in [true, false] {
        if is_driver_first {
            drop(driver);
            drop(dockerd);
            driver = engine.driver();
            dockerd = engine.dockerd_with("--live-restore");
        } else {
            drop(dockerd);
            drop(driver);
            // dockerd asks again until the driver is there.
            let late = format!("sh -c 'sleep 2; exec {DRIVER}'");
            driver = engine.node.enclosure().daemon(&late, "true");
            dockerd = engine.dockerd_with("--live-restore");
        }
        assert_eq!(docker("exec one cat /mem/f"), "hi\n");
        assert_eq!(docker("volume inspect mem --format '{{.Labels.a}}'"), "b\n");
        assert_eq!(docker("run --rm --network none -v mem:/mem busybox cat /mem/f"), "hi\n");
        assert_eq!(engine.node.get("mem").unwrap()["Status"]["Mounts"], 1);
    }
    docker("rm -f one");
    assert_eq!(engine.mounts(), 0);
    docker("volume rm mem");
    drop((dockerd, driver));
}

#[test]
fn the_compose_example() {
    require(&[("docker-compose", "docker-compose")]);
    let engine = Engine::new();
    let _driver = engine.driver();
    let _dockerd = engine.dockerd();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/compose");
    let compose = |line: &str| {
        let line = format!(
            "cp {}/docker-compose.yml $LAB/; cd $LAB; export COMPOSE_API_VERSION=1.41; \
             docker-compose -H unix://$LAB/docker.sock --no-ansi -p ex {line} 2>&1",
            example.display()
        );
        engine.node.enclosure().sh(&line)
    };
    compose("up -d");
    eventually("the reader has read", || compose("logs reader").contains("hello"));
    let scratch = engine.docker("exec ex_writer_1 cat /data/scratch");
    assert!(scratch.contains("8192"), "{scratch}");
    assert_eq!(engine.mounts(), 1);
    compose("down -v");
    assert_eq!((engine.mounts(), engine.node.cleat("volume ls -q").as_str()), (0, ""));
}

#[test]
fn a_managed_plugin_and_its_upgrade() {
    require(&[("docker-registry", "docker-registry")]);
    let engine = Engine::new();
    let docker = |line: &str| engine.docker(line);
    let folder = engine.node.enclosure().folder();
    let _dockerd = engine.dockerd();
    let _registry = {
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:5000'}}\n",
            folder.join("registry").display()
        );
        fs::write(folder.join("registry.yml"), config).unwrap();
        engine
            .node
            .enclosure()
            .daemon("docker-registry serve $LAB/registry.yml", "curl -sf http://127.0.0.1:5000/v2/")
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/docker-plugin/build");
    let build = |name: &str, images: &str| {
        let line = format!(
            "export DOCKER=\"env {DOCKER}\" VOLDRIVER=$PLUGINS/voldriver IMAGES={images}
             {} $LAB/plugin {name}",
            script.display()
        );
        engine.node.enclosure().sh(&line)
    };
    build("cleat", "");
    docker("plugin enable cleat");
    docker("volume create -d cleat data");
    docker("volume create -d cleat -o type=tmpfs -o size=4m mem");
    docker("run -d --name one --network none -v data:/data -v mem:/mem busybox sleep 300");
    docker(
        "exec one sh -c 'echo kept >/data/f; echo hi >/mem/f; grep -q \" /mem tmpfs \" /proc/mounts'",
    );
    assert_eq!(docker("run --rm --network none -v mem:/mem busybox cat /mem/f"), "hi\n");
    docker("rm -f one");

    let image = "volume create -d cleat -o backing=image -o size=8m img";
    let refused = engine.node.enclosure().try_sh(&format!("{DOCKER} {image} 2>&1")).unwrap_err();
    assert!(refused.contains("mkfs.ext4: not found"), "{refused}");

    build("127.0.0.1:5000/voldriver:2", "yes");
    docker("plugin push 127.0.0.1:5000/voldriver:2");
    docker("plugin disable -f cleat");
    docker(
        "plugin upgrade --grant-all-permissions --skip-remote-check cleat 127.0.0.1:5000/voldriver:2",
    );
    docker("plugin enable cleat");
    assert_eq!(docker("run --rm --network none -v data:/data busybox cat /data/f"), "kept\n");
    docker(image);
    let full = "dd if=/dev/zero of=/img/f bs=1M count=20 2>&1; df -k /img | tail -n 1";
    let said = docker(&format!("run --rm --network none -v img:/img busybox sh -c '{full}'"));
    assert!(said.contains("No space left") && said.contains("/dev/loop"), "{said}");
    assert_eq!(docker("volume ls -q"), "data\nimg\nmem\n");
    docker("volume rm data img mem");
    docker("plugin disable cleat");
    docker("plugin rm cleat");
}

#[test]
fn a_swarm_service() {
    let engine = Engine::new();
    let docker = |line: &str| engine.docker(line);
    let _driver = engine.driver();
    let _dockerd = engine.dockerd();
    // A node has only those drivers for Swarm that its dockerd has met.
    docker("volume create -d cleat met");
    // Swarm always tries to pull: from where it is refused at once.
    docker("tag busybox 127.0.0.1:1/busybox");
    docker("swarm init --advertise-addr 127.0.0.1");
    docker(
        "service create --detach --name s --restart-condition none --mount \
         type=volume,src=vol,dst=/vol,volume-driver=cleat,volume-opt=type=tmpfs,volume-opt=size=4m \
         --no-resolve-image 127.0.0.1:1/busybox sh -c 'echo up >/vol/f; sleep 300'",
    );
    let path = engine.node.volumes().join("vol/_mnt/f");
    let line = format!("cat {}", path.display());
    eventually("the task runs", || {
        engine.node.enclosure().try_sh(&line).is_ok_and(|text| text == "up\n")
    });
    docker("service rm s");
    eventually("the task is gone", || engine.mounts() == 0);
    docker("swarm leave --force");
}
