//! ipvlan, vlan and dummy on any kernel: bad configurations, and what a kernel lacks. How they work
//! where the kernel has them: `guest_links`.

use std::process::Command;

use cleat_tests::{Lab, ranges};
use serde_json::{Value, json};

fn network(section: Value) -> Value {
    json!({"cniVersion": "1.1.0", "name": "net", "plugins": [section]})
}

#[test]
fn bad_configurations_are_refused_before_anything_is_made() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let before = lab.snapshot();
    let pool = ranges(&["10.88.0.0/24"]);
    for (section, text) in [
        (json!({"type": "ipvlan", "mode": "l4", "ipam": pool}), "mode"),
        (json!({"type": "ipvlan", "mtu": 12, "ipam": pool}), "mtu"),
        (json!({"type": "vlan", "vlanId": 5, "ipam": pool}), "master"),
        (json!({"type": "vlan", "master": "eth0", "vlanId": 4095, "ipam": pool}), "vlanId"),
        (json!({"type": "vlan", "master": "eth0", "vlanId": -1, "ipam": pool}), "vlanId"),
        (json!({"type": "vlan", "master": "eth0", "vlanId": "5", "ipam": pool}), "vlanId"),
        (json!({"type": "dummy"}), "ipam"),
    ] {
        let container = lab.container();
        let outcome = lab.chain(network(section.clone())).add(&container).unwrap_err();
        assert!(outcome.error_text().contains(text), "{section}: {outcome:?}");
        assert!([6, 7].contains(&outcome.error_code()), "{section}: {outcome:?}");
        lab.assert_as_before(&before);
    }
}

/// STATUS and ADD name the kernel option; with it, STATUS is content.
#[test]
fn what_the_kernel_lacks_is_named() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let before = lab.snapshot();
    let pool = ranges(&["10.88.0.0/24"]);
    for (section, option) in [
        (json!({"type": "ipvlan", "master": "eth0", "ipam": pool}), "CONFIG_IPVLAN"),
        (json!({"type": "vlan", "master": "eth0", "vlanId": 5, "ipam": pool}), "CONFIG_VLAN_8021Q"),
        (json!({"type": "dummy", "ipam": pool}), "CONFIG_DUMMY"),
        (json!({"type": "macvlan", "master": "eth0", "ipam": pool}), "CONFIG_MACVLAN"),
    ] {
        let kind = section["type"].as_str().unwrap();
        let status = || lab.plugin(kind).command("STATUS").config(&with_name(&section)).run();
        let own = if kind == "vlan" { "type vlan id 9" } else { &format!("type {kind}") };
        let on = if kind == "dummy" { "" } else { "link eth0" };
        let add = format!("link add {on} name probe {own}");
        let has = Command::new("ip")
            .args(["-n", lab.host.name()])
            .args(add.split_whitespace())
            .output()
            .unwrap()
            .status
            .success();
        if has {
            lab.host.ip("link del probe");
            assert!(status().succeeded(), "{kind}: {:?}", status());
        } else {
            assert_eq!(status().error_code(), 50, "{kind}");
            assert!(status().error_text().contains(option), "{kind}: {:?}", status());
            let container = lab.container();
            let outcome = lab.chain(network(section.clone())).add(&container).unwrap_err();
            assert!(outcome.error_text().contains(option), "{kind}: {outcome:?}");
        }
        lab.assert_as_before(&before);
    }
}

fn with_name(section: &Value) -> Value {
    let mut config = section.clone();
    config["name"] = json!("net");
    config["cniVersion"] = json!("1.1.0");
    config
}

#[test]
fn status_names_a_missing_master() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let section = json!({"type": "macvlan", "master": "eth7", "ipam": ranges(&["10.88.0.0/24"])});
    let outcome = lab.plugin("macvlan").command("STATUS").config(&with_name(&section)).run();
    assert_eq!(outcome.error_code(), 50);
    assert!(outcome.error_text().contains("eth7"), "{outcome:?}");
}
