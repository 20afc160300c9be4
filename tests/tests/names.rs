//! Names of containers, answered by netd: which there are, for whom, since when and until when.

use std::time::Duration;

use cleat_tests::{Ask, Chain, Container, Lab, Transport, ranges};
use serde_json::{Value, json};

/// A bridge network with names.
fn network(name: &str, subnets: &[&str]) -> Value {
    let bridge = format!("cl{name}");
    json!({
        "cniVersion": "1.1.0", "name": name, "plugins": [{
            "type": "bridge", "bridge": bridge, "isDefaultGateway": true, "ipMasq": true,
            "embeddedDNS": true, "ipam": ranges(subnets),
            "capabilities": {"aliases": true, "dns": true},
        }, {"type": "portmap", "capabilities": {"portMappings": true}}]
    })
}

/// A container with a name on a network.
fn attach<'l>(
    lab: &'l Lab,
    conflist: &Value,
    name: &str,
) -> (Container, Chain<'l>, cleat_tests::Attached) {
    let args = format!("IgnoreUnknown=1;K8S_POD_NAME={name}");
    let chain = lab.chain(conflist.clone()).args(&args);
    let container = lab.container();
    container.ns.ip("link set lo up");
    let attached = chain.attach(&container);
    (container, chain, attached)
}

#[test]
fn names_of_all_kinds_and_their_records() {
    let lab = Lab::new();
    let _netd = lab.netd();
    let web = network("web", &["10.61.0.0/24", "fd61::/64"]);
    let (db, _, attached) = attach(&lab, &web, "Db");
    let (asker, ..) = attach(&lab, &web, "asker");
    let (v4, v6) = (attached.v4(), attached.v6());
    let short = &db.id[..12];
    let gateway = "10.61.0.1";
    for name in ["db", "DB", "db.web", "db.web.cleat.internal", short, "dB.wEb.cleAT.internal."] {
        let a = asker.ns.look_up(gateway, name, "A");
        assert_eq!(
            (a.code.as_str(), a.data.as_slice()),
            ("No Error", std::slice::from_ref(&v4)),
            "{name}"
        );
        assert!(a.authoritative && !a.truncated && !a.edns && a.ttls == [5], "{name}: {a:?}");
        // The case of the question comes back (0x20).
        assert_eq!(a.asked.trim_end_matches('.'), name.trim_end_matches('.'), "{name}");
        assert_eq!(
            asker.ns.look_up(gateway, name, "AAAA").data,
            std::slice::from_ref(&v6),
            "{name}"
        );
    }
    // By IPv6 and by TCP the same.
    assert_eq!(asker.ns.look_up("fd61::1", "db", "A").data, std::slice::from_ref(&v4));
    let tcp = asker.ns.ask_name(&Ask::new(gateway, "db", "A").by_tcp()).unwrap();
    assert_eq!(tcp.data, std::slice::from_ref(&v4));
    // No data of other types; no such name; nothing above.
    for kind in ["MX", "TXT", "HTTPS", "SRV", "CNAME"] {
        let none = asker.ns.look_up(gateway, "db", kind);
        assert!(none.is_empty_success() && none.soa.is_some(), "{kind}: {none:?}");
    }
    for name in ["nobody", "nobody.web.cleat.internal", "x.cleat.internal"] {
        let none = asker.ns.look_up(gateway, name, "A");
        assert_eq!(none.code, "Non-Existent Domain", "{name}: {none:?}");
        assert!(none.soa.is_some() && none.authoritative, "{name}: {none:?}");
    }
    // Back from addresses to names.
    let reverse: Vec<&str> = v4.split('.').rev().collect();
    let pointer = asker.ns.look_up(gateway, &format!("{}.in-addr.arpa", reverse.join(".")), "PTR");
    assert_eq!(pointer.data, ["db.web.cleat.internal."]);
    // The host.
    for name in ["host.cleat.internal", "host.containers.internal"] {
        assert_eq!(asker.ns.look_up(gateway, name, "A").data, [gateway], "{name}");
        assert_eq!(asker.ns.look_up(gateway, name, "AAAA").data, ["fd61::1"], "{name}");
    }
    let with = asker.ns.ask_name(&Ask::new(gateway, "db", "A").edns(1232)).unwrap();
    assert!(with.edns && with.data == [v4]);
}

#[test]
fn an_ipv4_only_name_has_no_ipv6_address_and_says_so() {
    let lab = Lab::new();
    let upstream = lab.lan.name_server(Lab::LAN[0], &[]);
    let _netd = lab.netd();
    let web = network("four", &["10.62.0.0/24"]);
    let (asker, _, attached) = attach(&lab, &web, "one");
    assert_eq!(attached.result["dns"]["nameservers"], json!(["10.62.0.1"]));
    assert_eq!(attached.result["dns"]["search"], json!(["four.cleat.internal"]));
    let none = asker.ns.look_up("10.62.0.1", "one", "AAAA");
    assert!(none.is_empty_success() && none.soa.is_some(), "{none:?}");
    assert_eq!(upstream.asked(), 0, "a name of ours left the host: {:?}", upstream.names());
}

#[test]
fn shared_aliases_answer_all_addresses_shuffled_and_long_answers_are_cut() {
    let lab = Lab::new();
    let _netd = lab.netd();
    let web = network("many", &["10.63.0.0/24"]);
    let chain = lab.chain(web.clone());
    let aliased = chain.capabilities(json!({"aliases": ["pool"]}));
    // Podman's form: lists by network.
    let by_network =
        lab.chain(web.clone()).capabilities(json!({"aliases": {"many": ["pool"], "x": ["no"]}}));
    let containers: Vec<Container> = (0..40).map(|_| lab.container()).collect();
    let mut addresses: Vec<String> = Vec::new();
    for (n, container) in containers.iter().enumerate() {
        let chain = if n % 2 == 0 { &aliased } else { &by_network };
        addresses.push(chain.attach(container).v4());
    }
    addresses.sort();
    let asker = &containers[0].ns;
    let gateway = "10.63.0.1";
    let whole = asker.ask_name(&Ask::new(gateway, "pool", "A").edns(1232)).unwrap();
    assert_eq!(whole.data, addresses);
    let orders: std::collections::BTreeSet<String> =
        (0..20).map(|_| asker.sh(&format!("dig +short @{gateway} pool A | head -n 1"))).collect();
    assert!(orders.len() > 3, "always the same order: {orders:?}");
    // Without EDNS 512 bytes have to do, and the asker is told.
    let cut = asker.look_up(gateway, "pool", "A");
    assert!(cut.truncated && cut.size <= 512 && !cut.data.is_empty(), "{cut:?}");
    let stream = asker.ask_name(&Ask::new(gateway, "pool", "A").by_tcp()).unwrap();
    assert!(!stream.truncated && stream.data == addresses);
    assert_eq!(asker.look_up(gateway, "no", "A").code, "Non-Existent Domain");
}

#[test]
fn published_ports_are_services() {
    let lab = Lab::new();
    let _netd = lab.netd();
    let web = network("srv", &["10.64.0.0/24"]);
    let chain = lab.chain(web.clone()).args("IgnoreUnknown=1;K8S_POD_NAME=site").capabilities(
        json!({"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
            {"hostPort": 5353, "containerPort": 53, "protocol": "udp"},
        ]}),
    );
    let site = lab.container();
    chain.attach(&site);
    let ask = |name: &str| site.ns.look_up("10.64.0.1", name, "SRV");
    let expected = ["0 0 80 site.srv.cleat.internal."];
    for name in ["_80._tcp.site", "_http._tcp.site", "_http._tcp.site.srv.cleat.internal"] {
        assert_eq!(ask(name).data, expected, "{name}");
    }
    assert_eq!(ask("_domain._udp.site").data, ["0 0 53 site.srv.cleat.internal."]);
    for name in ["_http._udp.site", "_81._tcp.site", "_http._tcp.nobody"] {
        assert_eq!(ask(name).code, "Non-Existent Domain", "{name}");
    }
}

#[test]
fn a_container_sees_the_networks_that_it_is_on_and_no_other() {
    let lab = Lab::new();
    let _netd = lab.netd();
    let (one, two) = (network("one", &["10.65.1.0/24"]), network("two", &["10.65.2.0/24"]));
    let (only_one, ..) = attach(&lab, &one, "first");
    let (only_two, _, second) = attach(&lab, &two, "second");
    let nobody = |ns: &cleat_tests::Namespace, gateway: &str, name: &str| {
        let answer = ns.look_up(gateway, name, "A");
        assert_eq!(answer.code, "Non-Existent Domain", "{name}: {answer:?}");
    };
    nobody(&only_one.ns, "10.65.1.1", "second");
    nobody(&only_one.ns, "10.65.1.1", "second.two.cleat.internal");
    // Nor by asking at the other network's gateway, which the host would let it reach.
    let there = only_one.ns.ask_name(&Ask::new("10.65.2.1", "second", "A")).unwrap();
    assert_eq!(there.code, "Query Refused", "{there:?}");
    // On both networks, both are seen, at either gateway; and no longer once it has left.
    let both = lab.container();
    let first = lab.chain(one.clone()).args("IgnoreUnknown=1;K8S_POD_NAME=both");
    let other = lab.chain(two.clone()).args("IgnoreUnknown=1;K8S_POD_NAME=both").ifname("eth1");
    first.attach(&both);
    let on_two = other.attach(&both);
    for gateway in ["10.65.1.1", "10.65.2.1"] {
        assert_eq!(both.ns.look_up(gateway, "second", "A").data, [second.v4()], "{gateway}");
        assert_eq!(both.ns.look_up(gateway, "first.one", "A").data.len(), 1, "{gateway}");
    }
    assert_eq!(only_two.ns.look_up("10.65.2.1", "both", "A").data, [on_two.v4()]);
    other.detach(&both, &on_two);
    nobody(&both.ns, "10.65.1.1", "second");
    nobody(&only_two.ns, "10.65.2.1", "both");
}

#[test]
fn what_add_returned_resolves_and_what_del_returned_does_not() {
    let lab = Lab::new();
    let _netd = lab.netd();
    let web = network("now", &["10.66.0.0/24"]);
    let (asker, ..) = attach(&lab, &web, "asker");
    let container = lab.container();
    for n in 0..50 {
        let name = format!("c{n}");
        let args = format!("IgnoreUnknown=1;K8S_POD_NAME={name}");
        let chain = lab.chain(web.clone()).args(&args);
        let attached = chain.attach(&container);
        let answer = asker.ns.look_up("10.66.0.1", &name, "A");
        assert_eq!(answer.data, [attached.v4()], "{name} right after ADD: {answer:?}");
        chain.detach(&container, &attached);
        let answer = asker.ns.look_up("10.66.0.1", &name, "A");
        assert_eq!(answer.code, "Non-Existent Domain", "{name} right after DEL");
    }
}

#[test]
fn the_first_question_may_come_before_the_bridge() {
    let lab = Lab::new();
    // By hand in the folder of networks: nothing of it was used yet.
    let list = network("early", &["10.67.0.0/24"]);
    std::fs::write(lab.folder().join("net.d/early.conflist"), list.to_string()).unwrap();
    let _netd = lab.netd();
    // And one that nobody knows before its ADD.
    let late = network("late", &["10.67.1.0/24"]);
    for (list, gateway) in [(&list, "10.67.0.1"), (&late, "10.67.1.1")] {
        let (first, _, attached) = attach(&lab, list, "first");
        let answer = first.ns.look_up(gateway, "first", "A");
        assert_eq!(answer.data, [attached.v4()], "{gateway}");
    }
}

#[test]
fn another_server_may_have_port_53() {
    let lab = Lab::new();
    // On all addresses, as dnsmasq and Pi-hole are.
    let other = lab.host.name_server("0.0.0.0", &[("first", "192.0.2.99")]);
    let netd = lab.netd();
    let web = network("other", &["10.68.0.0/24"]);
    let (first, chain, attached) = attach(&lab, &web, "first");
    for ask in [Ask::new("10.68.0.1", "first", "A"), Ask::new("10.68.0.1", "first", "A").by_tcp()] {
        let answer = first.ns.ask_name(&ask).unwrap();
        assert_eq!(answer.data, [attached.v4()], "{ask:?}");
    }
    // The host's own addresses are the other server's as before.
    assert_eq!(lab.host.look_up("127.0.0.1", "first", "A").data, ["192.0.2.99"]);
    assert_eq!(lab.lan.look_up(Lab::HOST[0], "first", "A").data, ["192.0.2.99"]);
    assert!(netd.said().contains("names.port"), "{}", netd.said());
    // An internal network lets its questions through to that port as well.
    let mut internal = network("inner", &["10.68.1.0/24"]);
    internal["plugins"][0]["inboundPolicy"] = json!("internal");
    let (inside, _, on) = attach(&lab, &internal, "inside");
    assert_eq!(inside.ns.look_up("10.68.1.1", "inside", "A").data, [on.v4()]);
    // Published port 53 of a container takes nothing from the network's own names.
    drop(other);
    let server = lab.container();
    let publish = lab.chain(web.clone()).capabilities(json!({"portMappings": [
        {"hostPort": 53, "containerPort": 53, "protocol": "udp"},
    ]}));
    publish.attach(&server);
    assert_eq!(first.ns.look_up("10.68.0.1", "first", "A").data, [attached.v4()]);
    chain.detach(&first, &attached);
}

#[test]
fn a_restart_loses_nothing_and_names_that_came_meanwhile_are_there() {
    let lab = Lab::new();
    let netd = lab.netd();
    let web = network("again", &["10.69.0.0/24"]);
    let (asker, ..) = attach(&lab, &web, "before");
    netd.kill();
    let (_meanwhile, _, attached) = attach(&lab, &web, "meanwhile");
    let gone = asker.ns.ask_name(&Ask::new("10.69.0.1", "before", "A"));
    assert_eq!(gone.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    let netd = lab.netd();
    for name in ["before", "meanwhile"] {
        assert_eq!(asker.ns.look_up("10.69.0.1", name, "A").data.len(), 1, "{name}");
    }
    assert_eq!(asker.ns.look_up("10.69.0.1", "meanwhile", "A").data, [attached.v4()]);
    assert!(netd.stop());
    let _netd = lab.netd();
    assert_eq!(asker.ns.look_up("10.69.0.1", "before", "A").data.len(), 1);
}

#[test]
fn a_client_that_asks_once_more_never_fails_over_restarts() {
    // As resolvers do when nothing comes back.
    const AGAIN: Duration = Duration::from_secs(1);
    let lab = Lab::new();
    let mut netd = Some(lab.netd());
    let (asker, _, attached) = attach(&lab, &network("over", &["10.76.0.0/24"]), "here");
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let (asked, repeated) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut asked, mut repeated) = (0, 0);
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                let ask = Ask::new("10.76.0.1", "here", "A").within(AGAIN);
                asked += 1;
                let answer = asker.ns.ask_name(&ask).or_else(|_| {
                    repeated += 1;
                    std::thread::sleep(AGAIN);
                    asker.ns.ask_name(&ask)
                });
                assert_eq!(answer.expect("asked twice").data, [attached.v4()]);
            }
            (asked, repeated)
        });
        for _ in 0..5 {
            netd.take().unwrap().kill();
            netd = Some(lab.netd());
            std::thread::sleep(Duration::from_millis(200));
        }
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert!(repeated <= 5, "{repeated} of {asked} questions had to be repeated over 5 restarts");
}

#[test]
fn a_recreated_container_with_an_old_address_is_itself() {
    let lab = Lab::new();
    let _netd = lab.netd();
    let one = network("old", &["10.70.0.0/29"]);
    let two = network("secret", &["10.70.1.0/24"]);
    let (_hidden, ..) = attach(&lab, &two, "hidden");
    // The first one is on both networks, and goes.
    let before = lab.container();
    let first = lab.chain(one.clone()).args("IgnoreUnknown=1;K8S_POD_NAME=before");
    let other = lab.chain(two.clone()).ifname("eth1");
    let (on_one, on_two) = (first.attach(&before), other.attach(&before));
    assert_eq!(before.ns.look_up("10.70.0.1", "hidden", "A").data.len(), 1);
    other.detach(&before, &on_two);
    first.detach(&before, &on_one);
    // The second one gets the same address, and sees nothing of what the first one saw.
    let mut with_address = one.clone();
    with_address["plugins"][0]["capabilities"]["ips"] = json!(true);
    let again = lab
        .chain(with_address)
        .args("IgnoreUnknown=1;K8S_POD_NAME=after")
        .capabilities(json!({"ips": [on_one.v4()]}));
    let after = lab.container();
    assert_eq!(again.attach(&after).v4(), on_one.v4());
    assert_eq!(after.ns.look_up("10.70.0.1", "hidden", "A").code, "Non-Existent Domain");
    assert_eq!(after.ns.look_up("10.70.0.1", "before", "A").code, "Non-Existent Domain");
    assert_eq!(after.ns.look_up("10.70.0.1", "after", "A").data, [on_one.v4()]);
}

#[test]
fn whoever_a_container_asks_it_is_answered_here_where_that_is_wanted() {
    let lab = Lab::new();
    let outside =
        lab.lan.name_server(Lab::LAN[0], &[("inside", "192.0.2.99"), ("example.com", "192.0.2.7")]);
    let _netd = lab.netd();
    let mut web = network("icept", &["10.71.0.0/24", "fd71::/64"]);
    web["plugins"][0]["dnsIntercept"] = json!(true);
    let (inside, _, attached) = attach(&lab, &web, "inside");
    for server in [Lab::LAN[0], Lab::LAN[1], "192.0.2.200"] {
        let answer = inside.ns.look_up(server, "inside", "A");
        assert_eq!(answer.data, [attached.v4()], "{server}");
        let tcp = inside.ns.ask_name(&Ask::new(server, "inside", "A").by_tcp()).unwrap();
        assert_eq!(tcp.data, [attached.v4()], "{server}");
    }
    assert!(outside.names().is_empty(), "{:?}", outside.names());
    // What is not ours is asked for on its behalf.
    assert_eq!(inside.ns.look_up(Lab::LAN[0], "example.com", "A").data, ["192.0.2.7"]);
}

#[test]
fn strangers_are_refused() {
    let lab = Lab::new();
    let upstream = lab.lan.name_server(Lab::LAN[0], &[("example.com", "192.0.2.7")]);
    let _netd = lab.netd();
    let web = network("shut", &["10.72.0.0/24"]);
    let (_container, _, attached) = attach(&lab, &web, "one");
    lab.route_from_lan("10.72.0.0/24");
    for name in ["one", "example.com"] {
        let answer =
            lab.lan.ask_name(&Ask::new("10.72.0.1", name, "A").within(Duration::from_secs(2)));
        assert!(answer.is_err() || answer.as_ref().unwrap().code == "Query Refused", "{answer:?}");
    }
    assert_eq!(upstream.asked(), 0);
    // The host itself may ask.
    assert_eq!(lab.host.look_up("10.72.0.1", "one", "A").data, [attached.v4()]);
    assert_eq!(lab.host.look_up("10.72.0.1", "example.com", "A").data, ["192.0.2.7"]);
}

#[test]
fn macvlan_containers_ask_inside_and_keep_their_own_port_53() {
    let lab = Lab::new();
    let netd = lab.netd();
    let list = json!({
        "cniVersion": "1.1.0", "name": "lan", "plugins": [{
            "type": "macvlan", "master": "eth0", "embeddedDNS": true,
            "ipam": ranges(&["192.0.2.128/25"]),
        }]
    });
    let (one, chain, first) = attach(&lab, &list, "one");
    assert_eq!(first.result["dns"]["nameservers"], json!(["127.0.0.11"]));
    let (_two, _, second) = attach(&lab, &list, "two");
    assert_eq!(one.ns.look_up("127.0.0.11", "two", "A").data, [second.v4()]);
    let tcp = one.ns.ask_name(&Ask::new("127.0.0.11", "two", "A").by_tcp()).unwrap();
    assert_eq!(tcp.data, [second.v4()]);
    // Its own server on port 53 of all addresses.
    let own = one.ns.name_server("0.0.0.0", &[("mine", "192.0.2.55")]);
    assert_eq!(one.ns.look_up("127.0.0.1", "mine", "A").data, ["192.0.2.55"]);
    assert_eq!(one.ns.look_up("127.0.0.11", "two", "A").data, [second.v4()]);
    drop(own);
    // Its own flush takes nothing away where tables can be owned.
    one.ns.sh("nft flush ruleset");
    assert_eq!(one.ns.look_up("127.0.0.11", "two", "A").data, [second.v4()]);
    // The daemon comes back, and asks nobody.
    netd.kill();
    let _netd = lab.netd();
    assert_eq!(one.ns.look_up("127.0.0.11", "two", "A").data, [second.v4()]);
    // A namespace that is deleted is not held.
    chain.detach(&one, &first);
    one.ns.delete();
}

#[test]
fn the_dnsname_plugin_registers_names_behind_any_bridge() {
    let lab = Lab::new();
    let _netd = lab.netd();
    let list = json!({
        "cniVersion": "0.4.0", "name": "old", "plugins": [
            {"type": "bridge", "bridge": "clold", "isGateway": true, "ipam": ranges(&["10.73.0.0/24"])},
            {"type": "dnsname", "domainName": "dns.example", "capabilities": {"aliases": true}},
        ]
    });
    let chain = lab
        .chain(list)
        .args("IgnoreUnknown=1;K8S_POD_NAME=web")
        .capabilities(json!({"aliases": {"old": ["www"]}}));
    let web = lab.container();
    let attached = chain.attach(&web);
    assert_eq!(attached.result["dns"]["nameservers"], json!(["10.73.0.1"]));
    assert_eq!(attached.result["dns"]["search"], json!(["dns.example"]));
    for name in ["web", "www", "web.dns.example", "www.dns.example", "web.old.cleat.internal"] {
        assert_eq!(web.ns.look_up("10.73.0.1", name, "A").data, [attached.v4()], "{name}");
    }
    assert_eq!(web.ns.look_up("10.73.0.1", "x.dns.example", "A").code, "Non-Existent Domain");
    chain.detach(&web, &attached);
    let again = chain.attach(&web);
    assert_eq!(web.ns.look_up("10.73.0.1", "www", "A").data, [again.v4()]);
    chain.detach(&web, &again);
}

#[test]
fn without_netd_containers_come_and_go_as_fast() {
    let lab = Lab::new();
    let web = network("alone", &["10.74.0.0/24"]);
    let (container, chain, attached) = attach(&lab, &web, "one");
    assert!(container.ns.ping("10.74.0.1"));
    assert!(container.ns.ask(Transport::Udp, "10.74.0.1:53").is_err());
    chain.detach(&container, &attached);
}

#[test]
fn a_container_on_the_hosts_network_has_a_name_where_the_host_asks() {
    let lab = Lab::new();
    let _netd = lab.netd();
    let (one, _, attached) = attach(&lab, &network("near", &["10.75.0.0/24"]), "one");
    let config = json!({
        "cniVersion": "1.1.0", "name": "host", "type": "host", "embeddedDNS": true,
    });
    let call = |verb: &str| {
        lab.plugin("host")
            .command(verb)
            .env("CNI_CONTAINERID", "a-container-of-the-host")
            .env("CNI_IFNAME", "eth0")
            .netns(lab.host.path())
            .args("IgnoreUnknown=1;K8S_POD_NAME=agent")
            .config(&config)
            .run()
            .ok()
    };
    call("ADD");
    let host = &lab.host;
    assert!(host.look_up("10.75.0.1", "agent", "A").data.contains(&Lab::HOST[0].to_owned()));
    assert_eq!(host.look_up("10.75.0.1", "one", "A").data, [attached.v4()]);
    // It is on no network of the others'.
    assert_eq!(one.ns.look_up("10.75.0.1", "agent", "A").code, "Non-Existent Domain");
    call("DEL");
    assert_eq!(host.look_up("10.75.0.1", "agent", "A").code, "Non-Existent Domain");
}
