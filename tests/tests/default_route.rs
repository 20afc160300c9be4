//! Containers on several networks: whose gateway the default route leads to.

use cleat_tests::{Chain, Container, Lab, ranges};
use serde_json::{Value, json};

/// A network of this number, attached as this interface.
fn network(lab: &Lab, number: usize, priority: Option<i64>) -> Chain<'_> {
    let mut bridge = json!({"type": "bridge", "bridge": format!("br{number}"),
        "isDefaultGateway": true, "ipam": ranges(&[
            &format!("10.8{number}.0.0/24"), &format!("fd00:8{number}::/64")])});
    if let Some(priority) = priority {
        bridge["gwPriority"] = json!(priority);
    }
    lab.chain(json!({"cniVersion": "1.0.0", "name": format!("net{number}"), "plugins": [bridge]}))
        .ifname(&format!("eth{number}"))
}

/// The interfaces to which packets to nowhere in particular go, by family.
fn leads_to(container: &Container) -> [String; 2] {
    [("-4", "198.51.100.1"), ("-6", "2001:db8:9::1")].map(|(family, to)| {
        let found: Value = container.ns.ip_json(&format!("{family} route get {to}"));
        found[0]["dev"].as_str().unwrap().to_owned()
    })
}

#[test]
fn the_highest_priority_holds_the_default_route_then_the_first() {
    let lab = Lab::still();
    if lab.is_reference() {
        // It has no such key.
        return;
    }
    // Priorities in the order of attaching, and who holds the default route after each.
    for (priorities, holders) in [
        (&[None, None][..], &[0, 0][..]),
        (&[None, Some(0)], &[0, 0]),
        (&[None, Some(5), None], &[0, 1, 1]),
        (&[Some(5), None, Some(4)], &[0, 0, 0]),
        (&[None, None, Some(1), Some(900_000)], &[0, 0, 2, 3]),
        (&[Some(7), Some(7), Some(1000)], &[0, 0, 2]),
        (&[Some(-1), None, Some(-2)], &[0, 1, 1]),
        (&[Some(-2), Some(-1), None, None], &[0, 1, 2, 2]),
    ] {
        let container = lab.container();
        let chains: Vec<Chain<'_>> =
            priorities.iter().enumerate().map(|(n, p)| network(&lab, n, *p)).collect();
        let mut attached = Vec::new();
        for (chain, holder) in chains.iter().zip(holders) {
            attached.push(chain.attach(&container));
            let want = format!("eth{holder}");
            assert_eq!(leads_to(&container), [want.clone(), want], "{priorities:?}");
        }
        for (chain, attached) in chains.iter().zip(&attached) {
            chain.check(&container, attached).unwrap();
        }
        // Whoever holds it goes, one after the other: the next best is there already.
        let mut left: Vec<usize> = (0..chains.len()).collect();
        while !left.is_empty() {
            let best = *left
                .iter()
                .max_by_key(|n| (priorities[**n].unwrap_or(0), usize::MAX - **n))
                .unwrap();
            let want = format!("eth{best}");
            let holds = leads_to(&container);
            assert_eq!(holds, [want.clone(), want], "{priorities:?} with {left:?}");
            chains[best].detach(&container, &attached[best]);
            left.retain(|n| *n != best);
        }
    }
}

#[test]
fn a_priority_out_of_range_is_told_of() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let refused = network(&lab, 0, Some(900_001)).add(&lab.container()).unwrap_err();
    assert_eq!(refused.error_code(), 7);
    assert!(refused.error_text().contains("gwPriority: 900001"), "{refused:?}");
}
