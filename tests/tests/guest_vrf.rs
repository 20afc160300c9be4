//! The plugin vrf, in a kernel that has routing domains.
//@ vm-modules: vrf
//@ vm-tools: /usr/lib/cni/vrf /usr/lib/cni/ptp /usr/lib/cni/host-local

use cleat_tests::{Chain, Container, End, Lab, Programs, ranges};
use serde_json::{Value, json};

/// An interface with a default route and one more, in a routing domain.
fn network(name: &str, subnets: &[&str], vrf: Value) -> Value {
    let mut pool = ranges(subnets);
    let default = |v6: bool| if v6 { "::/0" } else { "0.0.0.0/0" };
    let routes: Vec<Value> =
        subnets.iter().map(|s| json!({"dst": default(s.contains(':'))})).collect();
    pool["routes"] = json!(routes);
    let bridge = format!("br-{name}");
    let mut chained = json!({"type": "vrf"});
    for (key, value) in vrf.as_object().unwrap() {
        chained[key] = value.clone();
    }
    json!({"cniVersion": "1.0.0", "name": name, "plugins": [
        {"type": "bridge", "bridge": bridge, "isGateway": true, "ipam": pool}, chained]})
}

const BOTH: [&str; 2] = ["10.88.0.0/24", "fd00:88::/64"];

fn table(container: &Container, vrf: &str) -> Value {
    container.ns.link(vrf).unwrap()["linkinfo"]["info_data"]["table"].clone()
}

fn routes(container: &Container, family: &str, table: &str) -> Vec<String> {
    let found = container.ns.ip_json(&format!("{family} route show table {table}"));
    let text = |route: &Value| {
        let by = route["gateway"].as_str().map(|by| format!(" via {by}")).unwrap_or_default();
        format!("{}{by}", route["dst"].as_str().unwrap())
    };
    let mut all: Vec<String> = found.as_array().unwrap().iter().map(text).collect();
    all.retain(|route| route.contains("10.88") || route.contains("fd00:88"));
    all.sort();
    all
}

#[test]
fn an_interface_is_routed_by_its_domain() {
    let lab = Lab::still();
    let chain = lab.chain(network("net", &BOTH, json!({"vrfname": "red"})));
    let container = lab.container();
    let attached = chain.attach(&container);
    assert_eq!(container.ns.link("eth0").unwrap()["master"], "red");
    assert_eq!(container.ns.link("red").unwrap()["operstate"], "UP");
    assert_eq!(table(&container, "red"), 1);
    assert_eq!(container.ns.addresses("eth0"), ["10.88.0.2/24", "fd00:88::2/64"]);
    let v4 = routes(&container, "-4", "1");
    assert!(v4.contains(&"default via 10.88.0.1".to_owned()), "{v4:?}");
    let v6 = routes(&container, "-6", "1");
    assert!(v6.contains(&"default via fd00:88::1".to_owned()), "{v6:?}");
    assert!(routes(&container, "-4", "main").is_empty());
    for gateway in ["10.88.0.1", "fd00:88::1"] {
        assert!(
            container
                .ns
                .command("ping")
                .args(["-n", "-c1", "-W2", "-I", "red", gateway])
                .output()
                .unwrap()
                .status
                .success(),
            "{gateway}"
        );
    }
    chain.check(&container, &attached).unwrap();
    container.ns.ip("link set eth0 nomaster");
    let section = chain.plugins().nth(1).unwrap().clone();
    let check = chain.invocation(&section, "CHECK", &container, Some(&attached.result));
    let text = check.run().error_text();
    assert!(text.contains("not in routing domain red"), "{text}");
    chain.detach(&container, &attached);
    assert!(container.ns.link("red").is_none());
}

/// The same addresses twice: what routing domains are for.
#[test]
fn two_interfaces_share_a_domain_or_have_one_each() {
    let lab = Lab::still();
    let container = lab.container();
    let red = lab.chain(network("one", &["10.88.0.0/24"], json!({"vrfname": "red"})));
    let also = lab.chain(network("two", &["10.99.0.0/24"], json!({"vrfname": "red"})));
    let blue =
        lab.chain(network("three", &["10.77.0.0/24"], json!({"vrfname": "blue", "table": 77})));
    let (also, blue) = (also.ifname("net1"), blue.ifname("net2"));
    let attach = |chain: &Chain<'_>| chain.attach(&container);
    let (first, second, third) = (attach(&red), attach(&also), attach(&blue));
    assert_eq!((table(&container, "red"), table(&container, "blue")), (json!(1), json!(77)));
    red.detach(&container, &first);
    assert!(container.ns.link("red").is_some(), "it has an interface left");
    also.check(&container, &second).unwrap();
    also.detach(&container, &second);
    assert!(container.ns.link("red").is_none());
    blue.check(&container, &third).unwrap();
    blue.detach(&container, &third);
    assert!(container.ns.link("blue").is_none());
}

#[test]
fn what_does_not_fit_is_refused_and_undone() {
    let lab = Lab::still();
    for (extra, code, text) in [
        (json!({}), 7, "vrfname"),
        (json!({"vrfname": "a name"}), 7, "vrfname"),
        (json!({"vrfname": "red", "table": -1}), 7, "table"),
        (json!({"vrfname": "red", "table": 254}), 7, "table"),
        (json!({"vrfname": "lo"}), 103, "lo exists"),
        (json!({"vrfname": "green", "table": 5}), 103, "table 9"),
    ] {
        let container = lab.container();
        container.ns.ip("link add green type vrf table 9");
        let chain = lab.chain(network("net", &["10.88.0.0/24"], extra.clone()));
        let section = chain.plugins().nth(1).unwrap().clone();
        let first = chain.plugins().next().unwrap().clone();
        let made = chain.invocation(&first, "ADD", &container, None).run().ok();
        let before = container.ns.ip_json("-4 route show");
        let outcome = chain.invocation(&section, "ADD", &container, Some(&made)).run();
        assert_eq!(outcome.error_code(), code, "{extra}: {outcome:?}");
        assert!(outcome.error_text().contains(text), "{extra}: {outcome:?}");
        assert_eq!(container.ns.ip_json("-4 route show"), before, "{extra}");
        chain.del(&container, None).unwrap();
    }
}

#[test]
fn detach_leaves_nothing_however_the_container_ended() {
    let lab = Lab::still();
    let chain = lab.chain(network("net", &BOTH, json!({"vrfname": "red"})));
    let before = chain.used();
    for end in End::ALL {
        chain.comes_and_goes(end, &before);
    }
}

#[test]
fn tables_are_the_references() {
    let made_by = |programs: &Programs| {
        let lab = Lab::still();
        let mut conflist = network("net", &["10.88.0.0/24"], json!({"vrfname": "red"}));
        // Its bridge executes iptables, which is not here.
        conflist["plugins"][0] = json!({"type": "ptp",
            "ipam": conflist["plugins"][0]["ipam"].clone()});
        let container = lab.container();
        let attached = lab.chain(conflist).by(programs).attach(&container);
        (
            attached.without_names(&container),
            table(&container, "red"),
            container.ns.addresses("eth0"),
        )
    };
    assert_eq!(made_by(&Programs::under_test()), made_by(&Programs::reference()));
}

#[test]
fn the_references_domain_is_taken_over() {
    let lab = Lab::still();
    let mut conflist = network("net", &["10.88.0.0/24"], json!({"vrfname": "red"}));
    conflist["plugins"][0] = json!({"type": "ptp", "ipam": conflist["plugins"][0]["ipam"].clone()});
    let chain = lab.chain(conflist);
    let container = lab.container();
    let made = chain.clone().by(&Programs::reference()).attach(&container);
    // Debian's loses the routes that are not the kernel's own.
    assert!(routes(&container, "-4", "1").iter().all(|route| !route.contains("default")));
    let section = chain.plugins().nth(1).unwrap().clone();
    chain.invocation(&section, "CHECK", &container, Some(&made.result)).run().ok();
    chain.detach(&container, &made);
    assert!(container.ns.link("red").is_none());
}
