//! ADD of ipvlan, vlan, dummy and vrf interrupted at some of its steps, in a kernel that has them:
//! at every ninth, since a machine that is emulated is slow.
//@ vm-modules: ipvlan 8021q dummy vrf
//@ vm-tools: strace
//@ vm-seconds: 900

use cleat_tests::{Fault, interrupt, ranges};
use serde_json::{Value, json};

const STRIDE: usize = 9;

fn network(plugins: Value) -> Value {
    json!({"cniVersion": "1.1.0", "name": "net", "plugins": plugins})
}

/// Of the LAN, beyond what is in use there.
fn lan() -> Value {
    json!({"type": "host-local", "ranges": [
        [{"subnet": "192.0.2.0/24", "rangeStart": "192.0.2.100"}]]})
}

fn ipvlan() -> Value {
    network(json!([{"type": "ipvlan", "master": "eth0", "ipam": lan()}]))
}

fn vlan() -> Value {
    network(json!([{"type": "vlan", "master": "eth0", "vlanId": 5, "ipam": lan()}]))
}

fn dummy() -> Value {
    network(json!([{"type": "dummy", "ipam": ranges(&["10.88.0.0/24", "fd00:88::/64"])}]))
}

fn vrf() -> Value {
    network(json!([{"type": "dummy", "ipam": ranges(&["10.88.0.0/24", "fd00:88::/64"])},
        {"type": "vrf", "vrfname": "red"}]))
}

#[test]
fn ipvlan_refused() {
    interrupt(ipvlan(), 0, Fault::Refused, STRIDE);
}

#[test]
fn ipvlan_killed() {
    interrupt(ipvlan(), 0, Fault::Killed, STRIDE);
}

#[test]
fn vlan_refused() {
    interrupt(vlan(), 0, Fault::Refused, STRIDE);
}

#[test]
fn vlan_killed() {
    interrupt(vlan(), 0, Fault::Killed, STRIDE);
}

#[test]
fn dummy_refused() {
    interrupt(dummy(), 0, Fault::Refused, STRIDE);
}

#[test]
fn dummy_killed() {
    interrupt(dummy(), 0, Fault::Killed, STRIDE);
}

#[test]
fn vrf_refused() {
    interrupt(vrf(), 1, Fault::Refused, STRIDE);
}

#[test]
fn vrf_killed() {
    interrupt(vrf(), 1, Fault::Killed, STRIDE);
}
