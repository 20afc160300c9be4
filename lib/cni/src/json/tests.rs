//! What a config may look like and still be read, and what the errors say.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    host_port: u16,
    #[serde(rename = "hostIP")]
    host_ip: Option<IpAddr>,
    is_gateway: bool,
    ranges: Vec<Vec<Range>>,
    mode: Mode,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Range {
    subnet: IpNet,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Bridge,
    Private,
}

#[test]
fn read_as_go_reads() {
    let cases = [
        (
            r#"{"HostPort":80,"HOSTIP":"","isgateway":"True"}"#,
            Config { host_port: 80, is_gateway: true, ..Config::default() },
        ),
        (
            r#"{"hostPort":1,"HostPort":2,"extra":{"a":[null]}}"#,
            Config { host_port: 1, ..Config::default() },
        ),
        (r#"{"hostPort":null,"hostIP":null,"ranges":null,"mode":null}"#, Config::default()),
        (
            r#"{"labels":{"A":"1","a":"2"},"mode":"private"}"#,
            Config {
                labels: [("A".into(), "1".into()), ("a".into(), "2".into())].into(),
                mode: Mode::Private,
                ..Config::default()
            },
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(from_str::<Config>(text), Ok(expected), "{text}");
    }
}

#[test]
fn errors_name_the_place() {
    let cases = [
        (r#"{"hostPort":"80"}"#, r#"hostPort: invalid value "80": expected u16"#),
        (r#"{"hostPort":65536}"#, "hostPort: invalid value 65536: expected u16"),
        (r#"{"isGateway":"yes"}"#, r#"isGateway: invalid value "yes": expected a boolean"#),
        (
            r#"{"ranges":[[{"subnet":"10.0.0.0/8"},{"subnet":"10.0.0.0/33"}]]}"#,
            r#"ranges[0][1].subnet: invalid value "10.0.0.0/33": expected IPv4 or IPv6 network address (invalid IP address syntax)"#,
        ),
        (r#"{"ranges":[[{}]]}"#, r#"ranges[0][0]: missing field "subnet""#),
        (r#"{"labels":{"a b":1}}"#, r#"labels."a b": invalid value 1: expected a string"#),
        (r#"{"mode":"x"}"#, r#"mode: invalid value "x": expected one of "bridge", "private""#),
        ("[]", "invalid value [...]: expected an object"),
    ];
    for (text, expected) in cases {
        let error = from_str::<Config>(text).unwrap_err();
        assert!(!error.is_syntax());
        assert_eq!(error.to_string(), expected, "{text}");
    }
    assert!(from_str::<Config>("{").unwrap_err().is_syntax());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9./:]{0,12}".prop_map(Value::from),
    ];
    let key = prop_oneof!["(?i)hostport", "(?i)ranges", "(?i)subnet", "(?i)mode", "[a-z]{0,3}"];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|members| members.into_iter().collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn no_document_panics(value in any_json()) {
        if let Err(error) = from_value::<Config>(value) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn no_text_panics(bytes in any::<Vec<u8>>()) {
        let _ = from_slice::<Config>(&bytes);
    }
}
