//! What is heard of others' transactions, and whether a table is still as it was laid. In a
//! namespace of the test's own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use cleat_kernel::Drained;
use cleat_nft::expr::{jump, masquerade, match_in, vmap};
use cleat_nft::{
    Backend, Base, Commit, Element, Family, Hook, Key, Kind, Layout, Monitor, Netlink, Rule,
    Select, Set, Table, Touched, Transaction, Type,
};

const T: Table = Table::new(Family::Inet, "x");

fn laid() -> Transaction {
    let mut t = Transaction::new();
    let base = Base { kind: Kind::Nat, hook: Hook::Postrouting, priority: 100, drop: false };
    t.add_table(T).add_chain(T, "post", Some(base)).flush_chain(T, "post");
    t.add_chain(T, "sub", None).flush_chain(T, "sub");
    t.add_set(T, Set::new("s", &[Type::Ipv4])).flush_set(T, "s");
    t.add_set(T, Set::map("v", &[Type::IfName], &[Type::Verdict]));
    t.add_rule(T, "post", Rule::new([jump("sub")]).comment("to sub"));
    t.add_rule(T, "post", Rule::new([vmap(&[Select::Oifname], "v")]));
    t.add_rule(T, "sub", Rule::new([match_in(&[Select::IpSaddr], "s"), masquerade()]));
    t
}

fn elements(set: &str) -> Vec<Element> {
    assert_eq!(set, "s");
    (0..200).map(|n| Element::new(Key::new().ip([10, 0, 0, n].into()))).collect()
}

/// The one transaction that was heard.
fn one(monitor: &mut Monitor) -> Commit {
    let (mut commits, drained) = monitor.drain().unwrap();
    assert_eq!((commits.len(), drained), (1, Drained::All), "{commits:?}");
    commits.pop().unwrap()
}

fn touched() -> Touched {
    Touched { family: Family::Inet.number(), table: "x".to_owned(), ..Touched::default() }
}

#[test]
fn a_transaction_is_told_with_who_made_it() {
    support::enter_fresh_netns();
    let mut nft = Netlink::open();
    nft.commit(&laid()).unwrap();
    let mut monitor = Monitor::open().unwrap();
    let mut t = Transaction::new();
    t.add_elements(T, "s", elements("s"));
    nft.commit(&t).unwrap();
    let heard = one(&mut monitor);
    assert_eq!(heard.tables, [Touched { filled: vec!["s".to_owned()], ..touched() }]);
    assert_eq!(heard.thread, rustix::thread::gettid().as_raw_nonzero().get() as u32);
    assert!(!heard.program.is_empty() && heard.program != "nft");

    support::run("nft", &["delete", "element", "inet", "x", "s", "{ 10.0.0.7 }"]);
    let heard = one(&mut monitor);
    assert_eq!(heard.tables, [Touched { emptied: true, ..touched() }]);
    assert_eq!(heard.program, "nft");

    support::run("nft", &["add", "rule", "inet", "x", "sub", "counter"]);
    assert_eq!(one(&mut monitor).tables, [Touched { laid: true, ..touched() }]);

    support::run("nft", &["flush", "ruleset"]);
    let heard = one(&mut monitor);
    assert_eq!(heard.tables.len(), 1);
    assert!(heard.tables[0].cut, "{heard:?}");
    assert_eq!(monitor.drain().unwrap(), (Vec::new(), Drained::All));
}

#[test]
fn a_listener_that_was_overrun_is_told_so() {
    support::enter_fresh_netns();
    let mut nft = Netlink::open();
    nft.commit(&laid()).unwrap();
    let mut monitor = Monitor::open().unwrap();
    let mut t = Transaction::new();
    t.add_elements(T, "s", elements("s")).destroy_elements(T, "s", elements("s"));
    // Some 30 KiB of notices each: more than fits, unread.
    for _ in 0..2000 {
        nft.commit(&t).unwrap();
    }
    let (_, drained) = monitor.drain().unwrap();
    assert_eq!(drained, Drained::SomeLost);
    // And goes on to hear.
    support::run("nft", &["delete", "table", "inet", "x"]);
    assert!(one(&mut monitor).tables[0].cut);
}

#[test]
fn a_layout_compares_with_the_kernels() {
    support::enter_fresh_netns();
    let wanted = Layout::of(&laid(), T);
    let mut nft = Netlink::open();
    assert_eq!(Layout::read(&mut nft, T).unwrap(), None);
    nft.commit(&laid()).unwrap();
    assert_eq!(Layout::read(&mut nft, T).unwrap().as_ref(), Some(&wanted));
    for (changes, lack) in [
        (&["add rule inet x sub counter"][..], "chain sub has 2 rules instead of 1"),
        (
            &[
                "insert rule inet x sub counter",
                "flush chain inet x sub",
                "add rule inet x sub accept",
            ],
            "rule 1 of chain sub is another",
        ),
        (&["flush chain inet x post"], "chain post has 0 rules instead of 2"),
        (&["flush chain inet x post", "delete map inet x v"], "set v is missing"),
        (&["flush table inet x", "delete chain inet x sub"], "chain post has 0 rules instead of 2"),
        (&["flush table inet x", "delete chain inet x post"], "chain post is missing"),
    ] {
        for change in changes {
            support::run("nft", &change.split(' ').collect::<Vec<_>>());
        }
        let found = Layout::read(&mut nft, T).unwrap().unwrap();
        assert_eq!(wanted.first_lack(&found, |_| false).as_deref(), Some(lack));
        // Laid again, over what is left.
        nft.commit(&laid()).unwrap();
        assert_eq!(Layout::read(&mut nft, T).unwrap().as_ref(), Some(&wanted), "{changes:?}");
    }
    // What is beyond is somebody else's, and so are the rules of a chain that is left to them.
    support::run("nft", &["add", "chain", "inet", "x", "other"]);
    support::run("nft", &["add", "rule", "inet", "x", "sub", "counter"]);
    let found = Layout::read(&mut nft, T).unwrap().unwrap();
    assert_eq!(wanted.first_lack(&found, |chain| chain == "sub"), None);
}
