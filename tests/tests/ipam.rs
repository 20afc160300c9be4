//! `host-local` and `static`, called by themselves and by a main plugin, and host-local beside the
//! reference's on the same leases.

use std::collections::BTreeSet;
use std::fs;

use cleat_tests::{
    Attached, Container, Lab, Outcome, Programs, at_once, ranges, without_empty_dns,
};
use serde_json::{Value, json};

const POOL: &str = "10.90.0.0/24";

fn config(ipam: Value) -> Value {
    json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "ipam": ipam})
}

fn local(lab: &Lab, verb: &str, container: &Container, config: &Value) -> Outcome {
    lab.plugin("host-local").command(verb).container(container).config(config).run()
}

fn addresses(result: &Value) -> Vec<&str> {
    result["ips"].as_array().unwrap().iter().map(|ip| ip["address"].as_str().unwrap()).collect()
}

#[test]
fn a_lease_is_a_file_of_two_lines() {
    let lab = Lab::still();
    let container = lab.container();
    let config = config(ranges(&[POOL, "fd00:90::/64"]));
    let result = local(&lab, "ADD", &container, &config).ok();
    assert_eq!(
        without_empty_dns(result),
        json!({"cniVersion": "1.0.0", "ips": [
            {"address": "10.90.0.2/24", "gateway": "10.90.0.1"},
            {"address": "fd00:90::2/64", "gateway": "fd00:90::1"}]})
    );
    for address in ["10.90.0.2", "fd00:90::2"] {
        let lease = fs::read_to_string(lab.leases("net").join(address)).unwrap();
        assert_eq!(lease, format!("{}\r\neth0", container.id));
    }
    let cursor = |set: u8| lab.leases("net").join(format!("last_reserved_ip.{set}"));
    assert_eq!(fs::read_to_string(cursor(0)).unwrap(), "10.90.0.2");
    assert_eq!(fs::read_to_string(cursor(1)).unwrap(), "fd00:90::2");
    local(&lab, "CHECK", &container, &config).ok();
    local(&lab, "DEL", &container, &config).ok();
    assert!(lab.leased("net").is_empty());
    local(&lab, "CHECK", &container, &config).error();
    local(&lab, "DEL", &container, &config).ok();
}

#[test]
fn addresses_are_given_as_the_reference_gives_them() {
    // Round robin, ends of ranges, a gateway in the middle, a freed address: the whole sequence.
    let ipam = json!({"type": "host-local", "ranges": [[
        {"subnet": "10.90.0.0/29", "rangeStart": "10.90.0.2", "rangeEnd": "10.90.0.5",
            "gateway": "10.90.0.3"},
        {"subnet": "10.91.0.0/29", "rangeEnd": "10.91.0.2"}]]});
    let sequence = |programs: &Programs| {
        let lab = Lab::still();
        let config = config(ipam.clone());
        let containers: Vec<Container> = (0..8).map(|_| lab.container()).collect();
        let call = |verb: &str, c: &Container| {
            lab.plugin_of(programs, "host-local").command(verb).container(c).config(&config).run()
        };
        let mut given = Vec::new();
        for (verb, index) in [
            ("ADD", 0),
            ("ADD", 1),
            ("DEL", 0),
            ("ADD", 2),
            ("ADD", 3),
            ("ADD", 4),
            ("DEL", 2),
            ("DEL", 1),
            ("ADD", 5),
            ("ADD", 6),
            ("ADD", 7),
            ("DEL", 6),
            ("ADD", 7),
        ] {
            let outcome = call(verb, &containers[index]);
            given.push(match outcome.succeeded() {
                true => format!("{verb} {index} {}", outcome.json()["ips"]),
                false => format!("{verb} {index} failed {}", outcome.error()["code"].is_u64()),
            });
        }
        given.push(format!("{:?}", lab.leased("net")));
        given
    };
    assert_eq!(sequence(&Programs::under_test()), sequence(&Programs::reference()));
}

#[test]
fn requested_addresses() {
    let asked = ["10.90.0.50", "fd00:90::50"];
    let pools = ranges(&[POOL, "fd00:90::/64"]);
    for how in ["environment", "args", "capability"] {
        let lab = Lab::still();
        let container = lab.container();
        let mut config = config(pools.clone());
        let mut call = lab.plugin("host-local").command("ADD").container(&container);
        match how {
            "environment" => call = call.args(&format!("IgnoreUnknown=1;IP={}", asked[0])),
            "args" => config["args"] = json!({"cni": {"ips": asked}}),
            _ => config["runtimeConfig"] = json!({"ips": [asked[0], format!("{}/64", asked[1])]}),
        }
        let result = call.config(&config).run().ok();
        assert_eq!(addresses(&result)[0], "10.90.0.50/24", "{how}");
        if how != "environment" {
            assert_eq!(addresses(&result)[1], "fd00:90::50/64", "{how}");
        }
    }
}

#[test]
fn refused_requests_name_the_address() {
    let lab = Lab::still();
    let holder = lab.container();
    let config = config(ranges(&[POOL]));
    let ask = |container: &Container, ip: &str| {
        let call = lab.plugin("host-local").command("ADD").container(container).config(&config);
        call.args(&format!("IP={ip}")).run()
    };
    ask(&holder, "10.90.0.9").ok();
    let before = lab.snapshot();
    // Held by another, the gateway, out of the range, no address.
    for ip in ["10.90.0.9", "10.90.0.1", "10.99.0.1", "ten"] {
        let text = ask(&lab.container(), ip).error_text();
        if !lab.is_reference() {
            assert!(text.contains(ip), "{ip}: {text}");
        }
        lab.assert_as_before(&before);
    }
    // The same attachment twice.
    local(&lab, "ADD", &holder, &config).error();
    lab.assert_as_before(&before);
}

#[test]
fn a_full_range_is_named() {
    let lab = Lab::still();
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.90.0.0/30"}]]});
    let config = config(ipam);
    local(&lab, "ADD", &lab.container(), &config).ok();
    let before = lab.snapshot();
    let outcome = local(&lab, "ADD", &lab.container(), &config);
    let text = outcome.error_text();
    assert!(text.contains("10.90.0.2"), "the range is named: {text}");
    lab.assert_as_before(&before);
    if !lab.is_reference() {
        let mut config = config;
        config["cniVersion"] = json!("1.1.0");
        let status = lab.plugin("host-local").command("STATUS").config(&config).run();
        assert!([50, 51].contains(&status.error_code()), "{status:?}");
    }
}

#[test]
fn bad_ranges_are_refused() {
    let lab = Lab::still();
    let before = lab.snapshot();
    for ranges in [
        json!([[{"subnet": "10.90.0.1/24"}]]),
        json!([[{"subnet": "10.90.0.0/31"}]]),
        json!([[{"subnet": "10.90.0.0"}]]),
        json!([[{"subnet": "10.90.0.0/24", "rangeStart": "10.91.0.1"}]]),
        json!([[{"subnet": "10.90.0.0/24", "rangeStart": "10.90.0.9", "rangeEnd": "10.90.0.8"}]]),
        json!([[{"subnet": "10.90.0.0/24"}], [{"subnet": "10.90.0.128/25"}]]),
        json!([[{"subnet": "10.90.0.0/24"}, {"subnet": "fd00::/64"}]]),
        json!([[]]),
        json!([]),
    ] {
        let config = config(json!({"type": "host-local", "ranges": ranges}));
        let outcome = local(&lab, "ADD", &lab.container(), &config);
        let code = outcome.error_code();
        if !lab.is_reference() {
            assert_eq!(code, 7, "{ranges}: {outcome:?}");
            lab.assert_as_before(&before);
        }
    }
}

#[test]
fn what_runtimes_written_in_go_send() {
    let lab = Lab::still();
    let container = lab.container();
    let mut config = config(json!({"type": "host-local", "ranges": [[{"subnet": POOL}]]}));
    // No JSON tags: capital letters, and empty strings for what is absent.
    config["runtimeConfig"] = json!({"ipRanges": [[{"Subnet": "10.95.0.0/24", "RangeStart": "",
        "RangeEnd": "", "Gateway": ""}]]});
    let outcome = local(&lab, "ADD", &container, &config);
    if lab.is_reference() {
        // It cannot read an empty address; what matters is that ours can.
        return;
    }
    assert_eq!(addresses(&outcome.ok()), ["10.95.0.2/24", "10.90.0.2/24"]);
    local(&lab, "DEL", &container, &config).ok();
    assert!(lab.leased("net").is_empty());
}

#[test]
fn ranges_of_the_runtime_come_first() {
    let lab = Lab::still();
    let container = lab.container();
    let mut config = config(json!({"type": "host-local", "subnet": "10.89.0.0/24",
        "rangeStart": "10.89.0.20", "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": POOL}]]}));
    config["runtimeConfig"] = json!({"ipRanges": [[{"subnet": "10.95.0.0/24"}]]});
    let result = local(&lab, "ADD", &container, &config).ok();
    assert_eq!(addresses(&result), ["10.95.0.2/24", "10.89.0.20/24", "10.90.0.2/24"]);
    assert_eq!(result["routes"], json!([{"dst": "0.0.0.0/0"}]));
}

#[test]
fn names_are_read_from_a_resolver_file() {
    let lab = Lab::still();
    let file = lab.folder().join("state/resolv.conf");
    fs::write(&file, "# lab\nnameserver 192.0.2.2\nnameserver 2001:db8::2\ndomain lab\nsearch a.lab b.lab\noptions ndots:2\n").unwrap();
    let mut ipam = ranges(&[POOL]);
    ipam["resolvConf"] = json!(file);
    let result = local(&lab, "ADD", &lab.container(), &config(ipam)).ok();
    assert_eq!(
        result["dns"],
        json!({"nameservers": ["192.0.2.2", "2001:db8::2"], "domain": "lab",
            "search": ["a.lab", "b.lab"], "options": ["ndots:2"]})
    );
}

#[test]
fn one_family_has_one_address_before_0_3() {
    let lab = Lab::still();
    let mut config = config(ranges(&[POOL]));
    config["cniVersion"] = json!("0.2.0");
    let result = local(&lab, "ADD", &lab.container(), &config).ok();
    assert_eq!(result["ip4"]["ip"], "10.90.0.2/24");
    config["ipam"] = ranges(&[POOL, "10.91.0.0/24"]);
    config["name"] = json!("two");
    local(&lab, "ADD", &lab.container(), &config).error();
    assert!(lab.leased("two").is_empty());
}

#[test]
fn leases_are_shared_with_the_reference() {
    let lab = Lab::still();
    let config = config(ranges(&[POOL]));
    let both = [Programs::under_test(), Programs::reference()];
    for (makes, frees) in [(0, 1), (1, 0)] {
        let container = lab.container();
        let call = |index: usize, verb: &str| {
            let call = lab.plugin_of(&both[index], "host-local").command(verb);
            call.container(&container).config(&config).run()
        };
        call(makes, "ADD").ok();
        assert_eq!(lab.leased("net").len(), 1);
        call(frees, "CHECK").ok();
        call(frees, "ADD").error();
        call(frees, "DEL").ok();
        assert!(lab.leased("net").is_empty(), "made by {makes}, freed by {frees}");
        call(makes, "CHECK").error();
        call(makes, "DEL").ok();
    }
}

#[test]
fn leases_of_old_versions_and_strangers_files() {
    let lab = Lab::still();
    let config = config(ranges(&[POOL]));
    let container = lab.container();
    fs::create_dir_all(lab.leases("net")).unwrap();
    // The first versions wrote the id only.
    fs::write(lab.leases("net").join("10.90.0.7"), &container.id).unwrap();
    fs::write(lab.leases("net").join("README"), "not ours").unwrap();
    local(&lab, "DEL", &container, &config).ok();
    assert!(lab.leased("net").is_empty());
    assert!(lab.leases("net").join("README").exists());
    // An address that a crash left without an owner is still not given away to two.
    fs::write(lab.leases("net").join("10.90.0.2"), "").unwrap();
    let result = local(&lab, "ADD", &lab.container(), &config).ok();
    assert_eq!(addresses(&result).len(), 1);
}

#[test]
fn both_implementations_at_once_give_no_address_twice() {
    let lab = Lab::still();
    let config = config(ranges(&[POOL]));
    let both = [Programs::under_test(), Programs::reference()];
    let containers: Vec<Container> = (0..60).map(|_| lab.container()).collect();
    let call = |index: usize, verb: &str, c: &Container| {
        let call = lab.plugin_of(&both[index % 2], "host-local").command(verb);
        call.container(c).config(&config).run().ok()
    };
    let given = at_once(&containers, |index, c| addresses(&call(index, "ADD", c))[0].to_owned());
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), containers.len());
    assert_eq!(lab.leased("net").len(), containers.len());
    at_once(&containers, |index, c| call(index + 1, "DEL", c));
    assert!(lab.leased("net").is_empty());
}

#[test]
fn detach_of_one_interface_keeps_the_other() {
    let lab = Lab::still();
    let config = config(ranges(&[POOL]));
    let container = lab.container();
    let call = |verb: &str, ifname: &str| {
        let call = lab.plugin("host-local").command(verb).container(&container);
        call.ifname(ifname).config(&config).run().ok()
    };
    call("ADD", "eth0");
    call("ADD", "eth1");
    call("DEL", "eth0");
    assert_eq!(lab.leased("net"), ["10.90.0.3"]);
}

#[test]
fn leases_of_an_earlier_boot_are_free_again() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let plugin = json!({"type": "bridge", "bridge": "br0", "isGateway": true, "ipam":
        {"type": "host-local", "ranges": [[{"subnet": POOL, "rangeEnd": "10.90.0.4"}]]}});
    let conflist = json!({"cniVersion": "1.0.0", "name": "net", "plugins": [plugin]});
    let chain = lab.chain(conflist.clone());
    for _ in 0..3 {
        let container = lab.container();
        chain.attach(&container);
        container.ns.delete();
    }
    assert_eq!(lab.leased("net").len(), 3);
    // A reboot: another boot id, and nothing in the run directory or the kernel.
    fs::remove_dir_all(lab.folder().join("run")).unwrap();
    fs::create_dir(lab.folder().join("run")).unwrap();
    lab.host.ip("link del br0");
    let container = lab.container();
    let call = chain.invocation(&conflist["plugins"][0], "ADD", &container, None);
    let boot = "00000000-0000-4000-8000-000000000001";
    call.env("CLEAT_BOOT_ID", boot).run().ok();
}

fn fixed(lab: &Lab, container: &Container, config: &Value, args: &str) -> Outcome {
    let call = lab.plugin("static").command("ADD").container(container).config(config);
    if args.is_empty() { call.run() } else { call.args(args).run() }
}

#[test]
fn static_addresses_from_config_environment_and_capability() {
    let lab = Lab::still();
    let container = lab.container();
    let mut config = config(json!({
        "type": "static",
        "addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}, {"address": "fd00:1::5/64"}],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.7.0.0/16", "gw": "10.1.0.9"}],
        "dns": {"nameservers": ["10.1.0.1"], "domain": "lab"},
    }));
    let result = fixed(&lab, &container, &config, "").ok();
    assert_eq!(
        result,
        json!({"cniVersion": "1.0.0",
            "ips": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}, {"address": "fd00:1::5/64"}],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.7.0.0/16", "gw": "10.1.0.9"}],
            "dns": {"nameservers": ["10.1.0.1"], "domain": "lab"}})
    );
    let args = "IgnoreUnknown=1;IP=10.2.0.5/24;GATEWAY=10.2.0.1";
    let result = fixed(&lab, &container, &config, args).ok();
    assert_eq!(addresses(&result), ["10.1.0.5/24", "fd00:1::5/64", "10.2.0.5/24"]);
    assert_eq!(result["ips"][2]["gateway"], "10.2.0.1");
    config["args"] = json!({"cni": {"ips": ["10.3.0.5/24"]}});
    assert_eq!(addresses(&fixed(&lab, &container, &config, "").ok()), ["10.3.0.5/24"]);
    config["runtimeConfig"] = json!({"ips": ["10.4.0.5/24"]});
    assert_eq!(addresses(&fixed(&lab, &container, &config, "").ok()), ["10.4.0.5/24"]);
    for verb in ["CHECK", "DEL"] {
        let mut config = config.clone();
        config["prevResult"] = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.4.0.5/24"}]});
        lab.plugin("static").command(verb).container(&container).config(&config).run().ok();
    }
}

#[test]
fn a_static_address_needs_its_prefix() {
    let lab = Lab::still();
    for address in ["10.1.0.5", "10.1.0.5/33", "", "five"] {
        let config = config(json!({"type": "static", "addresses": [{"address": address}]}));
        let outcome = fixed(&lab, &lab.container(), &config, "");
        let code = outcome.error_code();
        if !lab.is_reference() {
            assert_eq!(code, 7, "{address}: {outcome:?}");
        }
    }
}

#[test]
fn a_main_plugin_configures_static_addresses() {
    let lab = Lab::still();
    let chain = lab.chain(json!({"cniVersion": "1.0.0", "name": "net", "plugins": [{
        "type": "bridge", "bridge": "br0", "isGateway": true, "ipam": {"type": "static",
            "addresses": [{"address": "10.88.0.7/24", "gateway": "10.88.0.1"}],
            "routes": [{"dst": "0.0.0.0/0"}]}}]}));
    let before = chain.used();
    let container = lab.container();
    let attached: Attached = chain.attach(&container);
    assert_eq!(container.ns.addresses("eth0"), ["10.88.0.7/24"]);
    assert_eq!(container.ns.routes("-4", "default")[0]["gateway"], "10.88.0.1");
    assert!(container.ns.ping("10.88.0.1"));
    chain.check(&container, &attached).unwrap();
    chain.detach(&container, &attached);
    lab.assert_as_before(&before);
}

#[test]
fn an_ipam_plugin_of_another_vendor_is_executed() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::still();
    let folder = lab.folder().join("vendor");
    fs::create_dir(&folder).unwrap();
    let script = "#!/bin/sh\ncat >/dev/null\necho \"$CNI_COMMAND $CNI_IFNAME\" >>\"${0%/*}/calls\"\n\
        [ \"$CNI_COMMAND\" != ADD ] || echo '{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.88.0.7/24\",\
        \"gateway\":\"10.88.0.1\"}]}'\n";
    fs::write(folder.join("vendor-ipam"), script).unwrap();
    fs::set_permissions(folder.join("vendor-ipam"), fs::Permissions::from_mode(0o755)).unwrap();
    let plugin = json!({"type": "bridge", "bridge": "br0", "isGateway": true,
        "ipam": {"type": "vendor-ipam"}});
    let conflist = json!({"cniVersion": "1.0.0", "name": "net", "plugins": [plugin]});
    let chain = lab.chain(conflist);
    let container = lab.container();
    let path = format!("{}:{}", lab.programs().folder().display(), folder.display());
    let call = |verb: &str| {
        let call = chain.invocation(&plugin, verb, &container, None);
        let mut config = plugin.clone();
        config["cniVersion"] = json!("1.0.0");
        config["name"] = json!("net");
        call.config(&config).env("CNI_PATH", path.clone()).run().ok()
    };
    assert_eq!(addresses(&call("ADD")), ["10.88.0.7/24"]);
    assert_eq!(container.ns.addresses("eth0"), ["10.88.0.7/24"]);
    call("DEL");
    let calls = fs::read_to_string(folder.join("calls")).unwrap();
    assert_eq!(calls, "ADD eth0\nDEL eth0\n");
    // A vendor that is not there is named.
    let mut missing = plugin.clone();
    missing["ipam"]["type"] = json!("nowhere-ipam");
    let conflist = json!({"cniVersion": "1.0.0", "name": "net", "plugins": [missing]});
    let text = lab.chain(conflist).add(&container).unwrap_err().error_text();
    assert!(text.contains("nowhere-ipam"), "{text}");
}
