use proptest::prelude::*;
use serde_json::json;

use super::*;

fn sample() -> CniResult {
    CniResult {
        interfaces: vec![
            Interface {
                name: "br0".into(),
                mac: Some("02:00:00:00:00:01".into()),
                ..Interface::default()
            },
            Interface {
                name: "eth0".into(),
                mtu: Some(1500),
                sandbox: Some("/run/netns/a".into()),
                pci_id: Some("0000:00:01.0".into()),
                ..Interface::default()
            },
        ],
        ips: vec![
            ip("10.1.0.2/24", Some("10.1.0.1"), Some(1)),
            ip("10.2.0.2/24", None, Some(1)),
            ip("fd00::2/64", Some("fd00::1"), Some(1)),
        ],
        routes: vec![
            Route {
                table: Some(0),
                mtu: Some(1400),
                ..Route::new("0.0.0.0/0".parse().unwrap(), None)
            },
            Route::new("fd01::/64".parse().unwrap(), Some("fd00::9".parse().unwrap())),
        ],
        dns: Dns::default(),
    }
}

fn ip(address: &str, gateway: Option<&str>, interface: Option<usize>) -> IpConfig {
    let gateway = gateway.map(|gateway| gateway.parse().unwrap());
    IpConfig { interface, address: address.parse().unwrap(), gateway }
}

#[test]
fn golden() {
    let json = |version: &str| sample().to_json(version.parse().unwrap()).unwrap();
    insta::assert_snapshot!("result_0_2_0", json("0.2.0"));
    insta::assert_snapshot!("result_0_4_0", json("0.4.0"));
    insta::assert_snapshot!("result_1_1_0", json("1.1.0"));
    for (same, as_that) in
        [("0.1.0", "0.2.0"), ("0.3.0", "0.4.0"), ("0.3.1", "0.4.0"), ("1.0.0", "1.1.0")]
    {
        assert_eq!(json(same), json(as_that).replace(as_that, same));
    }
}

#[test]
fn what_a_version_cannot_say_is_lost_and_no_more() {
    for version in SpecVersion::ALL.iter().copied() {
        let back = CniResult::from_value(&sample().to_value(version).unwrap(), version).unwrap();
        let mut expected = sample();
        if version < SpecVersion::V1_0_0 {
            expected.interfaces[1].mtu = None;
            expected.interfaces[1].pci_id = None;
        }
        if version < SpecVersion::V0_3_0 {
            expected.interfaces.clear();
            expected.ips.remove(1);
            expected.ips.iter_mut().for_each(|ip| ip.interface = None);
            expected.routes[0].table = None;
            expected.routes[0].mtu = None;
        }
        assert_eq!(back, expected, "{version}");
    }
}

#[test]
fn the_empty_result() {
    let empty = CniResult::default();
    for version in SpecVersion::ALL.iter().copied() {
        let expected = match version.as_str() {
            "0.1.0" | "0.2.0" => Err(Error::INCOMPATIBLE_VERSION),
            "0.3.0" | "0.3.1" | "0.4.0" => Ok(json!({"cniVersion": version, "dns": {}})),
            _ => Ok(json!({"cniVersion": version})),
        };
        assert_eq!(empty.to_value(version).map_err(|error| error.code), expected);
        assert_eq!(CniResult::from_value(&Value::Null, version), Ok(CniResult::default()));
    }
}

#[test]
fn input_of_other_programs() {
    let parse = |text: &str| CniResult::parse(text.as_bytes(), SpecVersion::V0_4_0);
    let one = |ip: IpConfig| Ok(CniResult { ips: vec![ip], ..CniResult::default() });
    let cases = [
        (
            r#"{"IPs":[{"Version":"4","Interface":-1,"Address":"10.0.0.1/8","Gateway":""}]}"#,
            one(ip("10.0.0.1/8", None, None)),
        ),
        (r#"{"cniVersion":"","ip4":{"ip":"10.0.0.1/8"}}"#, Ok(CniResult::default())),
        (
            r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.1/8"},"dns":null}"#,
            one(ip("10.0.0.1/8", None, None)),
        ),
        (
            r#"{"cniVersion":"1.0.0","ips":[{"interface":7,"address":"fd00::1/64"}]}"#,
            one(ip("fd00::1/64", None, Some(7))),
        ),
        ("null", Ok(CniResult::default())),
        (
            r#"{"ips":[{"address":"10.0.0.1"}]}"#,
            Err((
                6,
                r#"result: ips[0].address: invalid value "10.0.0.1": expected IPv4 or IPv6 network address (invalid IP address syntax)"#,
            )),
        ),
        ("", Err((6, "result: EOF while parsing a value at line 1 column 0"))),
        (
            r#"{"cniVersion":"9.9.9"}"#,
            Err((
                1,
                r#"result: CNI version "9.9.9" is unknown: expected one of 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"#,
            )),
        ),
    ];
    for (text, expected) in cases {
        let expected = expected.map_err(|(code, msg)| Error::new(code, msg));
        assert_eq!(parse(text), expected, "{text}");
    }
}

#[test]
fn a_bad_index_is_not_printed() {
    let result = CniResult { ips: vec![ip("10.0.0.1/8", None, Some(0))], ..CniResult::default() };
    let error = result.to_json(SpecVersion::CURRENT).unwrap_err();
    assert_eq!(error.code, Error::DECODE);
    assert_eq!(error.msg, "result: ips[0].interface: invalid index 0: there are 0 interfaces");
}

proptest! {
    #[test]
    fn no_input_panics(text in r#"\{("(cniVersion|ips|ip4|routes|dns|interfaces)":("0.2.0"|"1.0.0"|\[\{"(address|dst|name|mtu|interface)":("10.0.0.1/8"|""|-3|1e99|null)\}\]|\{\}|null),?){0,3}\}"#) {
        for version in SpecVersion::ALL.iter().copied() {
            if let Ok(result) = CniResult::parse(text.as_bytes(), version) {
                let _ = result.to_json(version);
            }
        }
    }
}
