//! The tap plugin: a persistent interface for a program in the container.

use std::process::Command;

use cleat_tests::{Container, End, Lab, ranges};
use serde_json::{Value, json};

fn network(extra: Value) -> Value {
    let mut plugin = json!({"type": "tap", "ipam": ranges(&["10.88.0.0/24", "fd00:88::/64"])});
    for (key, value) in extra.as_object().unwrap() {
        plugin[key] = value.clone();
    }
    json!({"cniVersion": "1.1.0", "name": "net", "plugins": [plugin]})
}

fn info(container: &Container, key: &str) -> Value {
    container.ns.link("eth0").unwrap()["linkinfo"]["info_data"][key].clone()
}

#[test]
fn a_tap_stays_until_del() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let chain = lab.chain(network(json!({"mtu": 1400, "mac": "02:00:00:00:00:77"})));
    let before = chain.used();
    let container = lab.container();
    let attached = chain.attach(&container);
    let link = container.ns.link("eth0").unwrap();
    assert_eq!(link["linkinfo"]["info_kind"], "tun");
    assert_eq!(info(&container, "type"), "tap");
    assert_eq!(info(&container, "persist"), true);
    assert_eq!(info(&container, "pi"), false);
    assert_eq!(info(&container, "multi_queue"), false);
    assert_eq!((&link["mtu"], &link["address"]), (&json!(1400), &json!("02:00:00:00:00:77")));
    assert_eq!(container.ns.addresses("eth0"), ["10.88.0.3/24", "fd00:88::3/64"]);
    let interface = &attached.result["interfaces"][0];
    assert_eq!(interface["mac"], "02:00:00:00:00:77");
    assert_eq!(interface["sandbox"], container.ns.path().to_str().unwrap());
    chain.check(&container, &attached).unwrap();
    chain.detach(&container, &attached);
    assert!(container.ns.link("eth0").is_none());
    lab.assert_as_before(&before);
    for end in End::ALL {
        chain.comes_and_goes(end, &before);
    }
}

#[test]
fn owner_group_and_queues_are_as_configured() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let chain = lab.chain(network(json!({"multiQueue": true, "owner": 1234, "group": 0})));
    let container = lab.container();
    let attached = chain.attach(&container);
    assert_eq!(info(&container, "multi_queue"), true);
    // A number without a name is printed as a number.
    assert_eq!(info(&container, "user"), 1234);
    assert_eq!(info(&container, "group"), "root");
    chain.detach(&container, &attached);
}

/// What is sent to the container's address comes out of the device's other end.
#[test]
fn a_program_reads_what_the_container_sends() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let chain = lab.chain(network(json!({})));
    let container = lab.container();
    let attached = chain.attach(&container);
    let read = "import fcntl, os, struct, subprocess, sys\n\
        tap = os.open('/dev/net/tun', os.O_RDWR)\n\
        fcntl.ioctl(tap, 0x400454ca, struct.pack('16sH22x', b'eth0', 0x1002))\n\
        ping = subprocess.Popen(['ping', '-c', '1', '-W', '1', '10.88.0.99'],\n\
            stdout=subprocess.DEVNULL)\n\
        while True:\n\
        \x20   frame = os.read(tap, 2048)\n\
        \x20   if frame[12:14] == b'\\x08\\x06':\n\
        \x20       print(frame[38:42].hex())\n\
        \x20       break\n\
        ping.wait()\n";
    let mut command: Command = container.ns.command("timeout");
    let output = command.args(["10", "python3", "-c", read]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    // It asks who has the neighbour's address.
    assert_eq!(text.trim(), "0a580063", "{output:?}");
    chain.detach(&container, &attached);
}

#[test]
fn it_goes_into_a_bridge_of_the_containers() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let container = lab.container();
    let mut section = network(json!({"bridge": "br0"}));
    section["plugins"][0].as_object_mut().unwrap().remove("ipam");
    let chain = lab.chain(section);
    let outcome = chain.add(&container).unwrap_err();
    assert!(outcome.error_text().contains("the container's bridge br0"), "{outcome:?}");
    container.ns.ip("link add br0 type bridge");
    let attached = chain.attach(&container);
    assert_eq!(container.ns.link("eth0").unwrap()["master"], "br0");
    chain.check(&container, &attached).unwrap();
    chain.detach(&container, &attached);
}

#[test]
fn nothing_is_left_of_what_is_refused() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let before = lab.snapshot();
    for (extra, code, text) in [
        (json!({"mtu": 12}), 7, "mtu"),
        (json!({"mac": "01:00:00:00:00:01"}), 7, "mac"),
        (json!({"owner": -1}), 7, "owner"),
    ] {
        let container = lab.container();
        let outcome = lab.chain(network(extra)).add(&container).unwrap_err();
        assert_eq!(outcome.error_code(), code, "{outcome:?}");
        assert!(outcome.error_text().contains(text), "{outcome:?}");
        assert!(container.ns.link("eth0").is_none());
    }
    // A context where there is no SELinux to give it meaning.
    if !std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        let container = lab.container();
        let extra = json!({"selinuxContext": "system_u:system_r:container_t:s0"});
        let outcome = lab.chain(network(extra)).add(&container).unwrap_err();
        assert!(outcome.error_text().contains("SELinux"), "{outcome:?}");
        assert!(container.ns.link("eth0").is_none());
    }
    // The name is taken.
    let container = lab.container();
    container.ns.ip("tuntap add eth0 mode tap");
    let outcome = lab.chain(network(json!({}))).add(&container).unwrap_err();
    assert_eq!(outcome.error_code(), 102, "{outcome:?}");
    assert!(container.ns.link("eth0").is_some());
    let changes = lab.additions(&before);
    assert!(!changes.contains("10.88"), "{changes}");
}

/// No other program is executed, as the reference executes `ip`.
#[test]
fn no_program_is_executed() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let container = lab.container();
    let conflist = network(json!({}));
    let chain = lab.chain(conflist);
    let section = chain.plugins().next().unwrap().clone();
    let log = lab.folder().join("state/trace");
    let call = chain.invocation(&section, "ADD", &container, None);
    let trace = ["strace", "-f", "-o", log.to_str().unwrap(), "-e", "trace=execve"];
    call.through(&trace).run().ok();
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.matches("execve(").count(), 1, "{text}");
    std::fs::remove_file(&log).unwrap();
    chain.del(&container, None).unwrap();
}
