//! Tables that others made: iptables-nft, `nft`, the reference plugins.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use cleat_nft::{Backend, Family, Hook, Netlink, Table, Transaction, expr};

const FILTER: Table = Table::new(Family::Ip, "filter");

#[test]
fn iptables_chains_are_read_and_rules_deleted_by_handle() {
    support::enter_fresh_netns();
    for args in [
        "-N CNI-FORWARD",
        "-A FORWARD -m comment --comment firewall-plugin -j CNI-FORWARD",
        "-A FORWARD -m mark --mark 0x1000/0x1000 -j ACCEPT",
        "-t nat -A POSTROUTING -s 10.0.0.0/8 -m comment --comment x -j MASQUERADE",
        "-A INPUT -m mark --mark 0x2000/0x3000 -j ACCEPT",
        "-A INPUT -m mark --mark 0x2000/0x2000 -j DROP",
    ] {
        support::run("iptables-nft", &args.split(' ').collect::<Vec<_>>());
    }
    let mut nft = Netlink::open();
    assert_eq!(nft.tables().unwrap(), [(2, "filter".to_owned()), (2, "nat".to_owned())]);
    let chains = nft.chains(Family::Ip, "filter").unwrap();
    let forward = chains.iter().find(|c| c.name == "FORWARD").unwrap();
    let base = forward.base.as_ref().unwrap();
    assert_eq!((base.kind.as_str(), base.hook, base.drop), ("filter", Some(Hook::Forward), false));
    assert!(chains.iter().any(|c| c.name == "CNI-FORWARD" && c.base.is_none()));

    let rules = nft.rules(Family::Ip, "filter", "FORWARD").unwrap();
    assert_eq!(rules.len(), 2);
    assert_eq!(rules[0].comment.as_deref(), Some("firewall-plugin"));
    assert_eq!(rules[0].targets, ["CNI-FORWARD"]);
    assert_eq!(rules[1].accepts_mark, Some(0x1000));
    let input = nft.rules(Family::Ip, "filter", "INPUT").unwrap();
    assert_eq!([input[0].accepts_mark, input[1].accepts_mark], [None, None]);
    let nat = nft.rules(Family::Ip, "nat", "POSTROUTING").unwrap();
    assert_eq!(nat[0].comment.as_deref(), Some("x"));

    let mut t = Transaction::new();
    t.delete_rule(FILTER, "FORWARD", rules[0].handle);
    nft.commit(&t).unwrap();
    let left = support::run("iptables-nft", &["-S", "FORWARD"]);
    assert_eq!(left, "-P FORWARD ACCEPT\n-A FORWARD -m mark --mark 0x1000/0x1000 -j ACCEPT\n");
}

#[test]
fn iptables_lists_and_deletes_our_mark_rule() {
    support::enter_fresh_netns();
    support::run("iptables-nft", &["-P", "FORWARD", "DROP"]);
    let mut t = Transaction::new();
    let rule = [expr::mark_has_bit(0x1000), expr::counter(), expr::accept()];
    t.insert_rule(FILTER, "FORWARD", cleat_nft::Rule::new(rule));
    Netlink::open().commit(&t).unwrap();
    let mark = "FORWARD -m mark --mark 0x1000/0x1000 -j ACCEPT";
    let listed = support::run("iptables-nft", &["-S", "FORWARD"]);
    assert_eq!(listed, format!("-P FORWARD DROP\n-A {mark}\n"));
    let args: Vec<_> = ["-D"].into_iter().chain(mark.split(' ')).collect();
    support::run("iptables-nft", &args);
}

#[test]
fn rules_that_nft_made_show_comment_and_targets() {
    support::enter_fresh_netns();
    support::load(
        "table inet cni_hostport {
            chain hostports { tcp dport 80 dnat ip to 10.0.0.2:80 comment \"ID:abc\"; }
            chain pre { type nat hook prerouting priority dstnat; fib daddr type local goto hostports; }
        }",
    );
    let mut nft = Netlink::open();
    let rules = nft.rules(Family::Inet, "cni_hostport", "hostports").unwrap();
    assert_eq!(rules[0].comment.as_deref(), Some("ID:abc"));
    assert_eq!(rules[0].expressions.last().map(String::as_str), Some("nat"));
    let pre = nft.rules(Family::Inet, "cni_hostport", "pre").unwrap();
    assert_eq!(pre[0].targets, ["hostports"]);
    let chains = nft.chains(Family::Inet, "cni_hostport").unwrap();
    assert_eq!(chains.len(), 2);
}
