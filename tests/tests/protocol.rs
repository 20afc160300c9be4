//! What every plugin does alike: versions, verbs, environment, errors. A table over all programs,
//! so that none is forgotten.

use cleat_tests::{Container, Invocation, Lab, Outcome, ranges};
use serde_json::{Value, json};

const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Every plugin with a section that it would take, and the first version it speaks.
fn plugins(lab: &Lab) -> Vec<(&'static str, Value, &'static str)> {
    let pool = ranges(&["10.88.0.0/24"]);
    let fixed = json!({"type": "static", "addresses": [{"address": "10.88.0.5/24"}]});
    let mut all = vec![
        ("bridge", json!({"bridge": "br0", "ipam": pool}), "0.1.0"),
        ("macvlan", json!({"master": "eth0", "ipam": pool}), "0.1.0"),
        ("ptp", json!({"ipam": pool}), "0.1.0"),
        ("ipvlan", json!({"master": "eth0", "ipam": pool}), "0.1.0"),
        ("vlan", json!({"master": "eth0", "vlanId": 5, "ipam": pool}), "0.1.0"),
        ("host-device", json!({"device": "eth0", "ipam": pool}), "0.1.0"),
        ("loopback", json!({}), "0.1.0"),
        ("host-local", json!({"ipam": pool}), "0.1.0"),
        ("static", json!({"ipam": fixed}), "0.1.0"),
        ("portmap", json!({}), "0.1.0"),
        ("firewall", json!({}), "0.4.0"),
        ("tuning", json!({}), "0.1.0"),
        ("bandwidth", json!({}), "0.3.0"),
        ("sbr", json!({}), "0.1.0"),
        ("vrf", json!({"vrfname": "red"}), "0.3.1"),
    ];
    if !lab.is_reference() {
        all.push(("none", json!({}), "0.1.0"));
        all.push(("host", json!({}), "0.1.0"));
        all.push(("overlay", json!({}), "0.1.0"));
        // Newer than Debian's reference.
        all.push(("dummy", json!({"ipam": pool}), "0.1.0"));
        all.push(("tap", json!({"ipam": pool}), "0.1.0"));
    }
    all
}

/// A chained plugin, which needs an earlier result.
fn is_chained(plugin: &str) -> bool {
    ["portmap", "firewall", "tuning", "bandwidth", "sbr", "vrf"].contains(&plugin)
}

/// A clear answer of a plugin whose kind of link this kernel does not have.
fn kernel_lacks(outcome: &Outcome) -> bool {
    outcome.stdout.contains("this kernel has no") || outcome.stdout.contains("not supported")
}

/// The last version that the programs speak.
fn newest(lab: &Lab) -> &'static str {
    if lab.is_reference() { "1.0.0" } else { "1.1.0" }
}

fn config(plugin: &str, section: &Value, version: &str) -> Value {
    let mut config = section.clone();
    config["cniVersion"] = json!(version);
    config["name"] = json!("net");
    config["type"] = json!(plugin);
    config
}

fn earlier(version: &str) -> Value {
    let mut ip = json!({"address": "10.88.0.5/24", "interface": 0});
    if version.starts_with("0.") {
        ip["version"] = json!("4");
    }
    json!({"cniVersion": version, "interfaces": [{"name": "eth0", "sandbox": "/run/netns/x"}],
        "ips": [ip]})
}

fn call<'l>(
    lab: &'l Lab,
    plugin: &str,
    verb: &str,
    c: &Container,
    config: &Value,
) -> Invocation<'l> {
    let call = lab.plugin(plugin).command(verb).container(c).config(config);
    // The one plugin whose containers have the host's own namespace.
    if plugin == "host" { call.netns(lab.host.path()) } else { call }
}

#[test]
fn without_a_command_a_plugin_says_what_it_is() {
    let lab = Lab::still();
    for (plugin, _, _) in plugins(&lab) {
        let outcome = lab.plugin(plugin).run();
        assert!(outcome.succeeded(), "{outcome:?}");
        assert!(outcome.stdout.is_empty(), "{outcome:?}");
        let mut lines = outcome.stderr.lines();
        let first = lines.next().unwrap_or_default();
        assert!(first.starts_with(&format!("CNI {plugin} plugin ")), "{outcome:?}");
        let second = lines.next().unwrap_or_default();
        assert!(second.starts_with("CNI protocol versions supported: "), "{outcome:?}");
        if lab.is_reference() {
            continue;
        }
        // nerdctl reads the version behind it, and wants 1.7.1 of a firewall that isolates.
        let version = first.rsplit(' ').next().unwrap().trim_start_matches('v');
        let numbers: Vec<u32> = version
            .split(['.', '-', '+'])
            .take(3)
            .map(|part| part.parse().unwrap_or_else(|_| panic!("{first}")))
            .collect();
        assert!(numbers >= vec![1, 7, 1], "{first}");
    }
}

#[test]
fn version_lists_what_is_spoken() {
    let lab = Lab::still();
    for (plugin, section, first) in plugins(&lab) {
        let from = VERSIONS.iter().position(|v| *v == first).unwrap();
        let to = VERSIONS.iter().position(|v| *v == newest(&lab)).unwrap();
        let call = lab.plugin(plugin).command("VERSION");
        for call in [
            call.clone().stdin("{}"),
            call.clone().stdin(r#"{"cniVersion": "0.4.0"}"#),
            call.clone().config(&config(plugin, &section, "1.0.0")).netns("dummy").ifname("dummy"),
        ] {
            let said = call.run().ok();
            assert_eq!(said["supportedVersions"], json!(VERSIONS[from..=to]), "{plugin}");
            assert_eq!(said["cniVersion"], newest(&lab), "{plugin}");
        }
    }
}

#[test]
fn all_that_is_missing_is_named_at_once() {
    let lab = Lab::still();
    let container = lab.container();
    for (plugin, section, _) in plugins(&lab) {
        let config = config(plugin, &section, "1.0.0");
        for (verb, needed) in [
            ("ADD", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"][..]),
            ("CHECK", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"][..]),
            ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME"][..]),
        ] {
            let outcome = lab.plugin(plugin).command(verb).config(&config).run();
            assert_eq!(outcome.error_code(), 4, "{outcome:?}");
            for name in needed {
                assert!(outcome.error_text().contains(name), "{verb} names {name}: {outcome:?}");
            }
        }
        let outcome = call(&lab, plugin, "EXPLODE", &container, &config).run();
        assert_eq!(outcome.error_code(), 4, "{outcome:?}");
        assert!(outcome.error_text().contains("EXPLODE"), "{outcome:?}");
    }
}

/// Calls that must fail with a code, and leave everything as it was.
#[test]
fn bad_input_has_the_specs_code_and_changes_nothing() {
    let lab = Lab::still();
    let container = lab.container();
    let before = lab.snapshot();
    for (plugin, section, _) in plugins(&lab) {
        let good = config(plugin, &section, "1.0.0");
        for verb in ["ADD", "CHECK", "DEL"] {
            let base = call(&lab, plugin, verb, &container, &good);
            let with = |key: &str, value: Value| {
                let mut config = good.clone();
                config[key] = value;
                base.clone().config(&config)
            };
            let cases: Vec<(&str, Invocation<'_>, u64)> = vec![
                ("no JSON", base.clone().stdin("{"), 6),
                ("nothing", base.clone().stdin(""), 6),
                ("a list", base.clone().stdin("[]"), 6),
                ("no name", with("name", json!("")), 7),
                ("a name with a slash", with("name", json!("../net")), 7),
                ("a name with a blank", with("name", json!("n t")), 7),
                ("an unknown version", with("cniVersion", json!("9.9.9")), 1),
                ("a bad id", base.clone().env("CNI_CONTAINERID", "../id"), 4),
                ("a bad interface", base.clone().ifname("eth/0"), 4),
                ("a long interface", base.clone().ifname("abcdefghijklmnop"), 4),
                ("a dotted interface", base.clone().ifname(".."), 4),
            ];
            for (what, call, code) in cases {
                let outcome = call.run();
                assert_eq!(outcome.error_code(), code, "{plugin} {verb}, {what}: {outcome:?}");
            }
            lab.assert_as_before(&before);
        }
    }
    assert_eq!(container.ns.ip_json("link").as_array().unwrap().len(), 1);
}

#[test]
fn verbs_need_their_versions() {
    let lab = Lab::still();
    let container = lab.container();
    // Of a network that it does not know the overlay's plugin says so.
    lab.join_overlay("net", json!({}));
    for (plugin, section, first) in plugins(&lab) {
        for version in VERSIONS.iter().filter(|v| **v >= first && **v <= newest(&lab)) {
            let mut config = config(plugin, &section, version);
            config["cni.dev/valid-attachments"] = json!([]);
            let run = |verb: &str| call(&lab, plugin, verb, &container, &config).run();
            if *version < "0.4.0" {
                assert_eq!(run("CHECK").error_code(), 1, "{plugin} {version}");
            }
            if lab.is_reference() {
                continue;
            }
            for verb in ["GC", "STATUS"] {
                let outcome = run(verb);
                if *version < "1.1.0" {
                    assert_eq!(outcome.error_code(), 1, "{plugin} {verb} {version}");
                } else if !kernel_lacks(&outcome) {
                    assert!(outcome.succeeded(), "{plugin} {verb}: {outcome:?}");
                    assert!(outcome.stdout.is_empty(), "{outcome:?}");
                }
            }
        }
        if let Some(older) = VERSIONS.iter().rfind(|version| **version < first) {
            let config = config(plugin, &section, older);
            let outcome = call(&lab, plugin, "ADD", &container, &config).run();
            assert_eq!(outcome.error_code(), 1, "{plugin}: {outcome:?}");
        }
    }
}

/// The error as one document with all that the specification asks for.
#[test]
fn an_error_is_one_document_of_the_configs_version() {
    let lab = Lab::still();
    let container = lab.container();
    for (plugin, section, _) in plugins(&lab) {
        let mut config = config(plugin, &section, "1.0.0");
        config["name"] = json!("n t");
        let outcome: Outcome = call(&lab, plugin, "ADD", &container, &config).run();
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        let error = outcome.error();
        assert!(error["msg"].is_string());
        // The reference leaves the version out.
        assert!(error["cniVersion"].is_null() || error["cniVersion"] == "1.0.0", "{error}");
    }
}

#[test]
fn the_hosts_own_namespace_is_refused_before_anything_is_done() {
    let lab = Lab::still();
    if lab.is_reference() {
        // It acts first, then looks, and prints two documents.
        return;
    }
    let container = lab.container();
    let before = lab.snapshot();
    for (plugin, section, _) in plugins(&lab) {
        if plugin == "host" {
            continue;
        }
        let mut config = config(plugin, &section, "1.0.0");
        if is_chained(plugin) {
            config["prevResult"] = earlier("1.0.0");
        }
        for verb in ["ADD", "DEL"] {
            let call = call(&lab, plugin, verb, &container, &config).netns(lab.host.path());
            let outcome = call.clone().run();
            assert_eq!(outcome.error_code(), 8, "{plugin} {verb}: {outcome:?}");
            lab.assert_as_before(&before);
        }
    }
}

#[test]
fn a_namespace_that_is_none_is_refused() {
    let lab = Lab::still();
    let container = lab.container();
    let before = lab.snapshot();
    let file = lab.folder().join("state/file");
    for plugin in ["bridge", "macvlan", "ptp", "loopback"] {
        let (_, section, _) = plugins(&lab).into_iter().find(|(name, ..)| *name == plugin).unwrap();
        let config = config(plugin, &section, "1.0.0");
        for path in ["/nowhere/at/all".into(), file.clone()] {
            std::fs::write(&file, "").unwrap();
            let outcome = call(&lab, plugin, "ADD", &container, &config).netns(path.clone()).run();
            std::fs::remove_file(&file).unwrap();
            let code = outcome.error_code();
            if !lab.is_reference() {
                assert!([3, 4, 8].contains(&code), "{plugin} {}: {outcome:?}", path.display());
                lab.assert_as_before(&before);
            }
        }
    }
}

#[test]
fn detach_without_a_namespace_succeeds_again_and_again() {
    let lab = Lab::still();
    let container = lab.container();
    for (plugin, section, first) in plugins(&lab) {
        if lab.is_reference() && plugin == "sbr" {
            // It fails without one.
            continue;
        }
        for version in VERSIONS.iter().filter(|v| **v >= first && **v <= newest(&lab)) {
            let config = config(plugin, &section, version);
            let base = call(&lab, plugin, "DEL", &container, &config);
            for call in [base.clone().netns(""), base.without("CNI_NETNS")] {
                for _ in 0..2 {
                    let outcome = call.run();
                    assert!(outcome.succeeded(), "{plugin} {version}: {outcome:?}");
                    assert!(outcome.stdout.is_empty(), "{plugin} {version}: {outcome:?}");
                }
            }
        }
    }
}

#[test]
fn environment_arguments_are_parsed_strictly() {
    let lab = Lab::still();
    let before = lab.snapshot();
    for (plugin, section, _) in plugins(&lab) {
        if !["bridge", "macvlan", "host-local", "static"].contains(&plugin) {
            continue;
        }
        let config = config(plugin, &section, "1.0.0");
        for (args, good) in [
            ("IgnoreUnknown=1;K8S_POD_NAME=a", true),
            ("IgnoreUnknown=true;K8S_POD_NAME=a;K8S_POD_NAME=b", true),
            ("K8S_POD_NAME=a", false),
            ("IgnoreUnknown=1;FOO=a=b", false),
            ("IgnoreUnknown=1;FOO", false),
        ] {
            let container = lab.container();
            let add = call(&lab, plugin, "ADD", &container, &config).args(args);
            let outcome = add.run();
            assert_eq!(outcome.succeeded(), good, "{plugin} {args}: {outcome:?}");
            if !good {
                outcome.error();
            }
            call(&lab, plugin, "DEL", &container, &config).args("IgnoreUnknown=1").run().ok();
        }
    }
    let left = lab.additions(&before);
    assert!(!left.contains("veth"), "{left}");
}

#[test]
fn an_unknown_key_is_nothing_to_fail_for() {
    let lab = Lab::still();
    lab.join_overlay("net", json!({}));
    for (plugin, section, _) in plugins(&lab) {
        let mut config = config(plugin, &section, "1.0.0");
        config["capabilities"] = json!({"portMappings": true, "bandwidth": true, "dns": true});
        config["runtimeConfig"] = json!({
            "cgroupPath": "/x", "io.kubernetes.cri.pod-annotations": {"a": "b"},
            "bandwidth": {"IngressRate": 0, "IngressBurst": 18_446_744_073_709_551_615_u64},
            "dns": {"Servers": ["192.0.2.2"], "Searches": null, "Options": []},
        });
        config["somethingNew"] = json!({"deep": [1, {"er": null}]});
        config["dns"] = json!({"nameservers": ["192.0.2.2"]});
        if lab.is_reference() && plugin == "bandwidth" {
            // It refuses a burst without a rate, also the one that means none.
            continue;
        }
        if is_chained(plugin) {
            config["prevResult"] = earlier("1.0.0");
        }
        let container = lab.container();
        if is_chained(plugin) {
            container.ns.ip("link add eth0 type veth peer name other");
        }
        let outcome = call(&lab, plugin, "ADD", &container, &config).run();
        let known = outcome.succeeded() || kernel_lacks(&outcome);
        assert!(known, "{plugin}: {outcome:?}");
    }
}
