//! Encrypted networks where the kernel cannot encrypt: they are refused, and it says why. In a
//! network namespace of the test's own; needs root.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

use cleat_engine::kernel::Rtnl;
use cleat_engine::overlay::wireguard::{DEVICES, apply, probe};
use cleat_netd::overlay::wireguard::Wireguard;
use cleat_tests::Lab;

#[test]
fn a_kernel_without_wireguard_is_told_by_name() {
    let lab = Lab::still();
    let keys = Wireguard::open(&lab.folder().join("state"), "a", 51871, 1).unwrap();
    let tunnels = keys.tunnels([], true);
    let (probed, applied) = lab.host.run(|| {
        let mut rtnl = Rtnl::open().unwrap();
        let text = |error: cleat_engine::Error| error.to_string();
        (probe(&mut rtnl).map_err(text), apply(&mut rtnl, &tunnels).map_err(text))
    });
    let device = lab.host.link(DEVICES[0]);
    match probed {
        Ok(()) => assert!(applied.unwrap().made && device.is_some()),
        Err(error) => {
            assert!(error.contains("no WireGuard (CONFIG_WIREGUARD)"), "{error}");
            assert!(error.contains("encrypted networks are refused"), "{error}");
            assert_eq!(applied.unwrap_err(), error);
            // What was to be encrypted is not sent otherwise.
            assert!(device.is_none());
            assert!(lab.host.sh("ip -6 route").contains("blackhole fd63:6c65:6174::/48"));
        }
    }
}
