//! The tuning plugin: sysctls and attributes of the container's interface, and their return.

use cleat_tests::{Chain, Container, Lab, ranges};
use serde_json::{Value, json};

fn chain<'l>(lab: &'l Lab, extra: Value) -> Chain<'l> {
    let mut tuning = json!({"type": "tuning", "capabilities": {"mac": true}});
    for (key, value) in extra.as_object().unwrap() {
        tuning[key] = value.clone();
    }
    lab.chain(json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
        {"type": "bridge", "bridge": "br0", "isGateway": true, "ipam": ranges(&["10.88.0.0/24"])},
        tuning,
    ]}))
}

fn eth0(container: &Container) -> Value {
    container.ns.link("eth0").unwrap()
}

fn has_flag(container: &Container, flag: &str) -> bool {
    eth0(container)["flags"].as_array().unwrap().contains(&json!(flag))
}

#[test]
fn sysctls_of_the_container() {
    let lab = Lab::still();
    let container = lab.container();
    let chain = chain(
        &lab,
        json!({"sysctl": {
            "net.core.somaxconn": "500",
            "net.ipv4.conf.IFNAME.arp_filter": "1",
            "net/ipv4/ip_local_port_range": "2000 3000",
        }}),
    );
    let host = lab.host.sysctl("net/core/somaxconn");
    let attached = chain.attach(&container);
    let sysctl = |path: &str| container.ns.sysctl(path).unwrap();
    assert_eq!(sysctl("net/core/somaxconn"), "500");
    assert_eq!(sysctl("net/ipv4/conf/eth0/arp_filter"), "1");
    assert_eq!(
        sysctl("net/ipv4/ip_local_port_range").split_whitespace().collect::<Vec<_>>(),
        ["2000", "3000"]
    );
    assert_eq!(lab.host.sysctl("net/core/somaxconn"), host);
    assert!(container.ns.ping("10.88.0.1"));
    if lab.is_reference() {
        // Its CHECK does not know the placeholder.
        return;
    }
    chain.check(&container, &attached).unwrap();
    container.ns.set_sysctl("net/core/somaxconn", "600");
    let text = chain.check(&container, &attached).unwrap_err().error_text();
    assert!(text.contains("somaxconn"), "{text}");
    chain.detach(&container, &attached);
}

#[test]
fn sysctls_outside_the_network_are_refused() {
    let lab = Lab::still();
    for name in ["kernel.shmmax", "net.ipv4.nothing_like_it", "net.ipv4.conf.../../../kernel/x"] {
        let container = lab.container();
        let text =
            chain(&lab, json!({"sysctl": {name: "1"}})).add(&container).unwrap_err().error_text();
        if !lab.is_reference() {
            assert!(
                text.contains(name) || text.contains(&name.replace('.', "/")),
                "{name}: {text}"
            );
        }
    }
}

#[test]
fn attributes_are_set() {
    let lab = Lab::still();
    let container = lab.container();
    let mac = "02:00:00:00:00:77";
    let mut keys = json!({"mac": mac, "promisc": true, "mtu": 1400, "allmulti": true});
    if !lab.is_reference() {
        // Debian's is older than the key.
        keys["txQLen"] = json!(2000);
    }
    let chain = chain(&lab, keys);
    let attached = chain.attach(&container);
    let link = eth0(&container);
    assert_eq!(link["address"], mac);
    assert_eq!(link["mtu"], 1400);
    assert!(has_flag(&container, "PROMISC") && has_flag(&container, "ALLMULTI"), "{link}");
    if !lab.is_reference() {
        assert_eq!(link["txqlen"], 2000);
    }
    assert_eq!(attached.result["interfaces"][2]["mac"], mac, "the result follows");
    assert!(container.ns.ping("10.88.0.1"));
    chain.check(&container, &attached).unwrap();
    chain.detach(&container, &attached);
}

#[test]
fn detach_of_tuning_alone_gives_back_what_was() {
    let lab = Lab::still();
    let container = lab.container();
    let chain = chain(&lab, json!({"mac": "02:00:00:00:00:77", "promisc": true, "mtu": 1400}));
    let bridge = chain.plugins().next().unwrap();
    let tuning = chain.plugins().nth(1).unwrap();
    let previous = chain.invocation(bridge, "ADD", &container, None).run().ok();
    let before = (eth0(&container)["address"].clone(), eth0(&container)["mtu"].clone());
    let state = lab.snapshot();
    let result = chain.invocation(tuning, "ADD", &container, Some(&previous)).run().ok();
    assert_ne!(eth0(&container)["address"], before.0);
    chain.invocation(tuning, "DEL", &container, Some(&result)).run().ok();
    assert_eq!((eth0(&container)["address"].clone(), eth0(&container)["mtu"].clone()), before);
    assert!(!has_flag(&container, "PROMISC"));
    lab.assert_as_before(&state);
}

#[test]
fn link_address_by_args_then_capability_then_environment_then_config() {
    let (args, capability, environment, config) =
        ("02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03", "02:00:00:00:00:04");
    let with_args = json!({"mac": config, "args": {"cni": {"mac": args}}});
    let plain = json!({"mac": config});
    for (keys, asked, env, want) in [
        (&with_args, json!({"mac": capability}), true, args),
        (&plain, json!({"mac": capability}), true, capability),
        (&plain, json!({}), true, environment),
        (&plain, json!({}), false, config),
    ] {
        let lab = Lab::still();
        let container = lab.container();
        let mut chain = chain(&lab, keys.clone()).capabilities(asked);
        if env {
            chain = chain.args(&format!("IgnoreUnknown=1;MAC={environment}"));
        }
        chain.attach(&container);
        assert_eq!(eth0(&container)["address"], want, "{keys}");
    }
}

#[test]
fn sysctls_by_args_alone() {
    let lab = Lab::still();
    if lab.is_reference() {
        // It panics.
        return;
    }
    let container = lab.container();
    let keys = json!({"args": {"cni": {"sysctl": {"net.core.somaxconn": "500"}, "mtu": 1400}}});
    chain(&lab, keys).attach(&container);
    assert_eq!(container.ns.sysctl("net/core/somaxconn").unwrap(), "500");
    assert_eq!(eth0(&container)["mtu"], 1400);
}

#[test]
fn detach_leaves_nothing_however_the_container_ended() {
    for end in cleat_tests::End::ALL {
        let lab = Lab::still();
        if lab.is_reference() && end != cleat_tests::End::Usual {
            // Its note of the old values stays.
            continue;
        }
        let chain = chain(&lab, json!({"mac": "02:00:00:00:00:77", "promisc": true, "mtu": 1400}));
        let before = chain.used();
        chain.comes_and_goes(end, &before);
    }
}

#[test]
fn an_earlier_result_is_passed_on() {
    let lab = Lab::still();
    let container = lab.container();
    let attached = chain(&lab, json!({})).attach(&container);
    assert_eq!(attached.addresses(), ["10.88.0.2"]);
    assert_eq!(attached.result["interfaces"].as_array().unwrap().len(), 3);
}
