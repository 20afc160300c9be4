//! The bit of the packet mark by which what we let through passes other programs' firewalls: to
//! containers and to what the host serves them, and which bit it is.

use std::fs;

use cleat_tests::{Chain, Lab, Transport, ranges};
use serde_json::json;

/// What `ufw enable` comes to.
const UFW: &str = "for t in iptables ip6tables; do \
    $t -P INPUT DROP; $t -P FORWARD DROP; $t -A INPUT -i lo -j ACCEPT; \
    $t -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; \
    $t -A INPUT -p tcp --dport 22 -j ACCEPT; done; \
    ip6tables -A INPUT -p ipv6-icmp -j ACCEPT";
const LIST: &str = "iptables -S; ip6tables -S";

fn chain(lab: &Lab, extra: serde_json::Value) -> Chain<'_> {
    let mut bridge = json!({"type": "bridge", "bridge": "br0", "isDefaultGateway": true,
        "ipMasq": true, "ipam": ranges(&["10.88.0.0/24", "fd00:88::/64"])});
    for (key, value) in extra.as_object().unwrap() {
        bridge[key] = value.clone();
    }
    lab.chain(json!({"cniVersion": "1.0.0", "name": "net", "plugins": [bridge]}))
}

fn uninstall(lab: &Lab) {
    let mut cleat = lab.host.command(lab.programs().path("cleat"));
    cleat.args(["uninstall", "--force"]).envs(lab.environment());
    let output = cleat.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_the_host_serves_passes_its_input_firewall() {
    let lab = Lab::new();
    if lab.is_reference() {
        // It serves nothing.
        return;
    }
    lab.host.sh(UFW);
    let rules = lab.host.sh(LIST);
    let plain = chain(&lab, json!({}));
    let first = lab.container();
    plain.attach(&first);
    assert!(!lab.host.sh("iptables -S INPUT").contains("0x800"), "there is nothing to let in yet");
    let _names = lab.host.serve(53);
    let _secret = lab.host.serve(7000);
    first.ns.ask(Transport::Tcp, "10.88.0.1:53").unwrap_err();

    // A network with names is answered at its gateways' port 53.
    for extra in
        [json!({"embeddedDNS": true}), json!({"embeddedDNS": true, "inboundPolicy": "internal"})]
    {
        let container = lab.container();
        chain(&lab, extra.clone()).attach(&container);
        for by in [Transport::Tcp, Transport::Udp] {
            for to in ["10.88.0.1:53", "[fd00:88::1]:53"] {
                container.ns.ask(by, to).unwrap_or_else(|e| panic!("{extra} {by:?} {to}: {e}"));
            }
        }
        for to in ["10.88.0.1:7000", "[fd00:88::1]:7000"] {
            container.ns.ask(Transport::Tcp, to).unwrap_err();
        }
        lab.lan.ask(Transport::Tcp, "192.0.2.1:53").unwrap_err();
    }
    // The administrator's tools still read and write the tables.
    for line in rules.lines() {
        assert!(lab.host.sh(LIST).contains(line), "{line}");
    }
    lab.host.sh("iptables -C INPUT -m mark --mark 0x800/0x800 -j ACCEPT");
    lab.host.sh("iptables -A INPUT -s 10.77.0.0/24 -j DROP");
    lab.host.sh("iptables -D INPUT -s 10.77.0.0/24 -j DROP");
    uninstall(&lab);
    assert_eq!(lab.host.sh(LIST), rules);
}

#[test]
fn the_bit_is_the_administrators_to_choose() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    lab.host.sh(UFW);
    let rules = lab.host.sh(LIST);
    let choose = |text: &str| fs::write(lab.folder().join("config.json"), text).unwrap();
    // Kept: a namespace that is gone takes its link along at some later time.
    let mut containers = Vec::new();
    let mut reached = |chain: &Chain<'_>| {
        let container = lab.container();
        chain.attach(&container);
        container.ns.ask(Transport::Tcp, "192.0.2.2:9000").unwrap();
        container.ns.ask(Transport::Tcp, "[2001:db8::2]:9000").unwrap();
        containers.push(container);
        lab.host.sh("iptables -S FORWARD; nft list table inet cleat")
    };
    let _lan = lab.lan.serve(9000);
    let chain = chain(&lab, json!({}));
    let seen = reached(&chain);
    assert!(seen.contains("0x800/0x800") && seen.contains("0x00000800"), "{seen}");

    // Changed while the tables stand, and back.
    for (text, listed, laid) in [
        (r#"{"mark": "0x100000"}"#, "0x100000/0x100000", "0x00100000"),
        (r#"{"mark": 64}"#, "0x40/0x40", "0x00000040"),
        ("{}", "0x800/0x800", "0x00000800"),
    ] {
        choose(text);
        let seen = reached(&chain);
        assert!(seen.contains(listed) && seen.contains(laid), "{text}: {seen}");
        assert_eq!(seen.matches("--mark").count(), 1, "{text}: {seen}");
    }

    choose(r#"{"mark": "0x1800"}"#);
    let before = lab.snapshot();
    let refused = chain.add(&lab.container()).unwrap_err();
    assert_eq!(refused.error_code(), 7);
    for named in ["config.json", "mark", "0x1800", "one bit"] {
        assert!(refused.error_text().contains(named), "{named}: {}", refused.error_text());
    }
    lab.assert_as_before(&before);
    choose("{}");
    uninstall(&lab);
    assert_eq!(lab.host.sh(LIST), rules);
}
