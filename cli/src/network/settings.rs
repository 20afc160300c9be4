//! What a network is to be, once made out of everything that the user typed.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Settings of a driver; those of the other drivers stay as they are by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The bridge, or the interface underneath; `None`: the driver's choice.
    pub(crate) link: Option<String>,
    pub(crate) mtu: Option<u32>,
    pub(crate) metric: Option<u32>,
    pub(crate) default_route: bool,
    /// Noted, and used by `cleat run`.
    pub(crate) interface_prefix: Option<String>,
    /// Noted, and used by `cleat run`.
    pub(crate) host_binding: Option<IpAddr>,
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
    /// Of containers' interfaces; `IFNAME` stands for the name.
    pub(crate) sysctls: BTreeMap<String, String>,
    pub(crate) txqlen: Option<u32>,
    /// Its containers have names.
    pub(crate) names: bool,
    /// Where questions go that are not about names here.
    pub(crate) name_servers: Vec<IpAddr>,
    /// Whatever server a container asks, it is answered here.
    pub(crate) intercept: bool,
    pub(crate) bridge: BridgeSettings,
    pub(crate) macvlan: MacvlanSettings,
    pub(crate) overlay: OverlaySettings,
}

/// Settings of bridge networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgeSettings {
    /// The bridge is somebody else's: no address, no NAT, no policy.
    pub(crate) unmanaged: bool,
    pub(crate) masquerade: Option<bool>,
    pub(crate) inbound: Option<&'static str>,
    /// Of IPv4 and of IPv6.
    pub(crate) gateway_modes: [Option<GatewayMode>; 2],
    /// The bridge has no address.
    pub(crate) no_gateway: bool,
    pub(crate) port_isolation: bool,
    pub(crate) hairpin: bool,
    pub(crate) promiscuous: bool,
    pub(crate) dad: bool,
    pub(crate) force_address: bool,
    pub(crate) vlan: Option<u16>,
    /// The `ingressPolicy` of the firewall plugin.
    pub(crate) ingress: Option<&'static str>,
    pub(crate) anti_spoof: Option<&'static str>,
    pub(crate) mac_spoof_check: bool,
    pub(crate) neighbours: Option<bool>,
}

/// Docker's gateway modes, as far as they are possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GatewayMode {
    /// Published ports only.
    Nat,
    /// All ports are open.
    NatUnprotected,
    /// The bridge has no address; internal networks only.
    Isolated,
}

/// Settings of macvlan networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MacvlanSettings {
    pub(crate) mode: &'static str,
    pub(crate) broadcast_queue: Option<u32>,
    pub(crate) host_access: bool,
}

/// Settings of overlay networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OverlaySettings {
    pub(crate) encrypted: bool,
    pub(crate) vni: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            link: None,
            mtu: None,
            metric: None,
            default_route: true,
            interface_prefix: None,
            host_binding: None,
            ipv4: true,
            ipv6: false,
            sysctls: BTreeMap::new(),
            txqlen: None,
            names: true,
            name_servers: Vec::new(),
            intercept: false,
            bridge: BridgeSettings {
                unmanaged: false,
                masquerade: None,
                inbound: None,
                gateway_modes: [None; 2],
                no_gateway: false,
                port_isolation: false,
                hairpin: true,
                promiscuous: false,
                dad: false,
                force_address: false,
                vlan: None,
                ingress: None,
                anti_spoof: None,
                mac_spoof_check: false,
                neighbours: None,
            },
            macvlan: MacvlanSettings { mode: "bridge", broadcast_queue: None, host_access: false },
            overlay: OverlaySettings::default(),
        }
    }
}
