//! Bandwidth in a kernel that has a fair queue.
//@ vm-modules: sch_tbf sch_fq_codel ifb cls_u32 act_mirred sch_ingress

use cleat_tests::{Lab, ranges};
use serde_json::json;

#[test]
fn flows_take_turns() {
    let lab = Lab::still();
    let limits = json!({"type": "bandwidth", "ingressRate": 8_000_000, "ingressBurst": 320_000,
        "egressRate": 8_000_000, "egressBurst": 320_000});
    let chain = lab.chain(json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
        {"type": "ptp", "ipam": ranges(&["10.88.0.0/24"])}, limits]}));
    let container = lab.container();
    let attached = chain.attach(&container);
    for index in [0, 2] {
        let link = attached.result["interfaces"][index]["name"].as_str().unwrap();
        let shown = lab.host.sh(&format!("tc qdisc show dev {link}"));
        assert!(shown.contains("tbf 1: root") && shown.contains("parent 1:1"), "{shown}");
        assert!(shown.contains("fq_codel"), "{shown}");
    }
    chain.check(&container, &attached).unwrap();
    assert!(container.ns.ping("10.88.0.1"));
    chain.detach(&container, &attached);
    let mut config = chain.plugins().nth(1).unwrap().clone();
    (config["cniVersion"], config["name"]) = (json!("1.1.0"), json!("net"));
    lab.plugin("bandwidth").command("STATUS").config(&config).run().ok();
    assert!(!lab.snapshot().mentions("cl-probe"));
}
