//! The sbr plugin: answers leave by the interface that was asked.

use cleat_tests::{Chain, Container, End, Lab, Programs, ranges};
use serde_json::{Value, json};

const FIRST: [&str; 2] = ["10.88.0.0/24", "fd00:88::/64"];
const SECOND: [&str; 2] = ["10.89.0.0/24", "fd00:89::/64"];

fn bridge(name: &str, subnets: &[&str]) -> Value {
    json!({"type": "bridge", "bridge": name, "isDefaultGateway": true, "ipam": ranges(subnets)})
}

fn network(name: &str, plugins: Value) -> Value {
    json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins})
}

fn sbr(extra: Value) -> Value {
    let mut plugin = json!({"type": "sbr"});
    for (key, value) in extra.as_object().unwrap() {
        plugin[key] = value.clone();
    }
    plugin
}

/// A second interface, routed for by source.
fn second<'l>(lab: &'l Lab, subnets: &[&str], extra: Value) -> Chain<'l> {
    lab.chain(network("second", json!([bridge("br1", subnets), sbr(extra)]))).ifname("net1")
}

fn rules(container: &Container) -> Vec<Value> {
    let of = |family: &str| container.ns.ip_json(&format!("{family} rule"));
    [of("-4"), of("-6")].iter().flat_map(|all| all.as_array().unwrap().clone()).collect()
}

/// The interface by which the container sends to the LAN from this address.
fn leaves_by(container: &Container, address: &str) -> String {
    let (family, to) =
        if address.contains(':') { ("-6", Lab::LAN[1]) } else { ("-4", Lab::LAN[0]) };
    let route = container.ns.ip_json(&format!("{family} route get {to} from {address}"));
    route[0]["dev"].as_str().unwrap_or("nothing").to_owned()
}

#[test]
fn each_address_leaves_by_its_own_interface() {
    let lab = Lab::new();
    let first = lab.chain(network("first", json!([bridge("br0", &FIRST)])));
    let second = second(&lab, &SECOND, json!({}));
    let container = lab.container();
    let one = first.attach(&container);
    let two = second.attach(&container);
    lab.settle(&[&container]);
    for address in one.addresses() {
        assert_eq!(leaves_by(&container, &address), "eth0", "{address}");
    }
    for address in two.addresses() {
        assert_eq!(leaves_by(&container, &address), "net1", "{address}");
        assert!(lab.host.ping(&address), "{address}");
    }
    for subnet in SECOND {
        lab.route_from_lan(subnet);
    }
    for address in two.addresses() {
        assert!(lab.lan.ping(&address), "{address} from the LAN");
    }
    if !lab.is_reference() {
        // Its bridge misses the routes that its sbr moved.
        second.check(&container, &two).unwrap();
    }
    first.check(&container, &one).unwrap();
    second.detach(&container, &two);
    assert_eq!(rules(&container).len(), 3 + 2, "the kernel's own rules: {:?}", rules(&container));
    assert_eq!(leaves_by(&container, &one.v4()), "eth0");
}

#[test]
fn rules_and_tables_are_the_references() {
    let made_by = |programs: &Programs| {
        let lab = Lab::still();
        let chain = second(&lab, &SECOND[..1], json!({})).by(programs);
        let container = lab.container();
        let result = chain.attach(&container).without_names(&container);
        let routes = container.ns.ip_json("-4 route show table all");
        let mut lines: Vec<String> = routes
            .as_array()
            .unwrap()
            .iter()
            .filter(|route| route["table"] != "local")
            .map(|r| format!("{} {} {} {}", r["dst"], r["gateway"], r["dev"], r["table"]))
            .collect();
        lines.sort();
        let rules = container.ns.ip_json("-4 rule");
        let to = |rule: &Value| format!("{} {}", rule["src"], rule["table"]);
        let rules: Vec<String> = rules.as_array().unwrap().iter().map(to).collect();
        (result, lines, rules)
    };
    let ours = made_by(&Programs::under_test());
    assert_eq!(ours, made_by(&Programs::reference()));
}

#[test]
fn bad_configurations_are_refused() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    for table in [json!(0), json!(254), json!(-1), json!("x")] {
        let container = lab.container();
        let outcome = second(&lab, &SECOND, json!({"table": table})).add(&container).unwrap_err();
        assert!(outcome.error_text().contains("table"), "{table}: {outcome:?}");
        assert_eq!(rules(&container).len(), 5, "{table}");
    }
    // An earlier result without an address of the interface.
    let chain = second(&lab, &SECOND, json!({}));
    let container = lab.container();
    let earlier = json!({"cniVersion": "1.0.0", "interfaces": []});
    let outcome = chain.invocation(&sbr(json!({})), "ADD", &container, Some(&earlier)).run();
    assert!(outcome.error_text().contains("net1"), "{outcome:?}");
}

#[test]
fn a_failed_attach_leaves_the_routes_where_they_were() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let mut bridge = bridge("br1", &SECOND);
    bridge["isDefaultGateway"] = json!(false);
    let main = lab.chain(network("second", json!([bridge]))).ifname("net1");
    let container = lab.container();
    let attached = main.attach(&container);
    let shown = || {
        let routes = |family: &str| container.ns.ip_json(&format!("{family} route show table all"));
        (routes("-4"), routes("-6"), rules(&container))
    };
    let before = shown();
    // The second address's gateway cannot be reached: its route is refused.
    let mut earlier = attached.result.clone();
    earlier["ips"][1]["gateway"] = json!("fd00:99::1");
    let call = second(&lab, &SECOND, json!({}));
    let outcome = call.invocation(&sbr(json!({})), "ADD", &container, Some(&earlier)).run();
    assert!(outcome.error_text().contains("fd00:99::1"), "{outcome:?}");
    assert_eq!(shown(), before);
}

#[test]
fn a_table_of_somebody_elses_gets_rules_only() {
    let lab = Lab::still();
    if lab.is_reference() {
        // Newer than Debian's.
        return;
    }
    let chain = second(&lab, &SECOND, json!({"table": 500}));
    let container = lab.container();
    let attached = chain.attach(&container);
    let to = rules(&container).into_iter().filter(|rule| rule["table"] == "500").count();
    assert_eq!(to, 2);
    assert!(!container.ns.routes("-4", "default").is_empty(), "the main table is as it was");
    chain.check(&container, &attached).unwrap();
    chain.detach(&container, &attached);
    assert_eq!(rules(&container).len(), 5);
}

#[test]
fn detach_succeeds_however_the_container_ended() {
    for end in End::ALL {
        let lab = Lab::still();
        if lab.is_reference() && !matches!(end, End::Usual) {
            // It fails, and makes a file where the namespace was.
            continue;
        }
        let chain = second(&lab, &SECOND, json!({}));
        let before = chain.used();
        let container = lab.container();
        let attached = chain.attach(&container);
        chain.detach_by(end, &container, &attached);
        if !lab.is_reference() {
            chain.detach_by(end, &container, &attached);
            lab.assert_as_before(&before);
        }
    }
}

#[test]
fn check_names_what_differs() {
    let lab = Lab::still();
    if lab.is_reference() {
        // Its CHECK looks at nothing.
        return;
    }
    let chain = second(&lab, &SECOND, json!({}));
    let container = lab.container();
    let attached = chain.attach(&container);
    chain.check(&container, &attached).unwrap();
    let check = || {
        let call = chain.invocation(&sbr(json!({})), "CHECK", &container, Some(&attached.result));
        call.run().error_text()
    };
    container.ns.ip("-4 route flush table 100");
    assert!(check().contains("100"), "{}", check());
    container.ns.ip(&format!("rule del from {}", attached.v4()));
    assert!(check().contains(&attached.v4()), "{}", check());
}
