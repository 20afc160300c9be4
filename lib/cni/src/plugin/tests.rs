//! The protocol from outside: variables and a config in, a document and an exit code out.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Interface, IpConfig};

/// Notes its calls; `config.fail` tells it how to fail.
#[derive(Default)]
struct Fake {
    calls: RefCell<Vec<Command>>,
}

impl Fake {
    fn note(&self, command: Command, request: &Request) -> Result<(), Error> {
        self.calls.borrow_mut().push(command);
        match request.raw["fail"].as_str() {
            Some("panic") => panic!("lost {command}"),
            Some(msg) => Err(Error::try_again(msg).with_details("more")),
            None => Ok(()),
        }
    }
}

impl Plugin for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        self.note(Command::Add, request)?;
        if request.raw.get("noAddress").is_some() {
            return Ok(CniResult::default());
        }
        let address = "10.1.0.2/24".parse().unwrap();
        Ok(CniResult {
            interfaces: vec![Interface { name: request.ifname.clone(), ..Interface::default() }],
            ips: vec![IpConfig { interface: Some(0), address, gateway: None }],
            ..request.config.prev_result.clone().unwrap_or_default()
        })
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        self.note(Command::Del, request)
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        self.note(Command::Check, request)
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        self.note(Command::Gc, request)
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        self.note(Command::Status, request)
    }
}

/// Accepts no CHECK, and its own namespace.
struct Recent;

impl Plugin for Recent {
    fn name(&self) -> &'static str {
        "recent"
    }

    fn versions(&self) -> &'static [SpecVersion] {
        &[SpecVersion::V0_4_0, SpecVersion::V1_0_0]
    }

    fn add(&self, _request: &Request) -> Result<CniResult, Error> {
        Ok(CniResult::default())
    }

    fn del(&self, _request: &Request) -> Result<(), Error> {
        Ok(())
    }

    fn check(&self, _request: &Request) -> Result<(), Error> {
        Ok(())
    }

    fn netns_check(&self, _request: &Request, is_own: bool) -> Result<(), Error> {
        if is_own { Ok(()) } else { Err(Error::invalid_netns("not the host")) }
    }
}

const FULL: &[(&str, &str)] = &[
    ("CNI_CONTAINERID", "c1"),
    ("CNI_NETNS", "/nonexistent/netns"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_PATH", "/opt/cni/bin:/usr/lib/cni"),
];

struct Run {
    code: u8,
    stdout: String,
    stderr: String,
}

impl Run {
    /// Exit code, error code, `msg` and `details` joined.
    fn error(&self) -> (u8, u64, String) {
        assert_eq!(self.stderr, "");
        let error: Value = serde_json::from_str(&self.stdout).expect("one JSON document");
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        let details = text("details");
        let separator = if details.is_empty() { "" } else { "; " };
        (self.code, error["code"].as_u64().unwrap(), text("msg") + separator + &details)
    }
}

fn run_with(plugin: &dyn Plugin, env: &[(&str, &str)], mut stdin: &[u8]) -> Run {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let lookup = |name: &str| {
        env.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    };
    let io = Io { env: &lookup, stdin: &mut stdin, stdout: &mut stdout, stderr: &mut stderr };
    let code = dispatch(plugin, io);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code, stdout: text(stdout), stderr: text(stderr) }
}

fn call(plugin: &dyn Plugin, command: &str, config: &Value) -> Run {
    let env = [FULL, &[("CNI_COMMAND", command)]].concat();
    run_with(plugin, &env, config.to_string().as_bytes())
}

fn config(version: &str) -> Value {
    json!({"cniVersion": version, "name": "net", "type": "fake", "cni.dev/valid-attachments": []})
}

fn with(key: &str, value: Value) -> Value {
    let mut config = config("1.1.0");
    config[key] = value;
    config
}

#[test]
fn verbs_and_versions() {
    for version in SpecVersion::ALL.iter().copied() {
        for command in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
            let plugin = Fake::default();
            let run = call(&plugin, command, &config(version.as_str()));
            let allowed = match command {
                "CHECK" => version >= SpecVersion::V0_4_0,
                "GC" | "STATUS" => version >= SpecVersion::V1_1_0,
                _ => true,
            };
            if !allowed {
                let msg = format!("config version does not allow {command}");
                assert_eq!(run.error(), (1, 1, msg));
            } else if command == "ADD" {
                let result: Value = serde_json::from_str(&run.stdout).unwrap();
                assert_eq!((run.code, &result["cniVersion"]), (0, &json!(version)));
            } else {
                assert_eq!((run.code, run.stdout + &run.stderr), (0, String::new()), "{command}");
            }
            assert_eq!(plugin.calls.borrow().len(), usize::from(allowed), "{version} {command}");
        }
    }
    let mut absent = config("");
    for _ in 0..2 {
        let run = call(&Fake::default(), "ADD", &absent);
        assert!(run.stdout.starts_with("{\n    \"cniVersion\": \"0.1.0\",\n"), "{}", run.stdout);
        absent.as_object_mut().unwrap().remove("cniVersion");
    }
}

#[test]
fn environment_errors() {
    let required = "required env variables";
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("CNI_COMMAND", "ADD")], "[CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing"),
        (
            &[("CNI_COMMAND", "CHECK"), ("CNI_IFNAME", "eth0"), ("CNI_PATH", "")],
            "[CNI_CONTAINERID,CNI_NETNS,CNI_PATH] missing",
        ),
        (&[("CNI_COMMAND", "DEL")], "[CNI_CONTAINERID,CNI_IFNAME,CNI_PATH] missing"),
        (&[("CNI_COMMAND", "GC")], "[CNI_PATH] missing"),
        (&[("CNI_COMMAND", "STATUS")], "[CNI_PATH] missing"),
    ];
    for (env, expected) in cases {
        let run = run_with(&Fake::default(), env, b"{}");
        assert_eq!(run.error(), (1, 4, format!("{required} {expected}")));
    }
    let cases = [
        ("CNI_COMMAND", "add", "unknown CNI_COMMAND: add"),
        ("CNI_CONTAINERID", "a/b", "invalid characters in containerID; a/b"),
        ("CNI_IFNAME", "a:b", "interface name contains / or : or whitespace characters; a:b"),
    ];
    for (key, value, expected) in cases {
        let env = [FULL, &[("CNI_COMMAND", "ADD"), (key, value)]].concat();
        let run = run_with(&Fake::default(), &env, config("1.0.0").to_string().as_bytes());
        assert_eq!(run.error(), (1, 4, expected.to_owned()));
    }
}

#[test]
fn config_errors() {
    let no_list = "missing field \"cni.dev/valid-attachments\"; GC removes every attachment that is not in this list";
    let bad_result = json!({"ips": [{"address": "10.1.0.2"}]});
    let cases = [
        ("ADD", json!([]), 6, "error unmarshall network config: expected an object"),
        ("ADD", json!({"cniVersion": "1.0.0"}), 7, "missing network name"),
        ("ADD", with("name", json!("a b")), 7, "invalid characters found in network name; a b"),
        ("ADD", with("name", json!(7)), 7, "name: invalid value 7: expected a string"),
        ("STATUS", with("ipam", json!("x")), 7, "ipam: invalid value \"x\": expected an object"),
        (
            "ADD",
            with("cniVersion", json!(1)),
            6,
            "decoding version from network config: cniVersion: invalid value 1: expected a text",
        ),
        (
            "DEL",
            config("9.9.9"),
            1,
            r#"incompatible CNI versions; config is "9.9.9", plugin supports ["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"]"#,
        ),
        (
            "ADD",
            with("prevResult", bad_result.clone()),
            6,
            r#"prevResult: result: ips[0].address: invalid value "10.1.0.2": expected IPv4 or IPv6 network address (invalid IP address syntax)"#,
        ),
        (
            "CHECK",
            with("prevResult", json!({"ips": [{"address": "10.1.0.2/24", "interface": 2}]})),
            6,
            "prevResult: result: ips[0].interface: invalid index 2: there are 0 interfaces",
        ),
        ("GC", json!({"cniVersion": "1.1.0", "name": "net"}), 7, no_list),
        (
            "GC",
            with("cni.dev/valid-attachments", json!([{"containerID": "c1"}])),
            7,
            "cni.dev/valid-attachments[0]: missing field \"ifname\"",
        ),
    ];
    for (command, config, code, expected) in cases {
        let plugin = Fake::default();
        assert_eq!(call(&plugin, command, &config).error(), (1, code, expected.to_owned()));
        assert!(plugin.calls.borrow().is_empty(), "{expected}");
    }
    let env = [FULL, &[("CNI_COMMAND", "ADD")]].concat();
    let (code, error, msg) = run_with(&Fake::default(), &env, b"{").error();
    assert_eq!((code, error), (1, 6));
    assert!(msg.starts_with("error unmarshall network config: EOF"), "{msg}");
    assert_eq!(call(&Fake::default(), "DEL", &with("prevResult", bad_result)).code, 0);
}

#[test]
fn what_a_handler_says_is_printed_once() {
    let failing = call(&Fake::default(), "STATUS", &with("fail", json!("later")));
    insta::assert_snapshot!(failing.stdout, @r#"
    {
        "cniVersion": "1.1.0",
        "code": 11,
        "msg": "later",
        "details": "more"
    }
    "#);
    let (code, error, msg) = call(&Fake::default(), "ADD", &with("fail", json!("panic"))).error();
    assert_eq!((code, error), (1, 999));
    assert!(msg.starts_with("internal error: lost ADD"), "{msg}");
}

#[test]
fn a_result_that_cannot_be_given_is_taken_back() {
    let mut unsayable = config("0.2.0");
    unsayable["noAddress"] = json!(true);
    let plugin = Fake::default();
    let (_, code, msg) = call(&plugin, "ADD", &unsayable).error();
    assert_eq!(code, 1);
    assert!(msg.starts_with("cannot convert: no valid IP addresses"), "{msg}");
    assert_eq!(*plugin.calls.borrow(), [Command::Add, Command::Del]);

    let plugin = Fake::default();
    let mut closed = Closed;
    let stdin = config("1.0.0").to_string();
    let env = [FULL, &[("CNI_COMMAND", "ADD")]].concat();
    let lookup = |name: &str| {
        env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    };
    let io = Io {
        env: &lookup,
        stdin: &mut stdin.as_bytes(),
        stdout: &mut closed,
        stderr: &mut io::sink(),
    };
    assert_eq!(dispatch(&plugin, io), 1);
    assert_eq!(*plugin.calls.borrow(), [Command::Add, Command::Del]);
}

struct Closed;

impl io::Write for Closed {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn about_and_versions() {
    let run = run_with(&Recent, &[], b"");
    assert_eq!((run.code, run.stdout.as_str()), (0, ""));
    insta::assert_snapshot!(run.stderr, @r"
    CNI recent plugin v1.9.1
    CNI protocol versions supported: 0.4.0, 1.0.0
    ");
    let run = run_with(&Recent, &[("CNI_COMMAND", "VERSION")], b"not JSON");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(
        run.stdout,
        "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.4.0\",\"1.0.0\"]}\n"
    );
    let msg = "incompatible CNI versions; config is \"\", plugin supports [\"0.4.0\" \"1.0.0\"]";
    assert_eq!(call(&Recent, "ADD", &config("")).error(), (1, 1, msg.to_owned()));
}

#[test]
fn own_namespace() {
    let own = "/proc/self/ns/net";
    let refused = "plugin's netns and netns from CNI_NETNS should not be the same";
    let stdin = config("1.1.0").to_string();
    for (command, overridden, code) in [
        ("ADD", "", Some(refused)),
        ("DEL", "0", Some(refused)),
        ("ADD", "1", None),
        ("DEL", "True", None),
        ("CHECK", "", None),
        ("STATUS", "", None),
    ] {
        let task =
            [("CNI_COMMAND", command), ("CNI_NETNS", own), ("CNI_NETNS_OVERRIDE", overridden)];
        let plugin = Fake::default();
        let run = run_with(&plugin, &[FULL, &task].concat(), stdin.as_bytes());
        assert_eq!(plugin.calls.borrow().len(), usize::from(code.is_none()), "{command}");
        match code {
            Some(msg) => assert_eq!(run.error(), (1, 8, msg.to_owned())),
            None => assert_eq!(run.code, 0),
        }
    }
    assert_eq!(call(&Recent, "DEL", &config("1.0.0")).error(), (1, 8, "not the host".into()));
}

#[test]
fn what_a_handler_is_given() {
    struct Asking;

    impl Plugin for Asking {
        fn name(&self) -> &'static str {
            "asking"
        }

        fn add(&self, request: &Request) -> Result<CniResult, Error> {
            #[derive(Debug, serde::Deserialize)]
            #[serde(rename_all = "camelCase")]
            struct Asked {
                is_gateway: bool,
                #[serde(default)]
                mtu: u16,
            }
            let own = request.config_as::<Asked>()?;
            let config = &request.config;
            assert!(own.is_gateway && own.mtu == 0);
            assert_eq!(config.ipam.as_ref().map(|ipam| ipam.kind.as_str()), Some("host-local"));
            assert_eq!(config.args_cni["mac"], "x");
            assert_eq!(config.runtime_config["portMappings"], json!([{"HostPort": 1}]));
            assert_eq!(config.capabilities.get("portMappings"), Some(&true));
            assert_eq!(config.dns.nameservers, ["10.0.0.1"]);
            assert_eq!(config.prev_result.as_ref().unwrap().ips.len(), 1);
            assert_eq!(request.path.len(), 2);
            assert_eq!(request.args.get("A"), Some("b"));
            assert_eq!(request.env.len(), 6);
            request
                .config_as::<std::collections::BTreeMap<String, u8>>()
                .map(|_| CniResult::default())
        }

        fn del(&self, _request: &Request) -> Result<(), Error> {
            Ok(())
        }

        fn check(&self, _request: &Request) -> Result<(), Error> {
            Ok(())
        }

        fn gc(&self, request: &Request) -> Result<(), Error> {
            let valid = request.attachments_valid();
            let expected = [ValidAttachment { container_id: "c1".into(), ifname: "eth0".into() }];
            assert_eq!(valid, expected);
            Ok(())
        }
    }

    let rich = json!({
        "CNIVersion": "0.3.1", "Name": "net", "type": "asking", "IsGateway": "true", "mtu": null,
        "ipam": {"type": "host-local"}, "args": {"cni": {"mac": "x"}},
        "runtimeConfig": {"portMappings": [{"HostPort": 1}]},
        "capabilities": {"portMappings": true}, "DNS": {"Nameservers": ["10.0.0.1"]},
        "prevResult": {"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.1.0.2/24"}]},
    });
    let env = [FULL, &[("CNI_COMMAND", "ADD"), ("CNI_ARGS", "A=b")]].concat();
    let (_, code, msg) = run_with(&Asking, &env, rich.to_string().as_bytes()).error();
    assert_eq!((code, msg.as_str()), (7, "CNIVersion: invalid value \"0.3.1\": expected u8"));

    let list = json!([{"containerID": "c1", "ifname": "eth0"}]);
    for (key, other) in
        [("cni.dev/attachments", "x"), ("cni.dev/valid-attachments", "cni.dev/attachments")]
    {
        let mut gc = json!({"cniVersion": "1.1.0", "name": "net", other: null});
        gc[key] = list.clone();
        assert_eq!(call(&Asking, "GC", &gc).code, 0, "{key}");
    }
}

#[test]
fn a_request_by_itself() {
    let stdin = config("1.0.0").to_string();
    let parse = |command: &str| {
        let env = [FULL, &[("CNI_COMMAND", command)]].concat();
        let lookup = |name: &str| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        Request::parse(SpecVersion::ALL, &lookup, stdin.as_bytes()).map_err(|error| error.msg)
    };
    let request = parse("DEL").unwrap();
    assert_eq!((request.command, request.ifname.as_str()), (Command::Del, "eth0"));
    assert_eq!(parse("GC").unwrap_err(), "config version does not allow GC");
    assert_eq!(parse("").unwrap_err(), "required env variables [CNI_COMMAND] missing");
}

proptest! {
    #[test]
    fn no_input_panics(
        command in "ADD|DEL|CHECK|GC|STATUS|VERSION|[A-Z]{0,3}",
        key in "name|type|ipam|dns|prevResult|args|runtimeConfig|capabilities|cni.dev/attachments",
        value in r#"null|1|""|"x"|\[\]|\[\{\}\]|\{\}|\{"ips":\[\{\}\]\}|\{"type":3\}|.{0,8}"#,
        id in ".{0,4}",
    ) {
        let stdin = format!("{{\"cniVersion\":\"1.1.0\",\"name\":\"net\",\"{key}\":{value}}}");
        let id = id.replace('\0', "");
        let env = [FULL, &[("CNI_COMMAND", &command), ("CNI_IFNAME", &id)]].concat();
        let run = run_with(&Fake::default(), &env, stdin.as_bytes());
        if run.code != 0 {
            let (_, code, _) = run.error();
            prop_assert!(code < 100);
        }
    }
}
