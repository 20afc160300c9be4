//! The networks without a link of their own: `loopback` as runtimes call it, `none`, and `host`.

use std::path::Path;
use std::thread;

use cleat_tests::{Container, Lab, Programs, ranges, without_empty_dns};
use serde_json::{Value, json};

fn config(kind: &str) -> Value {
    json!({"cniVersion": "1.0.0", "name": "net", "type": kind})
}

fn is_up(container: &Container) -> bool {
    container.ns.link("lo").unwrap()["flags"].as_array().unwrap().contains(&json!("UP"))
}

#[test]
fn loopback_goes_up_and_down() {
    let lab = Lab::still();
    let container = lab.container();
    let call = |verb: &str, config: &Value| {
        lab.plugin("loopback").command(verb).container(&container).ifname("lo").config(config).run()
    };
    assert!(!is_up(&container));
    let result = without_empty_dns(call("ADD", &config("loopback")).ok());
    assert_eq!(
        result,
        json!({
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00",
                "sandbox": container.ns.path()}],
            "ips": [{"interface": 0, "address": "127.0.0.1/8"},
                {"interface": 0, "address": "::1/128"}],
        })
    );
    assert!(container.ns.ping("127.0.0.1") && container.ns.ping("::1"));
    let mut checked = config("loopback");
    checked["prevResult"] = result;
    call("CHECK", &checked).ok();
    call("DEL", &config("loopback")).ok();
    assert!(!is_up(&container));
    call("CHECK", &checked).error();
    call("DEL", &config("loopback")).ok();
}

#[test]
fn loopback_passes_an_earlier_result_on() {
    let lab = Lab::still();
    let container = lab.container();
    let earlier = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/x"}],
        "ips": [{"interface": 0, "address": "10.1.0.2/24", "gateway": "10.1.0.1"}],
        "routes": [{"dst": "0.0.0.0/0"}],
    });
    let mut config = config("loopback");
    config["prevResult"] = earlier.clone();
    let result = lab.plugin("loopback").command("ADD").container(&container).config(&config).run();
    assert_eq!(without_empty_dns(result.ok()), earlier);
    assert!(is_up(&container));
}

#[test]
fn loopback_results_are_the_references() {
    // Debian's says the later form in the earliest versions, and leaves the family out.
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
        let result_of = |programs: &Programs| {
            let lab = Lab::still();
            let container = lab.container();
            let mut config = config("loopback");
            config["cniVersion"] = json!(version);
            let call = lab.plugin_of(programs, "loopback").command("ADD").container(&container);
            let mut result = without_empty_dns(call.config(&config).run().ok());
            for interface in result["interfaces"].as_array_mut().into_iter().flatten() {
                interface["sandbox"] = json!("SANDBOX");
            }
            for ip in result["ips"].as_array_mut().into_iter().flatten() {
                ip.as_object_mut().unwrap().remove("version");
            }
            result
        };
        assert_eq!(
            result_of(&Programs::under_test()),
            result_of(&Programs::reference()),
            "{version}"
        );
    }
}

#[test]
fn loopback_and_eth0_at_once() {
    let lab = Lab::still();
    let bridge = lab.chain(json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
        {"type": "bridge", "bridge": "br0", "isGateway": true, "ipam": ranges(&["10.88.0.0/24"])}]}));
    let before = bridge.used();
    for _ in 0..10 {
        let container = lab.container();
        let lo =
            lab.plugin("loopback").container(&container).ifname("lo").config(&config("loopback"));
        let attached = thread::scope(|scope| {
            scope.spawn(|| lo.clone().command("ADD").run().ok());
            bridge.attach(&container)
        });
        assert!(is_up(&container));
        assert!(container.ns.ping("10.88.0.1"));
        thread::scope(|scope| {
            scope.spawn(|| lo.clone().command("DEL").run().ok());
            bridge.detach(&container, &attached);
        });
    }
    lab.assert_as_before(&before);
}

#[test]
fn none_gives_a_loopback_only() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let before = lab.snapshot();
    let container = lab.container();
    let call = |verb: &str| {
        let call = lab.plugin("none").command(verb).container(&container);
        call.config(&config("none")).run()
    };
    call("ADD").ok();
    assert!(container.ns.ping("127.0.0.1"));
    assert_eq!(container.ns.ip_json("link").as_array().unwrap().len(), 1);
    assert_eq!(container.ns.ip_json("route").as_array().unwrap().len(), 0);
    call("DEL").ok();
    call("DEL").ok();
    lab.assert_as_before(&before);
}

#[test]
fn host_reports_the_hosts_own_addresses() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let before = lab.snapshot();
    let container = lab.container();
    let call = |verb: &str, netns: &Path, config: &Value| {
        let call = lab.plugin("host").command(verb).container(&container).netns(netns);
        call.config(config).run()
    };
    let result = call("ADD", &lab.host.path(), &config("host")).ok();
    let names: Vec<&Value> =
        result["interfaces"].as_array().unwrap().iter().map(|i| &i["name"]).collect();
    assert!(names.contains(&&json!("eth0")), "{result}");
    let addresses: Vec<&Value> =
        result["ips"].as_array().unwrap().iter().map(|ip| &ip["address"]).collect();
    for want in ["192.0.2.1/24", "2001:db8::1/64"] {
        assert!(addresses.contains(&&json!(want)), "{want} in {result}");
    }
    let mut checked = config("host");
    checked["prevResult"] = result;
    call("CHECK", &lab.host.path(), &checked).ok();
    call("DEL", &lab.host.path(), &config("host")).ok();
    call("DEL", Path::new(""), &config("host")).ok();
    lab.assert_as_before(&before);
}

#[test]
fn host_refuses_other_namespaces_and_published_ports() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let before = lab.snapshot();
    let container = lab.container();
    let call = lab.plugin("host").command("ADD").container(&container);
    assert_eq!(call.clone().config(&config("host")).run().error_code(), 8);
    let mut publishing = config("host");
    publishing["runtimeConfig"] =
        json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    let text = call.netns(lab.host.path()).config(&publishing).run().error_text();
    assert!(text.contains("8080") || text.contains("port"), "{text}");
    lab.assert_as_before(&before);
}
