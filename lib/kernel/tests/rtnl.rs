//! Against the real kernel, in namespaces made here. Needs root.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::PathBuf;
use std::time::Duration;

use cleat_kernel::change::Which;
use cleat_kernel::{
    Change, LinkChange, Mac, Namespace, Operstate, Presence, Route, Rtnl, VethPair,
};

struct Lab {
    dir: tempfile::TempDir,
    made: Vec<PathBuf>,
}

impl Lab {
    fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "run this test as root");
        Self { dir: tempfile::tempdir().unwrap(), made: Vec::new() }
    }

    fn namespace(&mut self, name: &str) -> Namespace {
        let path = self.dir.path().join(name);
        let namespace = Namespace::create_at(&path).unwrap();
        self.made.push(path);
        namespace
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for path in &self.made {
            let _ = Namespace::remove_at(path);
        }
    }
}

#[test]
fn a_bridge_with_a_container() {
    let mut lab = Lab::new();
    let (host, container) = (lab.namespace("host"), lab.namespace("c1"));
    host.run(|| {
        let mut rtnl = Rtnl::open().unwrap();
        rtnl.apply(&[Change::Bridge {
            name: "cl0",
            mac: Mac::from_hash(b"cl0cl0"),
            mtu: None,
            vlan_filtering: false,
        }])
        .unwrap();
        let bridge = rtnl.link("cl0").unwrap().unwrap();
        assert_eq!(bridge.kind, "bridge");
        rtnl.apply(&[
            Change::AddAddress {
                link: bridge.index,
                address: "10.9.0.1/24".parse().unwrap(),
                nodad: false,
                no_prefix_route: false,
            },
            Change::Veth(VethPair {
                name: "vethx",
                mac: Mac::from_hash(b"vethxx"),
                mtu: Some(1400),
                master: Some(bridge.index),
                peer: "eth0",
                peer_mac: Some("02:42:0a:09:00:02".parse().unwrap()),
                netns: &container,
            }),
            Change::Link(LinkChange {
                name: "vethx",
                up: Some(true),
                no_link_local: true,
                hairpin: Some(true),
                isolated: Some(true),
                ..LinkChange::default()
            }),
            Change::Neighbour {
                link: bridge.index,
                address: "10.9.0.2".parse().unwrap(),
                mac: "02:42:0a:09:00:02".parse().unwrap(),
            },
        ])
        .unwrap();
        let mut inside = Rtnl::open_in(&container).unwrap();
        let eth0 = inside.link("eth0").unwrap().unwrap();
        assert_eq!((eth0.mtu, eth0.mac.unwrap().to_string().as_str()), (1400, "02:42:0a:09:00:02"));
        inside
            .apply(&[
                Change::AddAddress {
                    link: eth0.index,
                    address: "10.9.0.2/24".parse().unwrap(),
                    nodad: false,
                    no_prefix_route: false,
                },
                Change::Link(LinkChange {
                    index: eth0.index,
                    up: Some(true),
                    ..LinkChange::default()
                }),
                Change::AddRoute(Route {
                    gateway: Some("10.9.0.1".parse().unwrap()),
                    mtu: Some(1300),
                    ..Route::to("0.0.0.0/0".parse().unwrap())
                }),
            ])
            .unwrap();
        let near = rtnl.link("vethx").unwrap().unwrap();
        rtnl.wait_up(near.index, Duration::from_secs(2)).unwrap();
        rtnl.wait_up(bridge.index, Duration::from_secs(2)).unwrap();
        let port = rtnl.ports_of(bridge.index).unwrap().remove(0);
        assert!(port.bridge_port.unwrap().hairpin && port.bridge_port.unwrap().isolated);
        assert_eq!(port.operstate, Operstate::Up);
        assert!(rtnl.addresses(Some(near.index)).unwrap().is_empty(), "no link-local address");
        let entries = rtnl.neighbours(Some(bridge.index)).unwrap();
        assert!(entries[0].permanent);
        let address = entries[0].address;
        assert_eq!(rtnl.neighbour(bridge.index, address).unwrap(), Some(entries[0]));
        let default = inside.default_route(false).unwrap().unwrap();
        assert_eq!(
            (default.gateway.unwrap().to_string().as_str(), default.mtu),
            ("10.9.0.1", Some(1300))
        );
        assert_eq!(inside.route_to("8.8.8.8".parse().unwrap()).unwrap(), Some(eth0.index));

        assert!(rtnl.delete_link_fast(&Which::Name("vethx".into()), None).unwrap());
        assert!(rtnl.link("vethx").unwrap().is_none());
        assert!(inside.link("eth0").unwrap().is_none());
        assert!(!rtnl.delete_link_fast(&Which::Name("vethx".into()), None).unwrap());
    })
    .unwrap();
    cleat_kernel::delete::reap();
}

#[test]
fn a_refusal_names_the_change_and_the_rest_is_done() {
    let mut lab = Lab::new();
    let host = lab.namespace("host");
    let mut rtnl = Rtnl::open_in(&host).unwrap();
    let bridge = |name| Change::Bridge {
        name,
        mac: Mac::from_hash(b"abcdef"),
        mtu: None,
        vlan_filtering: false,
    };
    let refused = rtnl.apply(&[bridge("cl1"), bridge("cl1"), bridge("cl2")]).unwrap_err();
    assert_eq!(refused.index, 1);
    assert!(refused.error.is_exists());
    assert_eq!(refused.error.to_string(), "create bridge cl1: File exists");
    assert!(rtnl.link("cl2").unwrap().is_some());
    assert!(!rtnl.delete_link("nothing").unwrap());
}

#[test]
fn all_refusals_of_thousands_are_told() {
    let mut lab = Lab::new();
    let host = lab.namespace("host");
    let mut rtnl = Rtnl::open_in(&host).unwrap();
    let name = "cl1";
    let mac = Mac::from_hash(b"abcdef");
    rtnl.apply(&[Change::Bridge { name, mac, mtu: None, vlan_filtering: false }]).unwrap();
    let link = rtnl.link(name).unwrap().unwrap().index;
    let address = |n: u32| std::net::Ipv4Addr::from(0x0a00_0000 + n).into();
    // Every other one exists.
    let made = (0..10_000).step_by(2).map(|n| Change::Neighbour { link, address: address(n), mac });
    assert!(rtnl.apply_all(made).unwrap().is_empty());
    let there = rtnl.neighbours(Some(link)).unwrap();
    assert_eq!(there.iter().filter(|n| n.permanent).count(), 5000);
    let gone = (0..10_000).map(|n| Change::DeleteNeighbour { link, address: address(n) });
    let refused = rtnl.apply_all(gone).unwrap();
    assert_eq!(refused.len(), 5000);
    for refused in refused {
        assert_eq!(refused.index % 2, 1);
        let address: std::net::IpAddr = address(refused.index as u32);
        assert!(refused.error.to_string().starts_with(&format!("delete neighbour {address}:")));
    }
}

#[test]
fn a_namespace_is_known_again_by_its_cookie_only() {
    let mut lab = Lab::new();
    let one = lab.namespace("one");
    let path = one.path().to_owned();
    let cookie = Rtnl::open_in(&one).unwrap().netns_cookie();
    assert!(cookie.is_some(), "this test needs Linux 5.14");
    assert_eq!(Namespace::probe(&path, cookie), Presence::Same);
    drop(one);
    Namespace::remove_at(&path).unwrap();
    assert_eq!(Namespace::probe(&path, cookie), Presence::Unknown);
    Namespace::create_at(&path).unwrap();
    assert_eq!(Namespace::probe(&path, cookie), Presence::Other);
    std::fs::File::create(lab.dir.path().join("plain")).unwrap();
    let error = Namespace::open(lab.dir.path().join("plain")).unwrap_err();
    assert!(error.to_string().ends_with("is not a network namespace"), "{error}");
}

#[test]
fn a_panic_inside_comes_back_home() {
    let mut lab = Lab::new();
    let other = lab.namespace("other");
    let home = Namespace::current().unwrap();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = other.run(|| panic!("inside"));
    }));
    assert!(caught.is_err());
    assert!(home.is_current());
}

#[test]
fn forwarding_keeps_router_advertisements() {
    let mut lab = Lab::new();
    let host = lab.namespace("host");
    host.run(|| {
        use cleat_kernel::sysctl;
        assert!(sysctl::enable_forwarding_v6().unwrap());
        assert_eq!(sysctl::read("ipv6/conf/lo/accept_ra").unwrap(), "2");
        assert!(!sysctl::enable_forwarding_v6().unwrap());
        assert_eq!(sysctl::read("ipv6/conf/all/forwarding").unwrap(), "1");
    })
    .unwrap();
}
