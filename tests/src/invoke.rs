//! One call of one plugin, as a runtime makes it: environment, standard input, an outcome.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use serde_json::Value;

use crate::lab::{Container, Lab};
use crate::programs::Programs;

/// A call in the making. The environment starts with `CNI_PATH` and the lab's folders, nothing
/// else of the test's own.
#[derive(Debug, Clone)]
pub struct Invocation<'l> {
    lab: &'l Lab,
    programs: Programs,
    program: String,
    wrapper: Vec<String>,
    env: BTreeMap<String, OsString>,
    stdin: Vec<u8>,
}

impl<'l> Invocation<'l> {
    pub(crate) fn new(lab: &'l Lab, programs: Programs, program: &str) -> Self {
        let mut env: BTreeMap<String, OsString> = lab
            .environment()
            .into_iter()
            .map(|(name, path)| (name.to_owned(), path.into_os_string()))
            .collect();
        env.insert("CNI_PATH".into(), programs.folder().into());
        // The reference executes iptables and nft.
        env.insert("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into());
        Self { lab, programs, program: program.into(), wrapper: Vec::new(), env, stdin: Vec::new() }
    }

    /// `CNI_COMMAND`.
    pub fn command(self, verb: &str) -> Self {
        self.env("CNI_COMMAND", verb)
    }

    /// The network configuration; its state is kept in the lab.
    pub fn config(mut self, config: &Value) -> Self {
        self.stdin = serde_json::to_vec(&self.lab.confined(config.clone())).unwrap();
        self
    }

    /// Standard input as it is.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// `CNI_CONTAINERID` and `CNI_NETNS`, and `CNI_IFNAME=eth0`.
    pub fn container(self, container: &Container) -> Self {
        self.env("CNI_CONTAINERID", &container.id)
            .env("CNI_NETNS", container.ns.path())
            .env("CNI_IFNAME", "eth0")
    }

    /// `CNI_IFNAME`.
    pub fn ifname(self, name: &str) -> Self {
        self.env("CNI_IFNAME", name)
    }

    /// `CNI_NETNS`.
    pub fn netns(self, path: impl Into<OsString>) -> Self {
        self.env("CNI_NETNS", path)
    }

    /// `CNI_ARGS`.
    pub fn args(self, args: &str) -> Self {
        self.env("CNI_ARGS", args)
    }

    /// Sets any variable.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Unsets a variable.
    pub fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// Another program that runs it, given its path as last argument: a shell that mounts first, a
    /// tracer. What it mounts is seen by this call alone.
    pub fn through(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// [`Self::through`] a shell that first runs these lines.
    pub fn after(self, lines: &str) -> Self {
        self.through(&["sh", "-ec", &format!("{lines}\nexec \"$0\"")])
    }

    /// Runs it to its end in the host's namespace.
    pub fn run(&self) -> Outcome {
        let child = self.start();
        let output = child.wait_with_output().unwrap();
        let verb = self.env.get("CNI_COMMAND").map_or("".into(), |v| v.to_string_lossy());
        Outcome::new(format!("{} {verb}", self.program), &output)
    }

    /// Starts it, its input given. The child's id is the plugin's own: `ip netns exec` becomes it.
    pub fn start(&self) -> Child {
        let mut words: Vec<OsString> = self.wrapper.iter().map(OsString::from).collect();
        words.push(self.programs.path(&self.program).into());
        let mut command = self.lab.host.command(&words[0]);
        command.args(&words[1..]);
        command
            .env_clear()
            .envs(&self.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let bytes = self.stdin.clone();
        // On a thread, for a plugin that prints before it has read; one that reads nothing closes
        // the pipe, which is its right.
        thread::spawn(move || drop(pipe.write_all(&bytes)));
        child
    }
}

/// How a call ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Plugin and verb, for messages.
    pub what: String,
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Of a command that is run to its end.
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self::new(format!("{command:?}"), &output)
    }

    fn new(what: String, output: &Output) -> Self {
        Self {
            what,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output as the one JSON document that it must be; null if it is empty.
    #[track_caller]
    pub fn json(&self) -> Value {
        if self.stdout.trim().is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{}: not one JSON document ({e}): {self:?}", self.what))
    }

    /// It succeeded.
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// The result of a call that must succeed.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!(self.succeeded(), "{} failed: {self:?}", self.what);
        self.json()
    }

    /// The error document of a call that must fail.
    #[track_caller]
    pub fn error(&self) -> Value {
        assert!(
            matches!(self.code, Some(code) if code != 0),
            "{} should have failed: {self:?}",
            self.what
        );
        let error = self.json();
        assert!(error["code"].is_u64(), "{}: no code in the error: {self:?}", self.what);
        assert!(
            error["msg"].as_str().is_some_and(|msg| !msg.is_empty()),
            "{}: no msg in the error: {self:?}",
            self.what
        );
        error
    }

    /// The error's code, of a call that must fail.
    #[track_caller]
    pub fn error_code(&self) -> u64 {
        self.error()["code"].as_u64().unwrap()
    }

    /// The error's message and details, of a call that must fail.
    #[track_caller]
    pub fn error_text(&self) -> String {
        let error = self.error();
        let part = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        format!("{}; {}", part("msg"), part("details"))
    }
}
