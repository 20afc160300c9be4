//! Hosts that run dockerd, firewalld or an nftables ruleset of their own: containers work, and
//! so does what was there.

use std::fs;

use cleat_tests::{
    Chain, Daemon, Enclosure, Lab, Transport, busybox_root, ranges, require, wait_until,
};
use serde_json::{Value, json};

const BOTH: [Transport; 2] = [Transport::Tcp, Transport::Udp];

fn chain<'l>(lab: &'l Lab, extra: Value) -> Chain<'l> {
    let mut bridge = json!({"type": "bridge", "bridge": "br0", "isDefaultGateway": true,
        "ipMasq": true, "hairpinMode": true, "ipam": ranges(&["10.88.0.0/24", "fd00:88::/64"])});
    for (key, value) in extra.as_object().unwrap() {
        bridge[key] = value.clone();
    }
    lab.chain(json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
        bridge, {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "firewall"}]}))
        .capabilities(json!({"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
            {"hostPort": 8080, "containerPort": 80, "protocol": "udp"}]}))
}

/// Out, in by a published port, from the host and to itself, in both families.
#[track_caller]
fn assert_works(lab: &Lab, container: &cleat_tests::Container) {
    let _server = container.ns.serve(80);
    let _lan = lab.lan.serve(9000);
    for by in BOTH {
        for to in ["192.0.2.2:9000", "[2001:db8::2]:9000"] {
            container.ns.ask(by, to).unwrap_or_else(|e| panic!("out {by:?} {to}: {e}"));
        }
        for to in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
            lab.lan.ask(by, to).unwrap_or_else(|e| panic!("in {by:?} {to}: {e}"));
            container.ns.ask(by, to).unwrap_or_else(|e| panic!("hairpin {by:?} {to}: {e}"));
        }
        lab.host.ask(by, "127.0.0.1:8080").unwrap_or_else(|e| panic!("localhost {by:?}: {e}"));
    }
}

const DOCKERD: &str = "dockerd --data-root $LAB/data --exec-root $LAB/exec \
    --host unix://$LAB/docker.sock --pidfile $LAB/docker.pid --storage-driver vfs";
const DOCKER: &str = "DOCKER_CONFIG=$LAB/config DOCKER_API_VERSION=1.41 docker \
    --host unix://$LAB/docker.sock";

#[test]
fn dockerd() {
    require(&[("dockerd", "docker.io"), ("runc", "runc")]);
    let lab = Lab::new();
    let enclosure = Enclosure::new(&lab, "");
    busybox_root(&enclosure.folder().join("root"));
    let docker = |line: &str| enclosure.sh(&format!("{DOCKER} {line}"));
    let works = || docker("run --rm lab /bin/ping -c 1 -W 2 192.0.2.2");
    let daemon = enclosure.daemon(DOCKERD, &format!("{DOCKER} info"));
    enclosure.sh(&format!("tar -C $LAB/root -c . | {DOCKER} import - lab"));
    works();
    docker("run -d --name served -p 8090:90 lab /bin/nc -lk -p 90 -e /bin/cat");

    let chain = chain(&lab, json!({}));
    let before = chain.used();
    let container = lab.container();
    let attached = chain.attach(&container);
    assert_works(&lab, &container);
    works();
    // The administrator's tools still read the tables.
    assert!(lab.host.sh("iptables -S; iptables -t nat -S; ip6tables -S").contains("DOCKER-USER"));
    drop(daemon);
    assert_works(&lab, &container);
    let _daemon = enclosure.daemon(DOCKERD, &format!("{DOCKER} info"));
    works();
    assert_works(&lab, &container);
    docker("network create other");
    docker("run --rm --network other lab /bin/ping -c 1 -W 2 192.0.2.2");
    docker("network rm other");
    docker("rm -f served");
    chain.detach(&container, &attached);
    let left = lab.additions(&before);
    let ours = left.lines().filter(|line| !line.contains("DOCKER") && !line.contains("docker0"));
    assert_eq!(ours.collect::<Vec<_>>(), [""; 0]);
}

/// firewalld talks to a system bus: one of its own.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen>
<auth>EXTERNAL</auth><policy context="default"><allow user="*"/><allow own="*"/>
<allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>"#;

/// A host with firewalld, after these shell lines. Both daemons run until dropped.
fn with_firewalld(lab: &Lab, lines: &str) -> (Enclosure, [Daemon; 2]) {
    require(&[("firewalld", "firewalld"), ("dbus-daemon", "dbus")]);
    let enclosure = Enclosure::new(
        lab,
        &format!(
            "mkdir -p $LAB/etc /run/dbus /run/firewalld
            cp -a /etc/firewalld/. $LAB/etc/ && mount --bind $LAB/etc /etc/firewalld
            {lines}"
        ),
    );
    fs::write(enclosure.folder().join("bus.conf"), BUS).unwrap();
    let bus = enclosure.daemon(
        "dbus-daemon --config-file=$LAB/bus.conf --nofork --nopidfile",
        "test -S /run/dbus/system_bus_socket",
    );
    let firewalld = enclosure.daemon(FIREWALLD, "firewall-cmd --state");
    (enclosure, [firewalld, bus])
}

const FIREWALLD: &str = "firewalld --nofork --nopid --log-file=$LAB/firewalld.own.log";

#[test]
fn firewalld() {
    let lab = Lab::new();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let zone = format!("cp {examples}/firewalld/cleat.xml /etc/firewalld/zones/");
    let (enclosure, _daemons) = with_firewalld(&lab, &zone);
    let rules = enclosure.sh("firewall-cmd --list-all");
    // Bridges of networks made by the command begin with "cl".
    let chain = chain(&lab, json!({"bridge": "clbr0"}));
    let container = lab.container();
    let attached = chain.attach(&container);
    assert_works(&lab, &container);
    let _secret = lab.host.serve(7000);
    lab.lan.ask(Transport::Tcp, "192.0.2.1:7000").unwrap_err();
    enclosure.sh("firewall-cmd --reload");
    assert_works(&lab, &container);
    assert_eq!(enclosure.sh("firewall-cmd --list-all"), rules);
    chain.detach(&container, &attached);
}

/// Bridges of other names are in no zone until netd puts them into one.
#[test]
fn firewalld_and_netd() {
    const ZONE: &str = "firewall-cmd --get-zone-of-interface=br7 2>&1 || true";
    let lab = Lab::new();
    let (enclosure, [firewalld, _bus]) = with_firewalld(&lab, "");
    let zone = || enclosure.sh(ZONE).trim().to_owned();
    let before = enclosure.sh("firewall-cmd --list-all-zones");
    let chain = chain(&lab, json!({"bridge": "br7"}));
    let container = lab.container();
    let attached = chain.attach(&container);
    let lan = lab.lan.serve(9000);
    container.ns.ask(Transport::Tcp, "192.0.2.2:9000").unwrap_err();
    assert_eq!(zone(), "no zone");
    drop(lan);
    let netd = enclosure.daemon("$PLUGINS/netd run", "test -S $CLEAT_RUN_DIR/netd.sock");
    let is_in = |wanted: &str| {
        wait_until(&format!("br7 in {wanted}: {}", netd.said()), || zone() == wanted);
    };
    is_in("trusted");
    assert_works(&lab, &container);
    enclosure.sh("firewall-cmd --reload");
    is_in("trusted");
    assert_works(&lab, &container);
    // It forgets what it was told when it ends.
    drop(firewalld);
    let _firewalld = enclosure.daemon(FIREWALLD, "firewall-cmd --state");
    is_in("trusted");
    assert_works(&lab, &container);
    chain.detach(&container, &attached);
    enclosure.sh("$PLUGINS/cleat uninstall --force");
    is_in("no zone");
    assert_eq!(enclosure.sh("firewall-cmd --list-all-zones"), before);
}

const DROPPING: &str = "table inet site {
    chain input { type filter hook input priority 0; policy drop;
        iif lo accept; ct state established,related accept;
        meta l4proto { icmp, icmpv6 } accept; tcp dport 22 accept; }
    chain forward { type filter hook forward priority 0; policy drop;
        ct state established,related accept; EXTRA }
}";

#[test]
fn an_nftables_input_policy_of_drop() {
    let lab = Lab::new();
    let input = DROPPING.split("chain forward").next().unwrap();
    lab.host.nft(&format!("{input} }}"));
    let chain = chain(&lab, json!({}));
    let container = lab.container();
    let attached = chain.attach(&container);
    assert_works(&lab, &container);
    let _secret = lab.host.serve(7000);
    lab.lan.ask(Transport::Tcp, "192.0.2.1:7000").unwrap_err();
    chain.detach(&container, &attached);
}

/// No accept overrules a drop of another base chain: the site's own ruleset has to let the mark
/// of what was let through pass. The rule that the documentation gives is enough.
#[test]
fn an_nftables_forward_policy_of_drop_takes_one_rule() {
    let lab = Lab::new();
    lab.host.nft(&DROPPING.replace("EXTRA", ""));
    let chain = chain(&lab, json!({}));
    let container = lab.container();
    let attached = chain.attach(&container);
    let lan = lab.lan.serve(9000);
    container.ns.ask(Transport::Tcp, "192.0.2.2:9000").unwrap_err();
    assert!(container.ns.ping("10.88.0.1"), "the gateway is no forwarding");
    drop(lan);
    lab.host.nft("insert rule inet site forward meta mark & 0x800 == 0x800 accept");
    assert_works(&lab, &container);
    chain.detach(&container, &attached);
}

#[test]
fn published_policy_closes_what_is_not_published() {
    let lab = Lab::new();
    for subnet in ["10.88.0.0/24", "fd00:88::/64"] {
        lab.route_from_lan(subnet);
    }
    let chain = chain(&lab, json!({"inboundPolicy": "published"}));
    let container = lab.container();
    let attached = chain.attach(&container);
    let _secret = container.ns.serve(81);
    for by in BOTH {
        for to in [format!("{}:81", attached.v4()), format!("[{}]:81", attached.v6())] {
            lab.lan.ask(by, &to).unwrap_err();
            lab.host.ask(by, &to).unwrap_or_else(|e| panic!("the host itself {by:?} {to}: {e}"));
        }
    }
    assert_works(&lab, &container);
    chain.detach(&container, &attached);
}

#[test]
fn internal_policy_is_closed_both_ways() {
    let lab = Lab::new();
    for subnet in ["10.88.0.0/24", "fd00:88::/64"] {
        lab.route_from_lan(subnet);
    }
    let chain = chain(&lab, json!({"inboundPolicy": "internal"})).capabilities(json!({}));
    let (one, two) = (lab.container(), lab.container());
    let attached = chain.attach(&one);
    chain.attach(&two);
    let (_server, _lan, _host) = (one.ns.serve(80), lab.lan.serve(9000), lab.host.serve(7000));
    for by in BOTH {
        for to in ["192.0.2.2:9000", "[2001:db8::2]:9000"] {
            one.ns.ask(by, to).unwrap_err();
        }
        for to in [format!("{}:80", attached.v4()), format!("[{}]:80", attached.v6())] {
            lab.lan.ask(by, &to).unwrap_err();
            two.ns.ask(by, &to).unwrap_or_else(|e| panic!("neighbour {by:?} {to}: {e}"));
        }
    }
    assert!(one.ns.ping("10.88.0.1") && one.ns.ping("fd00:88::1"), "the gateway answers");
}

#[test]
fn an_administrators_rules_survive_attaches() {
    let lab = Lab::new();
    let chain = chain(&lab, json!({}));
    let (one, two) = (lab.container(), lab.container());
    let first = chain.attach(&one);
    let _lan = lab.lan.serve(9000);
    lab.host.nft("add rule inet cleat CNI-ADMIN ip daddr 192.0.2.2 tcp dport 9000 drop");
    one.ns.ask(Transport::Tcp, "192.0.2.2:9000").unwrap_err();
    let plain = chain.clone().capabilities(json!({}));
    let second = plain.attach(&two);
    two.ns.ask(Transport::Tcp, "192.0.2.2:9000").unwrap_err();
    plain.detach(&two, &second);
    chain.detach(&one, &first);
    let rules = lab.host.sh("nft list chain inet cleat CNI-ADMIN");
    assert!(rules.contains("9000 drop"), "{rules}");
}
