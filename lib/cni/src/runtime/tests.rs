//! Networks run with real programs: shell scripts that note what they are given.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::{
    CniResult, Command, Error, Io, Plugin, Request, SpecVersion, ValidAttachment, dispatch,
};

/// Notes verb and name in `log` and its input in `NAME.VERB`; fails if there is a `fail-NAME`.
const SCRIPT: &str = r#"#!/bin/sh
here=${0%/*} name=${0##*/}
echo "$CNI_COMMAND $name $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_ARGS" >>"$here/log"
cat >"$here/$name.$CNI_COMMAND"
if [ -f "$here/fail-$name" ]; then cat "$here/fail-$name"; exit 1; fi
if [ "$CNI_COMMAND" = ADD ]; then
    echo '{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.1.0.2/24"}],"dns":{"domain":"'$name'"}}'
fi
"#;

struct Node {
    folder: tempfile::TempDir,
}

impl Node {
    fn new(plugins: &[&str]) -> Self {
        let node = Self { folder: tempfile::tempdir().unwrap() };
        for plugin in plugins {
            node.write(plugin, SCRIPT);
        }
        node
    }

    fn write(&self, name: &str, text: &str) {
        let mut options = OpenOptions::new();
        let path = self.folder.path().join(name);
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o755).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn runtime(&self) -> Runtime {
        let path = vec!["".into(), "/nonexistent".into(), self.folder.path().to_owned()];
        Runtime { path, cache_dir: self.folder.path().join("cache") }
    }

    /// The lines since the last call, without what they end in if it is empty.
    fn log(&self) -> Vec<String> {
        let path = self.folder.path().join("log");
        let log = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        log.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    fn input(&self, file: &str) -> Value {
        serde_json::from_slice(&fs::read(self.folder.path().join(file)).unwrap()).unwrap()
    }

    fn cached_files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("cache/results")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn list(version: &str) -> ConfList {
    let list = json!({
        "cniVersion": version, "name": "net", "plugins": [
            {"type": "one", "capabilities": {"ips": true, "mac": false, "dns": true}},
            {"type": "two"},
        ],
    });
    ConfList::from_slice(list.to_string().as_bytes()).unwrap()
}

fn attachment(container_id: &str) -> Attachment {
    let capability_args = json!({"ips": ["10.1.0.2/24"], "mac": "x", "portMappings": []});
    Attachment {
        container_id: container_id.into(),
        netns: Some("/run/netns/a".into()),
        ifname: "eth0".into(),
        args: vec![("IP".into(), "10.1.0.2".into()), ("A".into(), "b".into())],
        capability_args: capability_args.as_object().unwrap().clone(),
    }
}

#[test]
fn add_check_and_delete() {
    let node = Node::new(&["one", "two"]);
    let (runtime, list, attachment) = (node.runtime(), list("1.0.0"), attachment("c1"));
    let result = runtime.add_list(&list, &attachment).unwrap();
    assert_eq!(result.dns.domain.as_deref(), Some("two"));
    let task = "c1 /run/netns/a eth0 IP=10.1.0.2;A=b";
    assert_eq!(node.log(), [format!("ADD one {task}"), format!("ADD two {task}")]);
    assert_eq!(
        node.input("one.ADD"),
        json!({
            "cniVersion": "1.0.0", "name": "net", "type": "one",
            "capabilities": {"ips": true, "mac": false, "dns": true},
            "runtimeConfig": {"ips": ["10.1.0.2/24"]},
        })
    );
    let of_one = json!({
        "cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/24"}], "dns": {"domain": "one"},
    });
    assert_eq!(
        node.input("two.ADD"),
        json!({"cniVersion": "1.0.0", "name": "net", "type": "two", "prevResult": of_one})
    );

    runtime.check_list(&list, &attachment).unwrap();
    assert_eq!(node.log().len(), 2);
    assert_eq!(node.input("one.CHECK")["prevResult"]["dns"]["domain"], "two");

    // The list has changed since, and the caller has forgotten the arguments.
    let other = ConfList { plugins: vec![json!({"type": "gone"})], ..list.clone() };
    let bare =
        Attachment { container_id: "c1".into(), ifname: "eth0".into(), ..Attachment::default() };
    runtime.del_list(&other, &bare).unwrap();
    let task = "c1  eth0 IP=10.1.0.2;A=b";
    assert_eq!(node.log(), [format!("DEL two {task}"), format!("DEL one {task}")]);
    assert_eq!(node.input("two.DEL")["prevResult"]["dns"]["domain"], "two");
    assert_eq!(node.input("one.DEL")["runtimeConfig"]["ips"][0], "10.1.0.2/24");
    assert!(node.cached_files().is_empty());

    runtime.del_list(&list, &attachment).unwrap();
    assert_eq!(node.log().len(), 2, "a second DEL reaches the plugins too");
    assert_eq!(node.input("two.DEL").get("prevResult"), None);
}

#[test]
fn cache_file() {
    let node = Node::new(&["one", "two"]);
    let runtime = node.runtime();
    runtime.add_list(&list("0.4.0"), &attachment("c1")).unwrap();
    let folder = node.folder.path().join("cache/results");
    let path = folder.join("net-c1-eth0");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
    assert_eq!(node.cached_files(), ["net-c1-eth0"]);
    let text = fs::read_to_string(path).unwrap();
    insta::assert_snapshot!("cache_file", text);

    let cached = runtime.cached("net", &attachment("c1")).unwrap();
    assert_eq!(cached.attachment, attachment("c1"));
    assert_eq!(cached.list.as_ref().unwrap().plugins, list("0.4.0").plugins);
    assert_eq!(cached.result().unwrap().ips.len(), 1);
    assert_eq!(runtime.cached_of("net").unwrap(), [cached]);
    assert_eq!(runtime.cached_of("other").unwrap(), []);
}

#[test]
fn what_others_left_in_the_cache() {
    let node = Node::new(&["one", "two"]);
    let runtime = node.runtime();
    let folder = node.folder.path().join("cache/results");
    fs::create_dir_all(&folder).unwrap();
    // An empty list of plugins in `config`; no `kind`; half a file.
    for (file, expected) in [
        (
            r#"{"kind":"cniCacheV1","containerId":"c1","config":"e30=","ifName":"eth0","networkName":"net","result":{"cniVersion":"0.4.0","dns":{"domain":"x"}}}"#,
            json!("x"),
        ),
        (r#"{"cniVersion":"0.4.0","dns":{"domain":"y"}}"#, json!("y")),
        (r#"{"kind":"cniCacheV1","containerId":"#, Value::Null),
    ] {
        node.write("cache/results/net-c1-eth0", file);
        runtime.del_list(&list("1.0.0"), &attachment("c1")).unwrap();
        assert_eq!(node.input("one.DEL")["prevResult"]["dns"]["domain"], expected);
        assert!(node.cached_files().is_empty());
    }
    node.write("cache/results/net-c1-eth0", r#"{"dns":{}}"#);
    runtime.del_list(&list("0.3.1"), &attachment("c1")).unwrap();
    assert_eq!(node.input("one.DEL").get("prevResult"), None, "before 0.4.0");
}

#[test]
fn failures() {
    let node = Node::new(&["one", "two"]);
    let (runtime, list, attachment) = (node.runtime(), list("1.1.0"), attachment("c1"));
    node.write("fail-one", r#"{"code":11,"msg":"later","details":"more"}"#);
    let error = runtime.add_list(&list, &attachment).unwrap_err();
    assert_eq!(error.to_string(), "plugin \"one\" ADD: later; more (code 11)");
    assert_eq!(node.log().len(), 1);
    assert_eq!(runtime.cached("net", &attachment), None);
    assert_eq!(Error::from(error), Error::try_again("later").with_details("more"));
    assert!(runtime.status_list(&list).is_err());
    assert_eq!(node.log(), ["STATUS one"]);

    node.write("fail-two", "no document");
    runtime.check_list(&list, &attachment).unwrap_err();
    assert_eq!(node.log().len(), 1);
    let error = runtime.del_list(&list, &attachment).unwrap_err().to_string();
    let two = node.folder.path().join("two");
    assert_eq!(
        error,
        format!(
            "{} failed (exit status: 1) without an error document: \"no document\"; plugin \"one\" DEL: later; more (code 11)",
            two.display()
        )
    );
    assert_eq!(node.log().len(), 2);

    let error = find("absent", &runtime.path).unwrap_err().to_string();
    let folder = node.folder.path().display();
    assert_eq!(error, format!("failed to find plugin \"absent\" in path [ /nonexistent {folder}]"));
    for bad in ["", ".", "..", "a/../one", "cache"] {
        assert!(find(bad, &runtime.path).is_err(), "{bad}");
    }
    let bad = Attachment { container_id: "../x".into(), ..attachment };
    let error = runtime.add_list(&list, &bad).unwrap_err().to_string();
    assert_eq!(error, "invalid characters in containerID; ../x");
}

#[test]
fn a_failed_delete_can_be_repeated() {
    let node = Node::new(&["one", "two"]);
    let (runtime, list, attachment) = (node.runtime(), list("1.1.0"), attachment("c1"));
    runtime.add_list(&list, &attachment).unwrap();
    node.write("fail-two", r#"{"code":5,"msg":"no"}"#);
    assert!(runtime.del_list(&list, &attachment).is_err());
    assert_eq!(node.cached_files(), ["net-c1-eth0"]);
    assert!(node.log().iter().any(|line| line.starts_with("DEL one")), "goes on past a failure");
    fs::remove_file(node.folder.path().join("fail-two")).unwrap();
    runtime.del_list(&list, &attachment).unwrap();
    assert!(node.cached_files().is_empty());
}

#[test]
fn verbs_that_a_network_does_not_have() {
    let node = Node::new(&["one", "two"]);
    let runtime = node.runtime();
    let error = runtime.check_list(&list("0.3.1"), &attachment("c1")).unwrap_err().to_string();
    assert_eq!(error, "network net: CNI 0.3.1 does not have CHECK");
    let disabled = ConfList { disable_check: true, disable_gc: true, ..list("1.1.0") };
    runtime.check_list(&disabled, &attachment("c1")).unwrap();
    runtime.gc_list(&disabled, &[]).unwrap();
    runtime.status_list(&list("1.0.0")).unwrap();
    runtime.gc_list(&list("1.0.0"), &[]).unwrap();
    assert_eq!(node.log(), [""; 0]);
}

#[test]
fn collection() {
    let node = Node::new(&["one", "two"]);
    let (runtime, list) = (node.runtime(), list("1.1.0"));
    for container_id in ["c1", "c2"] {
        runtime.add_list(&list, &attachment(container_id)).unwrap();
    }
    let longer = ConfList { name: "net-c1".into(), ..list.clone() };
    runtime.add_list(&longer, &attachment("c3")).unwrap();
    node.log();
    let valid = ValidAttachment { container_id: "c2".into(), ifname: "eth0".into() };
    runtime.gc_list(&list, &[valid]).unwrap();
    let lines =
        ["DEL two c1 /run/netns/a eth0", "DEL one c1 /run/netns/a eth0", "GC one", "GC two"];
    let log = node.log();
    assert_eq!(log.len(), lines.len());
    for (line, expected) in log.iter().zip(lines) {
        assert!(line.starts_with(expected), "{line}");
    }
    let keep = json!([{"containerID": "c2", "ifname": "eth0"}]);
    let input = node.input("two.GC");
    assert_eq!(input["cni.dev/valid-attachments"], keep);
    assert_eq!(input["cni.dev/attachments"], keep);
    let mut files = node.cached_files();
    files.sort();
    assert_eq!(files, ["net-c1-c3-eth0", "net-c2-eth0"]);
}

#[test]
fn large_input_and_output() {
    let node = Node::new(&[]);
    node.write("echo", "#!/bin/sh\nhead -c 200000 /dev/zero\ncat >/dev/null\n");
    node.write("deaf", "#!/bin/sh\nexec <&-\nprintf ok\n");
    let runtime = node.runtime();
    let run = |kind| {
        let program = find(kind, &runtime.path).unwrap();
        execute(&program, Command::Add, &[], &vec![b' '; 300_000]).unwrap()
    };
    assert_eq!(run("echo").len(), 200_000);
    assert_eq!(run("deaf"), b"ok");
}

/// Hands every verb to `one`.
struct Delegating;

impl Plugin for Delegating {
    fn name(&self) -> &'static str {
        "delegating"
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        Ok(delegate(request, "one", Command::Add)?.unwrap_or_default())
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        delegate(request, "one", Command::Del).map(drop)
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        delegate(request, "absent", Command::Check).map(drop)
    }
}

#[test]
fn delegation() {
    let node = Node::new(&["one"]);
    let path = node.folder.path().as_os_str().to_owned();
    // Spacing that no serializer would write.
    let stdin = r#"{"cniVersion":"1.0.0" ,  "name":"net","type":"x","n":1.50}"#;
    let call = |command: &str| {
        let lookup = |name: &str| match name {
            "CNI_COMMAND" => Some(OsString::from(command)),
            "CNI_CONTAINERID" => Some("c1".into()),
            "CNI_NETNS" => Some("/nonexistent".into()),
            "CNI_IFNAME" => Some("eth0".into()),
            "CNI_ARGS" => Some("A=b".into()),
            "CNI_PATH" => Some(path.clone()),
            _ => None,
        };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let io = Io {
            env: &lookup,
            stdin: &mut stdin.as_bytes(),
            stdout: &mut stdout,
            stderr: &mut stderr,
        };
        dispatch(&Delegating, io);
        String::from_utf8(stdout).unwrap()
    };
    let result = CniResult::parse(call("ADD").as_bytes(), SpecVersion::CURRENT).unwrap();
    assert_eq!(result.dns.domain.as_deref(), Some("one"));
    assert_eq!(node.log(), ["ADD one c1 /nonexistent eth0 A=b"]);
    assert_eq!(fs::read_to_string(node.folder.path().join("one.ADD")).unwrap(), stdin);
    assert_eq!(call("DEL"), "");
    let missing: Value = serde_json::from_str(&call("CHECK")).unwrap();
    let msg = format!("failed to find plugin \"absent\" in path [{}]", path.to_str().unwrap());
    assert_eq!((&missing["code"], &missing["msg"]), (&json!(7), &json!(msg)));
    node.write("fail-one", r#"{"code":11,"msg":"no address left"}"#);
    let refused: Value = serde_json::from_str(&call("ADD")).unwrap();
    assert_eq!((&refused["code"], &refused["msg"]), (&json!(11), &json!("no address left")));
}
