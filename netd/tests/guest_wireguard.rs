//! Encrypted networks between two hosts, in a kernel that has WireGuard: what containers reach,
//! and what somebody in between reads, from before the tunnels are there until after they are gone.
//@ vm-modules: wireguard vxlan
//@ vm-seconds: 600
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, reason = "flows go on for a time")]

#[path = "wireguard/hosts.rs"]
mod hosts;

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cleat_engine::overlay::wireguard::{DEVICES, PREFIX, PeerKey, TunnelPeer, Tunnels};
use cleat_netd::overlay::wireguard::Phase;
use cleat_tests::{Flow, wait_until};
use hosts::{Hosts, Reader};

/// Flows on an emulated machine want it for themselves.
static ALONE: Mutex<()> = Mutex::new(());

const BOTH: [bool; 2] = [true, true];
const NONE: [bool; 2] = [false, false];

#[test]
fn nothing_is_to_be_read_in_between_at_any_time() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for v6 in [false, true] {
        let hosts = Hosts::on(v6);
        let reader = Reader::at(&hosts.fleet.switch);
        // Before: there is no address to send from.
        let refused = hosts.segment(1).unwrap_err();
        assert!(refused.contains("fd63:6c65:6174:"), "{refused}");
        // In between: one host is ready, and the other knows nothing.
        hosts.tunnel(1);
        let made = hosts.segment(1).unwrap();
        let mtu = if v6 { 1420 } else { 1440 } - 70;
        assert_eq!((made.mtu, made.refused.len()), (mtu, 0), "{made:?}");
        let one = hosts.container(1);
        hosts.fleet[2].lab.host.ip("addr add 10.77.2.5/32 dev lo");
        let nobody = one.ns.command("ping").args(["-c1", "-W1", "10.77.2.5"]).output().unwrap();
        assert!(!nobody.status.success() && reader.clear() == 0, "{}", hosts.show(1));
        hosts.fleet[2].lab.host.ip("addr del 10.77.2.5/32 dev lo");
        // After.
        hosts.everything();
        let two = hosts.container(2);
        wait_until("they shook hands", || one.pings(&two) == BOTH);
        assert_eq!(two.pings(&one), BOTH, "{}", hosts.show(2));
        assert!(reader.encrypted() > 0 && reader.clear() == 0, "{}", reader.clear());
        assert_eq!((hosts.tunnel(1).changed, hosts.tunnel(1).made), (0, false), "nothing to do");
        // Whatever is lost: nothing is sent in its place, and it is back.
        for damage in ["ip link del clwg0", "ip link set clwg0 down", "ip -6 route flush dev clwg0"]
        {
            hosts.fleet[1].lab.host.sh(damage);
            assert_eq!(one.pings(&two), NONE, "{damage}");
            hosts.tunnel(1);
            hosts.segment(1).unwrap();
            wait_until("it is back", || one.pings(&two) == BOTH);
        }
        // A node that is forgotten is sent nothing.
        let applied = hosts.tunnel_to(1, &[]);
        assert!(applied.changed >= 2, "a peer and its route: {applied:?}");
        assert_eq!(one.pings(&two), NONE);
        assert_eq!(reader.clear(), 0);
    }
}

#[test]
fn keys_change_without_a_lost_packet() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for v6 in [false, true] {
        let hosts = Hosts::on(v6);
        let reader = Reader::at(&hosts.fleet.switch);
        hosts.everything();
        let (one, two) = (hosts.container(1), hosts.container(2));
        wait_until("they shook hands", || one.pings(&two) == BOTH);
        assert_eq!(two.pings(&one), BOTH);
        let every = Duration::from_millis(20);
        let flows = || {
            [
                Flow::between(&one.ns, &two.ns, &two.addresses[0], every),
                Flow::between(&two.ns, &one.ns, &one.addresses[1], every),
            ]
        };
        let calm = flows();
        thread::sleep(Duration::from_secs(3));
        let losses = calm.map(Flow::stop);
        assert!(losses.iter().all(|loss| loss.lost == 0), "before anything: {losses:?}");
        let flows = flows();
        // One changes its keys, and then both at once.
        for changing in [&[1][..], &[1, 2]] {
            let before = changing.iter().map(|n| hosts.host(*n).keys.borrow().address());
            let before: Vec<_> = before.collect();
            change_keys(&hosts, changing);
            let after = changing.iter().map(|n| hosts.host(*n).keys.borrow().address());
            assert!(after.zip(before).all(|(after, before)| after != before));
        }
        let losses = flows.map(Flow::stop);
        assert!(losses.iter().all(|loss| loss.lost == 0 && loss.sent > 100), "{losses:?}");
        assert_eq!(reader.clear(), 0);
        let devices = hosts.fleet[1].lab.host.sh("ip -br link show type wireguard");
        assert_eq!(devices.lines().count(), 1, "{devices}");
        assert_eq!(hosts.fleet[1].lab.host.sh("ip -6 rule").matches("5187").count(), 0);
    }
}

/// As netd does it, with a clock that is told.
fn change_keys(hosts: &Hosts, changing: &[usize]) {
    let mut now = 5000;
    let all = || {
        hosts.tell();
        let applied = [1, 2].map(|number| hosts.tunnel(number));
        [1, 2].map(|number| hosts.segment(number).unwrap());
        applied
    };
    for number in changing {
        hosts.host(*number).keys.borrow_mut().rotate(now).unwrap();
    }
    all();
    let start = Instant::now();
    loop {
        let applied = all();
        let mut steady = true;
        for number in changing {
            let mut keys = hosts.host(*number).keys.borrow_mut();
            let all_have = applied[number - 1].silent.is_empty();
            if keys.phase() != Phase::Offered {
                now += 30;
            }
            keys.advance(all_have, now).unwrap();
            steady &= keys.phase() == Phase::Steady;
        }
        if steady {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{applied:?}");
        thread::sleep(Duration::from_millis(200));
    }
    all();
}

#[test]
fn a_thousand_peers_are_set_and_forgotten() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let hosts = Hosts::on(true);
    let peer = |n: u16| {
        let [high, low] = n.to_be_bytes();
        let key = std::array::from_fn(|i| [high, low, 7][i.min(2)]);
        TunnelPeer {
            node: format!("node-{n}"),
            address: format!("2001:db8::1:{n}").parse().unwrap(),
            keys: vec![PeerKey { generation: 1, key, port: 51871 }],
        }
    };
    let mut tunnels = hosts.host(1).keys.borrow().tunnels([], true);
    tunnels.peers = (0..1000).map(peer).collect();
    let host = &hosts.fleet[1].lab.host;
    let timed = |tunnels: &Tunnels| {
        let start = Instant::now();
        (hosts.apply(1, tunnels), start.elapsed())
    };
    let (first, cold) = timed(&tunnels);
    // Each has a route, and what has none ends in a blackhole.
    assert_eq!((first.made, first.changed, first.silent.len()), (true, 2001, 1000), "{cold:?}");
    let (again, warm) = timed(&tunnels);
    assert_eq!((again.made, again.changed), (false, 0), "{warm:?}");
    let routes = || host.sh("ip -6 route show dev clwg0").matches("proto 88").count();
    assert_eq!(routes(), 1000);
    tunnels.peers.truncate(10);
    // Who is not known for sure to be gone stays.
    tunnels.complete = false;
    assert_eq!((timed(&tunnels).0.changed, routes()), (0, 1000));
    tunnels.complete = true;
    assert_eq!((timed(&tunnels).0.changed, routes()), (2 * 990, 10));
    println!("a thousand peers: {cold:?}, again {warm:?}");
    host.run(|| {
        let mut rtnl = cleat_engine::kernel::Rtnl::open().unwrap();
        cleat_engine::overlay::wireguard::remove(&mut rtnl).unwrap();
    });
    assert!(host.link(DEVICES[0]).is_none());
    assert!(!host.sh("ip -6 route show").contains(&PREFIX.addr().to_string()));
}
