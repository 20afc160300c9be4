//! Attach interrupted at every step: each of its system calls in turn is refused, or is the last
//! thing it does. Refused, it undoes itself; killed, whatever comes next removes the remains.

use cleat_tests::{Fault, Lab, interrupt, ranges};
use serde_json::{Value, json};

fn conflist() -> Value {
    json!({"cniVersion": "1.1.0", "name": "net", "plugins": [
        {"type": "bridge", "bridge": "br0", "isDefaultGateway": true, "ipMasq": true,
            "ipam": ranges(&["10.88.0.0/24", "fd00:88::/64"])},
        {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "firewall", "ingressPolicy": "same-bridge"},
        {"type": "tuning", "mac": "02:00:00:00:00:77", "mtu": 1400,
            "sysctl": {"net.core.somaxconn": "500"}},
        {"type": "sbr"},
        {"type": "bandwidth", "ingressRate": 8_000_000, "ingressBurst": 800_000,
            "egressRate": 8_000_000, "egressBurst": 800_000},
    ]})
}

fn macvlan() -> Value {
    json!({"cniVersion": "1.1.0", "name": "net", "plugins": [
        {"type": "macvlan", "master": "eth0", "ipam": {"type": "host-local", "ranges": [
            [{"subnet": "192.0.2.0/24", "rangeStart": "192.0.2.100"}]]}}]})
}

fn ptp() -> Value {
    let mut pool = ranges(&["10.88.0.0/24", "fd00:88::/64"]);
    pool["routes"] = json!([{"dst": "0.0.0.0/0"}]);
    json!({"cniVersion": "1.1.0", "name": "net", "plugins": [
        {"type": "ptp", "ipMasq": true, "ipam": pool}]})
}

fn host_device() -> Value {
    json!({"cniVersion": "1.1.0", "name": "net", "plugins": [
        {"type": "host-device", "device": "eth0", "ipam": {"type": "host-local", "ranges": [
            [{"subnet": "192.0.2.0/24", "rangeStart": "192.0.2.100"}]]}}]})
}

fn tap() -> Value {
    json!({"cniVersion": "1.1.0", "name": "net", "plugins": [
        {"type": "tap", "owner": 1234, "mtu": 1400, "ipam": ranges(&["10.88.0.0/24", "fd00:88::/64"])}]})
}

#[test]
fn bridge_refused() {
    interrupt(conflist(), 0, Fault::Refused, 1);
}

#[test]
fn bridge_killed() {
    interrupt(conflist(), 0, Fault::Killed, 1);
}

#[test]
fn portmap_refused() {
    interrupt(conflist(), 1, Fault::Refused, 1);
}

#[test]
fn portmap_killed() {
    interrupt(conflist(), 1, Fault::Killed, 1);
}

#[test]
fn firewall_refused() {
    interrupt(conflist(), 2, Fault::Refused, 1);
}

#[test]
fn firewall_killed() {
    interrupt(conflist(), 2, Fault::Killed, 1);
}

#[test]
fn tuning_refused() {
    interrupt(conflist(), 3, Fault::Refused, 1);
}

#[test]
fn tuning_killed() {
    interrupt(conflist(), 3, Fault::Killed, 1);
}

#[test]
fn host_device_refused() {
    interrupt(host_device(), 0, Fault::Refused, 1);
}

#[test]
fn host_device_killed() {
    interrupt(host_device(), 0, Fault::Killed, 1);
}

#[test]
fn sbr_refused() {
    interrupt(conflist(), 4, Fault::Refused, 1);
}

#[test]
fn sbr_killed() {
    interrupt(conflist(), 4, Fault::Killed, 1);
}

#[test]
fn bandwidth_refused() {
    interrupt(conflist(), 5, Fault::Refused, 1);
}

#[test]
fn bandwidth_killed() {
    interrupt(conflist(), 5, Fault::Killed, 1);
}

#[test]
fn macvlan_refused() {
    interrupt(macvlan(), 0, Fault::Refused, 1);
}

#[test]
fn macvlan_killed() {
    interrupt(macvlan(), 0, Fault::Killed, 1);
}

#[test]
fn ptp_refused() {
    interrupt(ptp(), 0, Fault::Refused, 1);
}

#[test]
fn ptp_killed() {
    interrupt(ptp(), 0, Fault::Killed, 1);
}

#[test]
fn tap_refused() {
    let lab = Lab::still();
    if !lab.is_reference() {
        interrupt(tap(), 0, Fault::Refused, 1);
    }
}

#[test]
fn tap_killed() {
    let lab = Lab::still();
    if !lab.is_reference() {
        interrupt(tap(), 0, Fault::Killed, 1);
    }
}
