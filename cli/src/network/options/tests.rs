//! Every option of Docker and of Podman is answered by name.

use super::*;

fn one(driver: DriverName, key: &str, value: &str) -> Result<Settings> {
    read(driver, &[(key.to_owned(), value.to_owned())])
}

/// The bridge and macvlan options of Docker 28 and netavark 2.
const PEERS: [(DriverName, &[&str]); 2] = [
    (
        DriverName::Bridge,
        &[
            "com.docker.network.bridge.name",
            "com.docker.network.bridge.enable_ip_masquerade",
            "com.docker.network.bridge.enable_icc",
            "com.docker.network.bridge.host_binding_ipv4",
            "com.docker.network.bridge.gateway_mode_ipv4",
            "com.docker.network.bridge.gateway_mode_ipv6",
            "com.docker.network.bridge.inhibit_ipv4",
            "com.docker.network.bridge.default_bridge",
            "com.docker.network.bridge.trusted_host_interfaces",
            "com.docker.network.driver.mtu",
            "com.docker.network.container_iface_prefix",
            "com.docker.network.host_ipv4",
            "com.docker.network.host_ipv6",
            "com.docker.network.enable_ipv4",
            "com.docker.network.enable_ipv6",
            "com.docker.network.endpoint.sysctls",
            "com.docker.network.endpoint.ifname",
            "com.docker.network.endpoint.advertise_addr_nmsgs",
            "com.docker.network.endpoint.advertise_addr_ms",
            "mode",
            "mtu",
            "isolate",
            "metric",
            "no_default_route",
            "vrf",
            "vlan",
            "outbound_addr4",
            "outbound_addr6",
            "host_interface_name",
        ],
    ),
    (
        DriverName::Macvlan,
        &[
            "parent",
            "macvlan_mode",
            "mode",
            "mtu",
            "com.docker.network.driver.mtu",
            "metric",
            "no_default_route",
            "bclim",
            "ipvlan_mode",
            "ipvlan_flag",
        ],
    ),
];

#[test]
fn every_option_of_the_peers_is_known() {
    for (driver, keys) in PEERS {
        for key in keys {
            let known = entries(driver).any(|(name, _)| name == key);
            assert!(known, "{key}");
            if let Err(error) = one(driver, key, "nonsense here, for sure") {
                let text = error.to_string();
                assert!(text.contains(key) && !text.contains("no such option"), "{text}");
            }
        }
    }
}

#[test]
fn values() {
    let bridge = |key, value| one(DriverName::Bridge, key, value).unwrap();
    assert_eq!(bridge("mtu", "1400").mtu, Some(1400));
    assert_eq!(bridge("mtu", "0").mtu, None);
    assert!(!bridge("no_default_route", "true").default_route);
    assert!(bridge("com.docker.network.bridge.enable_icc", "false").bridge.port_isolation);
    assert_eq!(bridge("isolate", "strict").bridge.ingress, Some("isolated"));
    assert_eq!(bridge("isolate", "1").bridge.ingress, Some("same-bridge"));
    assert_eq!(bridge("isolate", "false").bridge.inbound, Some("open"));
    assert_eq!(bridge("vlan", "12").bridge.vlan, Some(12));
    let sysctls = bridge(
        "com.docker.network.endpoint.sysctls",
        "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.accept_ra=0",
    );
    assert_eq!(sysctls.sysctls.len(), 2);
    let macvlan = one(DriverName::Macvlan, "parent", "eth0.10").unwrap();
    assert_eq!(macvlan.link.as_deref(), Some("eth0.10"));
}

#[test]
fn refusals_say_why_and_what_instead() {
    for (driver, key, value, parts) in [
        (DriverName::Bridge, "outbound_addr4", "192.0.2.1", &["outbound_addr4", "leaves by"][..]),
        (
            DriverName::Bridge,
            "com.docker.network.bridge.gateway_mode_ipv4",
            "routed",
            &["gateway_mode_ipv4=routed", "nat-unprotected"],
        ),
        (DriverName::Bridge, "vrf", "red", &["vrf", "unmanaged"]),
        (DriverName::Bridge, "mtu", "12", &["mtu=12", "68"]),
        (DriverName::Bridge, "vlan", "4095", &["vlan=4095", "4094"]),
        (DriverName::Bridge, "hairpinmode", "1", &["hairpinmode", "nearest is hairpinMode"]),
        (
            DriverName::Bridge,
            "com.docker.network.bridge.enable_masquerade",
            "1",
            &["nearest is com.docker.network.bridge.enable_ip_masquerade"],
        ),
        (DriverName::Macvlan, "macvlan_mode", "source", &["passthru"]),
        (DriverName::Macvlan, "bclim", "1", &["bcqueuelen"]),
        (DriverName::Macvlan, "vlan", "1", &["driver macvlan", "nearest"]),
    ] {
        let text = one(driver, key, value).unwrap_err().to_string();
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
