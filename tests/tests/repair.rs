//! A node that is put right: whatever is taken from containers comes back, whatever belongs to
//! nobody goes, and what is somebody else's stays.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cleat_tests::{Attached, Chain, Container, Lab, Outcome, Transport, ranges};
use serde_json::{Value, json};

fn conflist(extra: Value) -> Value {
    let mut bridge = json!({"type": "bridge", "bridge": "br0", "isDefaultGateway": true,
        "ipMasq": true, "mtu": 1400, "inboundPolicy": "published",
        "ipam": ranges(&["10.88.0.0/24", "fd00:88::/64"])});
    for (key, value) in extra.as_object().unwrap() {
        bridge[key] = value.clone();
    }
    json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
        bridge, {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "firewall"}, {"type": "tuning", "mtu": 1300}]})
}

fn chain(lab: &Lab) -> Chain<'_> {
    lab.chain(conflist(json!({})))
}

fn publishing(lab: &Lab, port: u16) -> Chain<'_> {
    chain(lab).capabilities(json!({"portMappings": [
        {"hostPort": port, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": port, "containerPort": 80, "protocol": "udp"}]}))
}

/// `cleat LINE` on the lab's host.
fn cleat(lab: &Lab, line: &str, env: &[(&str, &str)]) -> Outcome {
    Outcome::of(lab.cleat(line).envs(env.iter().copied()))
}

/// What `cleat gc` found, as "kind name: why", and mended unless it is told not to.
#[track_caller]
fn found(lab: &Lab, line: &str) -> BTreeSet<String> {
    let found = cleat(lab, &format!("--format json {line}"), &[]).ok();
    let text = |f: &Value| {
        let part = |key: &str| f[key].as_str().unwrap().to_owned();
        format!("{} {}: {}", part("kind"), part("name"), part("why"))
    };
    found.as_array().unwrap().iter().map(text).collect()
}

/// The record of an attachment.
fn record(lab: &Lab, container: &Container) -> PathBuf {
    let records = fs::read_dir(lab.folder().join("run/attachments")).unwrap();
    records
        .map(|entry| entry.unwrap().path())
        .find(|path| fs::read_to_string(path).unwrap().contains(&container.id))
        .unwrap()
}

fn host_end(attached: &Attached) -> String {
    attached.result["interfaces"][1]["name"].as_str().unwrap().to_owned()
}

/// Waits for an event, with a deadline.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_whole_node_has_nothing_to_mend() {
    for (name, extra) in [
        ("plain", json!({})),
        ("open", json!({"inboundPolicy": "open", "isDefaultGateway": false, "isGateway": true})),
        ("internal", json!({"inboundPolicy": "internal", "isDefaultGateway": false})),
        ("strict", json!({"macspoofchk": true, "portIsolation": true})),
        ("free", json!({"antiSpoof": "off", "permanentNeighbours": false, "ipMasq": false})),
        ("no gateway", json!({"isDefaultGateway": false, "hairpinMode": true})),
    ] {
        let lab = Lab::new();
        if lab.is_reference() {
            return;
        }
        let chain = lab.chain(conflist(extra)).capabilities(json!({"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "192.0.2.1"},
            {"hostPort": 8081, "containerPort": 80, "protocol": "sctp"}]}));
        let plain = chain.clone().capabilities(json!({}));
        let containers = [lab.container(), lab.container(), lab.container()];
        chain.attach(&containers[0]);
        let others: Vec<_> = containers[1..].iter().map(|c| plain.attach(c)).collect();
        assert_eq!(found(&lab, "gc"), BTreeSet::new(), "{name}");
        plain.detach(&containers[1], &others[0]);
        assert_eq!(found(&lab, "gc"), BTreeSet::new(), "{name}, with one detached");
    }
}

#[test]
fn a_whole_node_of_other_networks_has_nothing_to_mend() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let conditional = lab
        .chain(json!({"cniVersion": "1.0.0", "name": "cond", "plugins": [
            {"type": "bridge", "bridge": "br1", "isDefaultGateway": true, "ipMasq": true,
                "ipam": ranges(&["10.89.0.0/24"])},
            {"type": "portmap", "capabilities": {"portMappings": true},
                "conditionsV4": ["-s", "192.0.2.0/24"]}]}))
        .capabilities(json!({"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}));
    let macvlan = lab.chain(json!({"cniVersion": "1.0.0", "name": "wire", "plugins": [
        {"type": "macvlan", "master": "eth0", "hostAccess": true, "ipMasq": true,
            "ipam": ranges(&["192.0.2.128/28"])}, {"type": "firewall"}]}));
    let containers = [lab.container(), lab.container()];
    conditional.attach(&containers[0]);
    macvlan.attach(&containers[1]);
    assert_eq!(found(&lab, "gc"), BTreeSet::new());
}

/// What others do, by shell lines in which `VETH` is the host end's name, and what is found then.
const DAMAGES: &[(&str, &str)] = &[
    (
        "nft flush ruleset; iptables -P FORWARD DROP; ip6tables -P FORWARD DROP",
        "ruleset inet cleat: somebody flushed it",
    ),
    ("nft delete table bridge cleat", "ruleset bridge cleat: somebody flushed it"),
    ("nft flush chain inet cleat forward", "chain forward has 0 rules instead of"),
    ("nft insert rule inet cleat into_published accept", "chain into_published has"),
    ("nft flush set inet cleat masq4", "set masq4 lacks its element"),
    ("nft flush map inet cleat any4", "set any4 lacks its element"),
    ("nft flush map inet cleat into", "set into lacks br0"),
    ("nft delete element bridge cleat held_mac { $(cat /sys/class/net/br0/address) }", "held_mac"),
    (
        "nft add element inet cleat masq4 { 10.88.0.77 }",
        "1 elements of set masq4 belong to nothing",
    ),
    ("ip link del br0", "bridge br0: the bridge was deleted"),
    ("ip link set br0 down", "bridge br0: the bridge is down"),
    ("ip addr del 10.88.0.1/24 dev br0", "address 10.88.0.1/24 was deleted"),
    ("ip addr flush dev br0 scope global", "address fd00:88::1/64 was deleted"),
    ("ip link set br0 mtu 1280", "its MTU is 1280 instead of 1400"),
    ("ip link set br0 address 02:00:00:00:00:01", "its link address is another than"),
    ("ip link set VETH nomaster", "its link VETH is down or not in bridge br0"),
    ("ip link set VETH down", "its link VETH is down or not in bridge br0"),
    ("ip neigh flush dev br0 nud permanent", "its permanent neighbour entries on br0"),
    ("sysctl -qw net.ipv4.ip_forward=0", "forwarding IPv4: forwarding was switched off"),
    ("sysctl -qw net.ipv6.conf.all.forwarding=0", "forwarding IPv6: forwarding was"),
    ("sysctl -qw net.ipv4.conf.br0.route_localnet=0", "link br0: route_localnet"),
    ("iptables -F FORWARD", "ruleset ip filter FORWARD: the rule that lets"),
];

#[test]
fn what_others_take_away_comes_back() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    lab.host.sh("iptables -P FORWARD DROP; ip6tables -P FORWARD DROP");
    let chain = publishing(&lab, 8080);
    let container = lab.container();
    let attached = chain.attach(&container);
    let _server = container.ns.serve(80);
    let veth = host_end(&attached);
    let whole = lab.snapshot();
    let works = |what: &str| {
        for to in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
            let answer = lab.lan.ask(Transport::Tcp, to);
            answer.unwrap_or_else(|e| panic!("{what}: {to}: {e}"));
        }
        assert!(container.ns.ping(Lab::LAN[0]), "{what}: out");
        assert!(lab.host.ask(Transport::Tcp, "127.0.0.1:8080").is_ok(), "{what}: localhost");
    };
    works("before");
    for (damage, expected) in DAMAGES {
        lab.host.sh(&damage.replace("VETH", &veth));
        let expected = expected.replace("VETH", &veth);
        let told = found(&lab, "gc --dry-run");
        assert!(told.iter().any(|f| f.contains(&expected)), "{damage}: {told:#?}");
        let doctor = cleat(&lab, "doctor", &[]);
        assert!(
            doctor.code == Some(1) && doctor.stdout.contains(&expected),
            "{damage}: {doctor:?}"
        );
        found(&lab, "gc");
        let difference = lab.changes(&whole);
        assert!(difference.is_empty(), "{damage}: not as before:\n{difference}");
        assert_eq!(found(&lab, "gc"), BTreeSet::new(), "{damage}");
        works(damage);
    }
    chain.detach(&container, &attached);
}

#[test]
fn what_others_take_from_a_routed_container_comes_back() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let mut ipam = ranges(&["10.88.0.0/24", "fd00:88::/64"]);
    ipam["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    let chain = lab.chain(json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
        {"type": "ptp", "ipMasq": true, "ipam": ipam}]}));
    let container = lab.container();
    let attached = chain.attach(&container);
    let veth = attached.result["interfaces"][0]["name"].as_str().unwrap().to_owned();
    let whole = lab.snapshot();
    assert_eq!(found(&lab, "gc"), BTreeSet::new());
    for (damage, expected) in [
        ("ip link set VETH down", "is down"),
        ("ip addr flush dev VETH scope global", "lacks the gateway's address"),
        ("ip route del 10.88.0.2", "has no route to 10.88.0.2"),
        ("ip -6 route del fd00:88::2", "has no route to fd00:88::2"),
        ("sysctl -qw net.ipv4.ip_forward=0", "forwarding was switched off"),
        ("nft flush ruleset", "somebody flushed it"),
    ] {
        lab.host.sh(&damage.replace("VETH", &veth));
        let told = found(&lab, "gc");
        assert!(told.iter().any(|f| f.contains(expected)), "{damage}: {told:#?}");
        let difference = lab.changes(&whole);
        assert!(difference.is_empty(), "{damage}: not as before:\n{difference}");
        // The kernel notices within a second that the container's end has its carrier back.
        for to in Lab::LAN {
            wait_until(&format!("{damage}: {to}"), || container.ns.ping(to));
        }
    }
    chain.detach(&container, &attached);
}

#[test]
fn a_container_that_is_gone_is_released() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let before = publishing(&lab, 8080).used();
    let containers = [lab.container(), lab.container()];
    let first = publishing(&lab, 8080).attach(&containers[0]);
    let attached = publishing(&lab, 8081).attach(&containers[1]);
    let link = host_end(&first);
    containers[0].ns.delete();
    wait_until("the kernel has taken the link away", || lab.host.link(&link).is_none());
    let told = found(&lab, "gc");
    let gone = told.iter().filter(|f| f.contains(&containers[0].id) && f.contains("is gone"));
    assert_eq!((gone.count(), told.len()), (1, 1), "{told:?}");
    assert_eq!(lab.leased("net").len(), 2, "the other one's");
    assert_eq!(found(&lab, "gc"), BTreeSet::new());
    publishing(&lab, 8081).detach(&containers[1], &attached);
    lab.assert_as_before(&before);
}

#[test]
fn an_interrupted_attach_is_taken_back() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let before = publishing(&lab, 8080).used();
    let container = lab.container();
    publishing(&lab, 8080).attach(&container);
    // What a process leaves that is killed before its last step.
    let path = record(&lab, &container);
    let mut note: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    note["link"]["phase"] = json!("adding");
    fs::write(&path, note.to_string()).unwrap();
    let told = found(&lab, "gc");
    assert!(told.iter().any(|f| f.contains("its making was interrupted")), "{told:?}");
    lab.assert_as_before(&before);
    assert!(container.ns.link("eth0").is_none());
}

#[test]
fn records_of_an_earlier_boot_are_dropped_with_their_leases() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let container = lab.container();
    publishing(&lab, 8080).attach(&container);
    let kernel = lab.snapshot().kernel();
    let later = [("CLEAT_BOOT_ID", "another")];
    let outcome = cleat(&lab, "gc", &later);
    assert!(outcome.stdout.contains("before the host was started"), "{outcome:?}");
    assert_eq!(lab.leased("net"), [""; 0]);
    assert_eq!(fs::read_dir(lab.folder().join("run/attachments")).unwrap().count(), 0);
    // What has a name like one of that boot's is not known to be of it.
    let left = lab.snapshot().kernel();
    assert!(left.difference(&kernel).lines().all(|line| line.contains("element")), "links stay");
}

#[test]
fn a_leaked_link_goes_only_when_it_is_nobodys() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let chain = chain(&lab);
    let (lost, stays) = (lab.container(), lab.container());
    let attached = chain.attach(&lost);
    chain.attach(&stays);
    let link = host_end(&attached);
    fs::remove_file(record(&lab, &lost)).unwrap();
    found(&lab, "gc");
    assert!(lab.host.link(&link).is_some(), "its lease says that somebody may use it");
    assert!(lost.ns.ping("10.88.0.1"));
    for address in attached.addresses() {
        fs::remove_file(lab.leases("net").join(address)).unwrap();
    }
    let told = found(&lab, "gc");
    assert_eq!(told, [format!("link {link}: it belongs to no attachment")].into());
    assert!(lab.host.link(&link).is_none());
    assert!(stays.ns.ping("10.88.0.1"));
}

#[test]
fn what_is_somebody_elses_is_not_touched() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let container = lab.container();
    let attached = chain(&lab).attach(&container);
    lab.host.nft(
        "table inet other { set s { type ipv4_addr; elements = { 10.0.0.1 }; }
            chain c { type filter hook forward priority 5; counter accept; }; };
         table ip cleat { chain x { accept; }; };
         table inet cleat { chain mine { accept; }; set extra { type ipv4_addr; elements = { 10.0.0.2 }; }; };",
    );
    // Named as ours are, in our bridge and outside of it.
    lab.host.ip("link add veth0123456789a type veth peer name other0");
    lab.host.ip("link set veth0123456789a master br0");
    lab.host.ip("link add vethabcdef01234 type veth peer name other1");
    lab.host.ip("link add clother type bridge");
    lab.host.ip("addr add 10.88.7.1/32 dev br0");
    lab.host.ip("neigh add 10.88.0.200 lladdr 02:00:00:00:00:99 nud permanent dev br0");
    let before = lab.snapshot();
    assert_eq!(found(&lab, "gc"), BTreeSet::new());
    lab.assert_as_before(&before);
    // Nor when there is something to mend beside it.
    lab.host.sh("nft flush chain inet cleat forward; ip addr del fd00:88::1/64 dev br0");
    assert!(!found(&lab, "gc").is_empty());
    let difference = lab.changes(&before);
    assert!(difference.is_empty(), "{difference}");
    chain(&lab).detach(&container, &attached);
}

#[test]
fn a_port_that_nobody_holds_can_be_published() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let (holder, container) = (lab.container(), lab.container());
    publishing(&lab, 8080).attach(&holder);
    lab.host.nft(
        "add element inet cleat any4 { tcp . 9090 comment \"net/gone/eth0\" : 10.88.0.99 . 80 }",
    );
    publishing(&lab, 9090).attach(&container);
    let _server = container.ns.serve(80);
    lab.lan.ask(Transport::Tcp, "192.0.2.1:9090").unwrap();
    // One that somebody holds cannot.
    let other = lab.container();
    let text = publishing(&lab, 8080).add(&other).unwrap_err().error_text();
    assert!(text.contains(&holder.id), "{text}");
}

/// Whatever is found while others attach and detach is theirs in the making, and no damage.
#[test]
fn beside_attach_and_detach_nothing_is_found_nor_lost() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let before = publishing(&lab, 9000).used();
    let stays = lab.container();
    let attached = publishing(&lab, 8080).attach(&stays);
    let server = stays.ns.serve(80);
    let containers: Vec<Container> = (0..10).map(|_| lab.container()).collect();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let survey = scope.spawn(|| {
            let mut told = BTreeSet::new();
            let mut rounds = 0;
            while !is_done.load(Ordering::Relaxed) {
                told.append(&mut found(&lab, "gc"));
                rounds += 1;
            }
            (told, rounds)
        });
        let attached = cleat_tests::at_once(&containers, |index, container| {
            let chain = publishing(&lab, 9000 + u16::try_from(index).unwrap());
            for _ in 0..5 {
                let attached = chain.attach(container);
                assert!(container.ns.ping("10.88.0.1"), "{index}: attached, and cut off");
                chain.check(container, &attached).unwrap();
                chain.detach(container, &attached);
            }
        });
        drop(attached);
        is_done.store(true, Ordering::Relaxed);
        let (told, rounds) = survey.join().unwrap();
        assert_eq!(told, BTreeSet::new(), "in {rounds} rounds");
        assert!(rounds > 3, "{rounds}");
    });
    lab.lan.ask(Transport::Tcp, "192.0.2.1:8080").unwrap();
    drop(server);
    publishing(&lab, 8080).detach(&stays, &attached);
    assert_eq!(found(&lab, "gc"), BTreeSet::new());
    lab.assert_as_before(&before);
}
