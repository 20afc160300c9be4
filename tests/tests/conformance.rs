//! Every plugin in every situation in which a runtime may detach, in every version of the protocol:
//! detach must succeed, leave nothing, and not touch what is others'. The same table is run with Debian's reference plugins,
//! and what they are known to do otherwise is listed in conformance.txt, with reasons in
//! docs/compatibility.md: a line that says more or less than happens fails.

use cleat_tests::{Attached, Chain, Container, End, Lab, Programs, ranges};
use serde_json::{Value, json};

const PORTS: &str = r#"{"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
    "bandwidth": {"ingressRate": 8000000, "ingressBurst": 800000}}"#;

/// What happens to a container before or at its DEL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Situation {
    Ended(End),
    Repeated,
    LinkGone,
    NoResult,
    WrongResult,
    NeverAttached,
    TwoInterfaces,
    TwoNetworks,
}

const SITUATIONS: [Situation; 11] = [
    Situation::Ended(End::Usual),
    Situation::Ended(End::NoNamespace),
    Situation::Ended(End::Gone),
    Situation::Ended(End::NotANamespace),
    Situation::Repeated,
    Situation::LinkGone,
    Situation::NoResult,
    Situation::WrongResult,
    Situation::NeverAttached,
    Situation::TwoInterfaces,
    Situation::TwoNetworks,
];

/// The versions that differ in what a runtime hands to DEL and what results look like.
const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// The newest that Debian's reference speaks.
const COMMON: &str = "1.0.0";

/// What a runtime hands to DEL: before 0.4.0 it keeps no results.
fn kept<'a>(version: &str, attached: &'a Attached) -> Option<&'a Attached> {
    (version != "0.3.1").then_some(attached)
}

/// Each subnet has a bridge of its own.
fn bridge(subnet: &str) -> Value {
    let name = format!("br{}", subnet.split('.').nth(1).unwrap());
    json!({"type": "bridge", "bridge": name, "isGateway": true, "ipam": ranges(&[subnet])})
}

/// The chains by the plugin that they are about, on a subnet of their own.
fn chains(subnet: &str) -> Vec<(&'static str, Vec<Value>)> {
    let pool = || ranges(&[subnet]);
    let with = |plugin: Value| vec![bridge(subnet), plugin];
    let mut masquerading = bridge(subnet);
    masquerading["ipMasq"] = json!(true);
    vec![
        ("bridge", vec![bridge(subnet)]),
        ("bridge with ipMasq", vec![masquerading]),
        ("ptp", vec![json!({"type": "ptp", "ipMasq": true, "ipam": pool()})]),
        ("macvlan", vec![json!({"type": "macvlan", "master": "eth0", "ipam": pool()})]),
        ("host-device", vec![json!({"type": "host-device", "device": "dev0", "ipam": pool()})]),
        ("portmap", with(json!({"type": "portmap", "capabilities": {"portMappings": true}}))),
        ("firewall", with(json!({"type": "firewall", "backend": "iptables"}))),
        ("tuning", with(json!({"type": "tuning", "mtu": 1400}))),
        ("bandwidth", with(json!({"type": "bandwidth", "capabilities": {"bandwidth": true}}))),
        ("sbr", with(json!({"type": "sbr"}))),
        ("tap", vec![json!({"type": "tap", "ipam": pool()})]),
    ]
}

fn chain<'l>(
    lab: &'l Lab,
    programs: &Programs,
    (name, version): (&str, &str),
    plugins: &[Value],
) -> Chain<'l> {
    let conflist = json!({"cniVersion": version, "name": name, "plugins": plugins});
    lab.chain(conflist).by(programs).capabilities(serde_json::from_str(PORTS).unwrap())
}

fn lab() -> Lab {
    let lab = Lab::still();
    lab.host.ip("link add dev0 type veth peer name port0");
    lab
}

/// In a word what a situation brought about; "clean" is as it should be.
fn verdict(
    programs: &Programs,
    (plugin, version): (usize, &str),
    situation: Situation,
) -> &'static str {
    let lab = lab();
    let (name, plugins) = chains("10.88.0.0/24").swap_remove(plugin);
    let chain = chain(&lab, programs, ("net", version), &plugins);
    let before = chain.used();
    let container = lab.container();
    let ended = match situation {
        Situation::NeverAttached => chain.del(&container, None),
        Situation::TwoInterfaces | Situation::TwoNetworks if name == "host-device" => {
            return "clean";
        }
        Situation::TwoInterfaces | Situation::TwoNetworks => {
            let other = match situation {
                Situation::TwoInterfaces => chain.clone().ifname("net1"),
                _ => {
                    let (_, plugins) = chains("10.99.0.0/24").swap_remove(plugin);
                    self::chain(&lab, programs, ("other", version), &plugins).ifname("net1")
                }
            };
            return beside(&lab, (&chain, &other), version, &container);
        }
        _ => {
            let attached = chain.attach(&container);
            match situation {
                Situation::Ended(End::NoNamespace) => chain.del_without_namespace(&container),
                Situation::Ended(end) => {
                    let path = container.ns.path();
                    if end != End::Usual {
                        container.ns.delete();
                    }
                    if end == End::NotANamespace {
                        std::fs::write(&path, "").unwrap();
                    }
                    let ended = chain.del(&container, kept(version, &attached));
                    if end != End::Usual {
                        // The reference's sbr makes the file, too.
                        let _ = std::fs::remove_file(&path);
                    }
                    ended
                }
                Situation::Repeated => chain
                    .del(&container, kept(version, &attached))
                    .and_then(|()| chain.del(&container, kept(version, &attached))),
                Situation::LinkGone => {
                    container.ns.ip("link del eth0");
                    chain.del(&container, kept(version, &attached))
                }
                Situation::NoResult => chain.del(&container, None),
                _ => {
                    let mut wrong = attached.clone();
                    wrong.result = json!({"cniVersion": version, "interfaces": [], "ips": []});
                    chain.del(&container, Some(&wrong))
                }
            }
        }
    };
    if ended.is_err() {
        return "fails";
    }
    if !lab.leased("net").is_empty() {
        return "keeps the address";
    }
    // Virtual devices go with the link or the namespace that is gone: only what came counts.
    if lab.additions(&before).is_empty() { "clean" } else { "leaves something" }
}

/// Two attachments of a container: the first one's end is not the second one's.
fn beside(
    lab: &Lab,
    (chain, other): (&Chain<'_>, &Chain<'_>),
    version: &str,
    container: &Container,
) -> &'static str {
    let ports = json!({"bandwidth": {"ingressRate": 8_000_000, "ingressBurst": 800_000}});
    let other = other.clone().capabilities(ports);
    let first = chain.attach(container);
    let Ok(second) = other.add(container) else {
        return "refuses the second";
    };
    if chain.del(container, kept(version, &first)).is_err() {
        return "fails";
    }
    // There is no CHECK before 0.4.0.
    let stands = || version == "0.3.1" || other.check(container, &second).is_ok();
    if container.ns.link("net1").is_none() || !stands() {
        return "breaks the other";
    }
    if other.del(container, kept(version, &second)).is_err() {
        return "fails";
    }
    if lab.leased("net").is_empty() { "clean" } else { "keeps the address" }
}

fn verdicts(programs: &Programs, version: &str) -> Vec<(String, Situation, &'static str)> {
    let mut found = Vec::new();
    for (index, (name, _)) in chains("10.88.0.0/24").into_iter().enumerate() {
        // The firewall begins with 0.4.0; Debian has no tap.
        let lacks = (name == "firewall" && version == "0.3.1")
            || !programs.folder().join(name.split(' ').next().unwrap()).exists();
        for situation in SITUATIONS.into_iter().filter(|_| !lacks) {
            let verdict = verdict(programs, (index, version), situation);
            if verdict != "clean" {
                found.push((name.to_owned(), situation, verdict));
            }
        }
    }
    found
}

#[test]
fn ours_is_clean_in_every_situation() {
    if Lab::still().is_reference() {
        return;
    }
    assert_eq!(verdicts(&Programs::under_test(), COMMON), []);
}

#[test]
#[ignore = "takes long"]
fn ours_is_clean_in_every_version() {
    if Lab::still().is_reference() {
        return;
    }
    for version in VERSIONS.into_iter().filter(|version| *version != COMMON) {
        assert_eq!(verdicts(&Programs::under_test(), version), [], "{version}");
    }
}

#[test]
#[ignore = "takes long"]
fn the_reference_differs_as_is_known() {
    let found = verdicts(&Programs::reference(), COMMON);
    let line =
        |(plugin, when, what): &(String, Situation, &str)| format!("{plugin}, {when:?}: {what}\n");
    let lines: String = found.iter().map(line).collect();
    assert_eq!(lines, KNOWN, "\n{lines}");
}

/// What Debian's reference does otherwise.
const KNOWN: &str = include_str!("conformance.txt");
