//! Any history of leasing, releasing, foreign writers and reboots, against a plain map.

use proptest::prelude::*;

use super::*;

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Reserve(u8, Option<u8>),
    Release(u8),
    Foreign(u8, u8),
    ForeignRelease(u8),
    Reboot,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..12_u8, prop::option::weighted(0.3, 1..16_u8)).prop_map(|(o, a)| Step::Reserve(o, a)),
        4 => (0..16_u8).prop_map(Step::Release),
        1 => (12..16_u8, 2..15_u8).prop_map(|(o, a)| Step::Foreign(o, a)),
        1 => (2..15_u8).prop_map(Step::ForeignRelease),
        1 => Just(Step::Reboot),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Against a model that is a map from address to owner.
    #[test]
    fn any_history_agrees_with_a_map(steps in steps()) {
        let node = Node::new(&[&["10.1.0.0/28"]]);
        let address = |n: u8| ip(&format!("10.1.0.{n}"));
        let mut model: BTreeMap<IpAddr, u8> = BTreeMap::new();
        let mut boot = 1;
        for step in steps {
            let pool = node.pool_in(&format!("boot{boot}"));
            match step {
                Step::Reserve(o, wish) => {
                    let wish = wish.map(address);
                    let got = pool.reserve(&owner(&o.to_string()), wish.as_slice());
                    let refused = model.values().any(|holder| *holder == o)
                        || wish.is_some_and(|w| {
                            model.contains_key(&w) || w == address(1) || w == address(15)
                        })
                        || (wish.is_none() && model.len() == 13);
                    prop_assert_eq!(got.is_err(), refused, "{:?}", got);
                    if let Ok(leases) = got {
                        let given = leases[0].address.addr();
                        prop_assert!(wish.is_none_or(|w| w == given));
                        prop_assert_eq!(model.insert(given, o), None);
                    }
                }
                Step::Release(o) => {
                    let freed = pool.release(&owner(&o.to_string())).unwrap();
                    let expected: Vec<IpAddr> =
                        model.iter().filter(|(_, h)| **h == o).map(|(a, _)| *a).collect();
                    prop_assert_eq!(&freed, &expected);
                    model.retain(|_, holder| *holder != o);
                }
                Step::Foreign(o, n) => {
                    if model.values().all(|h| *h != o) && !model.contains_key(&address(n)) {
                        node.foreign(&address(n).to_string(), &format!("{o}\r\neth0"));
                        model.insert(address(n), o);
                    }
                }
                Step::ForeignRelease(n) => {
                    let _ = fs::remove_file(node.leases().join(address(n).to_string()));
                    model.remove(&address(n));
                }
                Step::Reboot => {
                    boot += 1;
                    model.retain(|_, holder| *holder >= 12);
                    let fresh = node.pool_in(&format!("boot{boot}"));
                    prop_assert!(fresh.owned(&owner("0")).unwrap().is_empty());
                }
            }
            let pool = node.pool_in(&format!("boot{boot}"));
            let held: BTreeMap<IpAddr, u8> = pool
                .list()
                .unwrap()
                .into_iter()
                .map(|h| (h.address, h.owner.id.parse().unwrap()))
                .collect();
            prop_assert_eq!(&held, &model);
        }
    }
}
