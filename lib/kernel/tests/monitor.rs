//! What the monitor hears, in a namespace made here. Needs root.
#![allow(clippy::unwrap_used)]

use cleat_kernel::change::Which;
use cleat_kernel::monitor::Notice;
use cleat_kernel::{Change, LinkChange, Mac, Monitor, Namespace, Rtnl, sysctl};

#[test]
fn what_is_taken_away_is_told() {
    assert!(rustix::process::geteuid().is_root(), "run this test as root");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ns");
    let namespace = Namespace::create_at(&path).unwrap();
    namespace.run(changes).unwrap();
    Namespace::remove_at(&path).unwrap();
}

fn changes() {
    let mut rtnl = Rtnl::open().unwrap();
    let mut monitor = Monitor::open().unwrap();
    assert_eq!(monitor.drain().unwrap(), []);
    let mac = Mac::from_hash(b"monitor");
    rtnl.apply(&[Change::Bridge { name: "cl0", mac, mtu: None, vlan_filtering: false }]).unwrap();
    let link = rtnl.link("cl0").unwrap().unwrap().index;
    let address = "10.9.0.1/24".parse().unwrap();
    rtnl.apply(&[Change::AddAddress { link, address, nodad: false, no_prefix_route: false }])
        .unwrap();
    let heard = monitor.drain().unwrap();
    let named = |notice: &Notice| matches!(notice, Notice::LinkChanged { name, kind } if name == "cl0" && kind == "bridge");
    assert!(heard.iter().any(named) && heard.contains(&Notice::AddressAdded { link }), "{heard:?}");

    rtnl.apply(&[Change::DeleteAddress { link, address }]).unwrap();
    assert!(monitor.drain().unwrap().contains(&Notice::AddressGone { link }));

    let other = if sysctl::read("ipv4/ip_forward").unwrap() == "1" { "0" } else { "1" };
    sysctl::write("ipv4/ip_forward", other).unwrap();
    assert!(monitor.drain().unwrap().contains(&Notice::SettingChanged));

    rtnl.apply(&[Change::Link(LinkChange { name: "cl0", up: Some(false), ..Default::default() })])
        .unwrap();
    assert!(monitor.drain().unwrap().iter().any(named));
    rtnl.apply(&[Change::DeleteLink(Which::Name("cl0".to_owned()))]).unwrap();
    let gone = Notice::LinkGone { name: "cl0".to_owned(), kind: "bridge".to_owned() };
    assert!(monitor.drain().unwrap().contains(&gone));
}
