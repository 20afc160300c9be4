//! A node whose plugins are executed without anything between the clock and them: no shell, no
//! `ip netns exec`, standard input and output as pipes, as a runtime does it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cleat_tests::{Lab, Programs};
use serde_json::{Value, json};

/// Host namespace, folders, whose plugins, and the chain of one network.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) lab: Lab,
    programs: Programs,
    wrapper: Option<PathBuf>,
    run: PathBuf,
}

/// An attachment: what a runtime knows of it.
#[derive(Debug, Clone)]
pub(crate) struct Attachment {
    pub(crate) id: String,
    pub(crate) netns: String,
    pub(crate) ports: Value,
    pub(crate) result: Option<Value>,
}

impl Attachment {
    /// Not attached yet; the id is as long as Docker's.
    pub(crate) fn new(number: usize, netns: impl Into<String>) -> Self {
        Self { id: format!("{number:0>64x}"), netns: netns.into(), ports: json!([]), result: None }
    }

    /// Publishes ports 80 and 81 as these.
    pub(crate) fn publish(mut self, first: u16, second: u16) -> Self {
        let mapping =
            |host: u16, to: u16| json!({"hostPort": host, "containerPort": to, "protocol": "tcp"});
        self.ports = json!([mapping(first, 80), mapping(second, 81)]);
        self
    }
}

impl Node {
    pub(crate) fn new(programs: Programs) -> Self {
        Self::of(Lab::still(), programs)
    }

    /// With a LAN that carries traffic, or not.
    pub(crate) fn of(lab: Lab, programs: Programs) -> Self {
        // In memory, as /run is on a host; leases are on disk, as /var/lib is.
        let run = Path::new("/dev/shm").join(lab.folder().file_name().unwrap());
        Self { lab, programs, wrapper: None, run }
    }

    /// With the lab's own run directory, which its netd serves.
    pub(crate) fn served(lab: Lab) -> Self {
        let run = lab.folder().join("run");
        Self { lab, programs: Programs::under_test(), wrapper: None, run }
    }

    /// With a program in front of every plugin.
    pub(crate) fn through(mut self, wrapper: PathBuf) -> Self {
        self.wrapper = Some(wrapper);
        self
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.path(name)
    }

    /// Runs a closure in the host's namespace; only there are the other methods called.
    pub(crate) fn inside<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> T {
        self.lab.host.run(closure)
    }

    /// ADD of a chain; the time is the plugins' alone.
    pub(crate) fn add(&self, chain: &Value, attachment: &mut Attachment) -> Duration {
        let mut sum = Duration::ZERO;
        attachment.result = None;
        for plugin in chain["plugins"].as_array().unwrap() {
            let (time, text) = self.call(chain, plugin, "ADD", attachment);
            attachment.result = Some(serde_json::from_str(&text.stdout).unwrap());
            sum += time;
        }
        sum
    }

    /// DEL of a chain in reverse.
    pub(crate) fn del(&self, chain: &Value, attachment: &Attachment) -> Duration {
        let plugins = chain["plugins"].as_array().unwrap();
        plugins.iter().rev().map(|plugin| self.call(chain, plugin, "DEL", attachment).0).sum()
    }

    /// One plugin; it must succeed.
    pub(crate) fn call(
        &self,
        chain: &Value,
        plugin: &Value,
        verb: &str,
        attachment: &Attachment,
    ) -> (Duration, Said) {
        let name = plugin["type"].as_str().unwrap();
        let config = self.config(chain, plugin, attachment).to_string();
        let mut command = self.command(name, verb);
        command
            .env("CNI_CONTAINERID", &attachment.id)
            .env("CNI_NETNS", &attachment.netns)
            .env("CNI_IFNAME", "eth0");
        let (time, said) = run(command, config.as_bytes());
        assert_eq!(said.code, Some(0), "{name} {verb}: {said:?}");
        (time, said)
    }

    /// A plugin's command with the environment that all calls share.
    pub(crate) fn command(&self, name: &str, verb: &str) -> Command {
        let program = self.program(name);
        let mut command = match &self.wrapper {
            Some(wrapper) => {
                let mut command = Command::new(wrapper);
                command.arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .env_clear()
            .envs(self.lab.environment())
            .env("CLEAT_RUN_DIR", &self.run)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CNI_PATH", self.programs.folder())
            .env("CNI_COMMAND", verb);
        command
    }

    fn config(&self, chain: &Value, plugin: &Value, attachment: &Attachment) -> Value {
        let mut config = plugin.clone();
        config["cniVersion"] = json!("1.0.0");
        config["name"] = chain["name"].clone();
        if config["ipam"]["type"] == "host-local" {
            config["ipam"]["dataDir"] = json!(self.folder("leases"));
        }
        if config["type"] == "tuning" {
            config["dataDir"] = json!(self.folder("tuning"));
        }
        if config["capabilities"]["portMappings"] == true {
            config["runtimeConfig"] = json!({"portMappings": attachment.ports});
        }
        if let Some(result) = &attachment.result {
            config["prevResult"] = result.clone();
        }
        config
    }

    fn folder(&self, name: &str) -> PathBuf {
        Path::new(self.lab.folder()).join(name)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.run);
    }
}

/// What a program printed and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// From before the start until standard output has ended and the exit is known.
pub(crate) fn run(mut command: Command, input: &[u8]) -> (Duration, Said) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut stdin = child.stdin.take().unwrap();
    // A program may end without having read it all.
    let _ = stdin.write_all(input);
    drop(stdin);
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    let status = child.wait().unwrap();
    let time = start.elapsed();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (time, Said { code: status.code(), stdout, stderr })
}

/// A network on a bridge of this number.
pub(crate) fn bridge(number: usize) -> Value {
    json!({"name": format!("net{number}"), "plugins": [{
        "type": "bridge", "bridge": format!("br{number}"), "isGateway": true, "ipMasq": true,
        "hairpinMode": true,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": format!("10.{}.0.0/16", 88 + number)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }]})
}

/// What nerdctl writes for a network of this number.
pub(crate) fn nerdctl(number: usize) -> Value {
    let mut chain = bridge(number);
    chain["plugins"].as_array_mut().unwrap().extend([
        json!({"type": "portmap", "capabilities": {"portMappings": true}}),
        json!({"type": "firewall", "ingressPolicy": "same-bridge"}),
        json!({"type": "tuning"}),
    ]);
    chain
}
