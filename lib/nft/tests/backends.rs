//! The kernel and the stand-in, held to the same behaviour.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use cleat_nft::expr::{self, Select};
use cleat_nft::{
    Backend, Base, Data, Element, Error, Fake, Family, Hook, Key, Kind, Netlink, Rule, Set, Table,
    Transaction, Type, Verdict,
};
use rustix::io::Errno;

const T: Table = Table::new(Family::Inet, "x");

/// Runs a scenario against each backend: the kernel, the kernel as if old, the stand-in.
fn each(scenario: fn(&mut dyn Backend)) {
    for mut backend in [
        Box::new(Fake::new()) as Box<dyn Backend>,
        Box::new(Netlink::open()),
        Box::new(Netlink::open().without_destroy()),
    ] {
        support::enter_fresh_netns();
        let mut t = Transaction::new();
        t.add_table(T).add_chain(T, "c", None).add_chain(T, "d", None);
        t.add_set(T, Set::map("m", &[Type::Proto, Type::Service], &[Type::Ipv4]));
        t.add_set(T, Set::map("v", &[Type::Mark], &[Type::Verdict]));
        backend.commit(&t).unwrap();
        scenario(backend.as_mut());
    }
}

fn commit(nft: &mut dyn Backend, fill: impl FnOnce(&mut Transaction)) -> Result<(), Error> {
    let mut t = Transaction::new();
    fill(&mut t);
    nft.commit(&t)
}

fn port(port: u16, to: u8) -> Element {
    Element::map(Key::new().proto(6).port(port), Key::new().ip([10, 0, 0, to].into()))
}

const BASE: Base = Base { kind: Kind::Filter, hook: Hook::Forward, priority: -5, drop: false };

fn base(drop: bool) -> Option<Base> {
    Some(Base { drop, ..BASE })
}

#[test]
fn a_transaction_is_done_whole_or_not_at_all() {
    each(|nft| {
        let failed = commit(nft, |t| {
            t.add_elements(T, "m", vec![port(1, 1)]);
            t.add_chain(T, "e", None).delete_chain(T, "none");
        });
        assert!(failed.unwrap_err().is_not_found());
        assert_eq!(nft.elements(T, "m").unwrap(), []);
        let names: Vec<_> =
            nft.chains(T.family, T.name).unwrap().into_iter().map(|c| c.name).collect();
        assert_eq!(names, ["c", "d"]);
    });
}

#[test]
fn an_exclusive_element_that_is_taken_is_named() {
    each(|nft| {
        commit(nft, |t| _ = t.add_elements(T, "m", vec![port(80, 1)])).unwrap();
        let error = commit(nft, |t| {
            t.add_elements_exclusive(T, "m", vec![port(79, 2), port(80, 1), port(81, 2)]);
        })
        .unwrap_err();
        assert!(error.is_exists());
        assert_eq!(error.element(), Some(1));
        assert_eq!(error.to_string(), "add element m tcp . 80 in table inet x: File exists");
        assert_eq!(nft.elements(T, "m").unwrap(), [port(80, 1)]);
    });
}

#[test]
fn a_shared_element_clashes_only_with_other_data() {
    each(|nft| {
        commit(nft, |t| _ = t.add_elements(T, "m", vec![port(80, 1)])).unwrap();
        commit(nft, |t| _ = t.add_elements(T, "m", vec![port(80, 1)])).unwrap();
        let error = commit(nft, |t| _ = t.add_elements(T, "m", vec![port(80, 2)])).unwrap_err();
        assert!(error.is_exists());
    });
}

#[test]
fn destroying_what_is_absent_is_no_error() {
    each(|nft| {
        commit(nft, |t| _ = t.add_elements(T, "m", vec![port(80, 1), port(81, 1)])).unwrap();
        let gone = vec![port(79, 1), port(80, 9), port(82, 1)];
        commit(nft, |t| _ = t.destroy_elements(T, "m", gone)).unwrap();
        assert_eq!(nft.elements(T, "m").unwrap(), [port(81, 1)]);
        commit(nft, |t| _ = t.destroy_elements(T, "m", vec![port(80, 1)])).unwrap();
        commit(nft, |t| _ = t.destroy_elements(T, "m", vec![])).unwrap();
        assert_eq!(nft.elements(T, "m").unwrap(), [port(81, 1)]);
        commit(nft, |t| _ = t.flush_set(T, "m")).unwrap();
        assert_eq!(nft.elements(T, "m").unwrap(), []);
    });
}

#[test]
fn an_element_is_found_by_its_key_with_its_data_and_comment() {
    each(|nft| {
        let one = port(80, 1).comment("web/eth0");
        let jump = Element::verdict(Key::new().mark(5), Verdict::Goto("d".to_owned()));
        commit(nft, |t| {
            t.add_elements(T, "m", vec![one.clone()]).add_elements(T, "v", vec![jump.clone()]);
        })
        .unwrap();
        assert_eq!(nft.element(T, "m", &one.key).unwrap(), Some(one));
        assert_eq!(nft.elements(T, "v").unwrap(), [jump]);
        assert_eq!(nft.element(T, "m", &port(81, 1).key).unwrap(), None);
        assert_eq!(nft.element(T, "none", &port(81, 1).key).unwrap(), None);
        assert!(nft.elements(T, "none").unwrap_err().is_not_found());
    });
}

#[test]
fn what_is_referred_to_cannot_go_first() {
    each(|nft| {
        commit(nft, |t| {
            t.add_rule(T, "c", Rule::new([expr::jump("d")]));
            t.add_rule(T, "c", Rule::new([expr::vmap(&[Select::Mark], "v")]));
        })
        .unwrap();
        assert!(commit(nft, |t| _ = t.delete_chain(T, "d")).unwrap_err().is_busy());
        assert!(commit(nft, |t| _ = t.delete_set(T, "v")).unwrap_err().is_busy());
        commit(nft, |t| _ = t.flush_chain(T, "c").delete_chain(T, "d").delete_set(T, "v")).unwrap();
        assert_eq!(nft.sets(T).unwrap(), ["m"]);
        let jump = Element::verdict(Key::new().mark(1), Verdict::Jump("c".to_owned()));
        commit(nft, |t| {
            t.add_set(T, Set::map("v", &[Type::Mark], &[Type::Verdict]));
            t.add_elements(T, "v", vec![jump]);
        })
        .unwrap();
        assert!(commit(nft, |t| _ = t.delete_chain(T, "c")).unwrap_err().is_busy());
    });
}

#[test]
fn what_does_not_fit_is_refused() {
    type Fill = fn(&mut Transaction);
    let cases: [(Fill, Errno); 11] = [
        (|t| _ = t.add_chain(Table::new(Family::Ip, "none"), "c", None), Errno::NOENT),
        (|t| _ = t.add_rule(T, "none", Rule::default()), Errno::NOENT),
        (|t| _ = t.add_rule(T, "c", Rule::new([expr::jump("none")])), Errno::NOENT),
        (
            |t| _ = t.add_rule(T, "c", Rule::new([expr::vmap(&[Select::Mark], "none")])),
            Errno::NOENT,
        ),
        (|t| _ = t.delete_rule(T, "c", 4711), Errno::NOENT),
        (|t| _ = t.add_elements(T, "none", vec![port(1, 1)]), Errno::NOENT),
        (|t| _ = t.destroy_elements(T, "m", vec![]).flush_set(T, "none"), Errno::NOENT),
        (|t| _ = t.add_elements(T, "m", vec![Element::new(Key::new().port(1))]), Errno::INVAL),
        (|t| _ = t.add_set(T, Set::new("m", &[Type::Mark])), Errno::EXIST),
        (|t| _ = t.add_chain(T, "c", base(false)), Errno::OPNOTSUPP),
        (|t| _ = t.add_chain(T, "b", Some(Base { priority: 7, ..BASE })), Errno::OPNOTSUPP),
    ];
    for (n, (fill, errno)) in cases.into_iter().enumerate() {
        for mut nft in [Box::new(Fake::new()) as Box<dyn Backend>, Box::new(Netlink::open())] {
            support::enter_fresh_netns();
            commit(nft.as_mut(), |t| {
                t.add_table(T).add_chain(T, "c", None).add_chain(T, "b", base(false));
                t.add_set(T, Set::map("m", &[Type::Proto, Type::Service], &[Type::Ipv4]));
            })
            .unwrap();
            assert_eq!(commit(nft.as_mut(), fill).unwrap_err().errno(), Some(errno), "case {n}");
        }
    }
}

#[test]
fn the_same_again_is_no_error() {
    each(|nft| {
        for drop in [false, true, true] {
            commit(nft, |t| {
                t.add_table(T).add_chain(T, "c", None).add_chain(T, "b", base(drop));
                t.add_set(T, Set::map("v", &[Type::Mark], &[Type::Verdict]));
            })
            .unwrap();
            let chains = nft.chains(T.family, T.name).unwrap();
            let found = chains.into_iter().find(|c| c.name == "b").and_then(|c| c.base);
            assert_eq!(found, base(drop).map(Into::into));
        }
        for _ in 0..2 {
            commit(nft, |t| _ = t.delete_table(T)).unwrap();
            assert!(!nft.table_exists(T).unwrap());
            assert_eq!(nft.chains(T.family, T.name).unwrap(), []);
            assert_eq!(nft.rules(T.family, T.name, "c").unwrap(), []);
            assert_eq!(nft.sets(T).unwrap(), Vec::<String>::new());
        }
        commit(nft, |t| _ = t.add_table(Table::new(Family::Bridge, "y"))).unwrap();
        assert_eq!(nft.tables().unwrap(), [(7, "y".to_owned())]);
    });
}

#[test]
fn rules_are_found_in_order_and_deleted_by_handle() {
    each(|nft| {
        let marked = || vec![expr::mark_has_bit(0x1000), expr::counter(), expr::accept()];
        commit(nft, |t| {
            t.add_rule(T, "c", Rule::new([expr::jump("d")]).comment("second"));
            t.insert_rule(T, "c", Rule::new(marked()).comment("first"));
            t.add_rule(T, "c", Rule::new([expr::match_iifname("lo"), expr::accept()]));
        })
        .unwrap();
        let rules = nft.rules(T.family, T.name, "c").unwrap();
        let comments: Vec<_> = rules.iter().map(|r| r.comment.as_deref()).collect();
        assert_eq!(comments, [Some("first"), Some("second"), None]);
        let marks: Vec<_> = rules.iter().map(|r| r.accepts_mark).collect();
        assert_eq!(marks, [Some(0x1000), None, None]);
        assert_eq!(rules[0].expressions, ["meta", "bitwise", "cmp", "counter", "immediate"]);
        assert_eq!(rules[1].targets, ["d"]);
        commit(nft, |t| _ = t.delete_rule(T, "c", rules[1].handle)).unwrap();
        let left = nft.rules(T.family, T.name, "c").unwrap();
        assert_eq!(left, [rules[0].clone(), rules[2].clone()]);
    });
}

#[test]
fn ten_thousand_elements_go_in_one_transaction() {
    each(|nft| {
        let many: Vec<_> = (0..10_000).map(|n| port(n, 1).comment(format!("c{n}"))).collect();
        commit(nft, |t| _ = t.add_elements(T, "m", many.clone())).unwrap();
        let mut found = nft.elements(T, "m").unwrap();
        found.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(found, many);
        commit(nft, |t| _ = t.destroy_elements(T, "m", many)).unwrap();
        assert_eq!(nft.elements(T, "m").unwrap(), []);
    });
}

#[test]
fn a_ready_made_failure_comes_once_and_changes_nothing() {
    let mut fake = Fake::new();
    fake.fail_at(2);
    commit(&mut fake, |t| _ = t.add_table(T).add_set(T, Set::new("s", &[Type::Mark]))).unwrap();
    let before = fake.dump();
    let fill = |t: &mut Transaction| {
        t.add_elements(T, "s", vec![Element::new(Key::new().mark(1))]);
    };
    assert_eq!(commit(&mut fake, fill).unwrap_err().errno(), Some(Errno::NOBUFS));
    assert_eq!(fake.dump(), before);
    commit(&mut fake, fill).unwrap();
    assert_eq!(fake.dump(), "table inet x\n  set s { mark }\n    0x00000001\n");
    assert_eq!(fake.element(T, "s", &Key::new().mark(1)).unwrap().unwrap().data, Data::None);
}
