//! Options of bridge networks.

use super::super::settings::GatewayMode;
use super::{Entry, Table, value};

pub(super) const TABLE: Table = &[
    // Docker's.
    ("com.docker.network.bridge.name", BRIDGE),
    ("com.docker.network.bridge.enable_ip_masquerade", MASQUERADE),
    (
        "com.docker.network.bridge.enable_icc",
        Entry::Set(|s, v| value::bool(v).map(|b| s.bridge.port_isolation = !b)),
    ),
    (
        "com.docker.network.bridge.host_binding_ipv4",
        Entry::Set(|s, v| {
            let address: std::net::Ipv4Addr = v.parse().map_err(|_| "an IPv4 address")?;
            // Docker's way to say: any.
            s.host_binding = (!address.is_unspecified()).then_some(address.into());
            Ok(())
        }),
    ),
    (
        "com.docker.network.bridge.gateway_mode_ipv4",
        Entry::Set(|s, v| {
            let [v4, _] = &mut s.bridge.gateway_modes;
            *v4 = Some(mode(v)?);
            Ok(())
        }),
    ),
    (
        "com.docker.network.bridge.gateway_mode_ipv6",
        Entry::Set(|s, v| {
            let [_, v6] = &mut s.bridge.gateway_modes;
            *v6 = Some(mode(v)?);
            Ok(())
        }),
    ),
    (
        "com.docker.network.bridge.inhibit_ipv4",
        Entry::Set(|s, v| value::bool(v).map(|b| s.bridge.no_gateway = b)),
    ),
    (
        "com.docker.network.bridge.default_bridge",
        Entry::Refused("there is no default bridge: every container names its networks"),
    ),
    (
        "com.docker.network.bridge.trusted_host_interfaces",
        Entry::Refused(
            "no interface is trusted more than another; \
             com.docker.network.bridge.gateway_mode_ipv4=nat-unprotected opens all ports to all",
        ),
    ),
    ("com.docker.network.host_ipv4", Entry::Refused(SOURCE)),
    ("com.docker.network.host_ipv6", Entry::Refused(SOURCE)),
    // Podman's.
    (
        "mode",
        Entry::Set(|s, v| {
            let word = value::word(v, &["managed", "unmanaged"], "managed or unmanaged")?;
            s.bridge.unmanaged = word == "unmanaged";
            Ok(())
        }),
    ),
    (
        "isolate",
        Entry::Set(|s, v| {
            if v == "strict" {
                s.bridge.ingress = Some("isolated");
            } else if value::bool(v).map_err(|_| "true, false or strict")? {
                s.bridge.ingress = Some("same-bridge");
            } else {
                s.bridge.inbound = Some("open");
            }
            Ok(())
        }),
    ),
    ("dnsIntercept", Entry::Set(|s, v| value::bool(v).map(|b| s.intercept = b))),
    ("vlan", Entry::Set(|s, v| value::vlan(v).map(|vlan| s.bridge.vlan = vlan))),
    ("outbound_addr4", Entry::Refused(SOURCE)),
    ("outbound_addr6", Entry::Refused(SOURCE)),
    // The plugin's.
    ("bridge", BRIDGE),
    ("ipMasq", MASQUERADE),
    ("hairpinMode", Entry::Set(|s, v| value::bool(v).map(|b| s.bridge.hairpin = b))),
    ("promiscMode", Entry::Set(|s, v| value::bool(v).map(|b| s.bridge.promiscuous = b))),
    ("enabledad", Entry::Set(|s, v| value::bool(v).map(|b| s.bridge.dad = b))),
    ("forceAddress", Entry::Set(|s, v| value::bool(v).map(|b| s.bridge.force_address = b))),
    ("portIsolation", Entry::Set(|s, v| value::bool(v).map(|b| s.bridge.port_isolation = b))),
    ("macspoofchk", Entry::Set(|s, v| value::bool(v).map(|b| s.bridge.mac_spoof_check = b))),
    (
        "permanentNeighbours",
        Entry::Set(|s, v| value::bool(v).map(|b| s.bridge.neighbours = Some(b))),
    ),
    (
        "inboundPolicy",
        Entry::Set(|s, v| {
            let words = ["open", "published"];
            let word = value::word(v, &words, "open or published; for internal use --internal")?;
            s.bridge.inbound = Some(word);
            Ok(())
        }),
    ),
    (
        "antiSpoof",
        Entry::Set(|s, v| {
            let word = value::word(v, &["off", "held", "strict"], "off, held or strict")?;
            s.bridge.anti_spoof = Some(word);
            Ok(())
        }),
    ),
    (
        "ingressPolicy",
        Entry::Set(|s, v| {
            let words = ["open", "same-bridge", "isolated"];
            let word = value::word(v, &words, "open, same-bridge or isolated")?;
            s.bridge.ingress = Some(word);
            Ok(())
        }),
    ),
];

const BRIDGE: Entry = Entry::Set(|s, v| value::link(v).map(|name| s.link = Some(name)));
const MASQUERADE: Entry = Entry::Set(|s, v| value::bool(v).map(|b| s.bridge.masquerade = Some(b)));
const SOURCE: &str = "what leaves gets the address of the interface that it leaves by; \
     enable_ip_masquerade=false leaves the translation to rules of your own";

fn mode(text: &str) -> Result<GatewayMode, &'static str> {
    match text {
        "nat" => Ok(GatewayMode::Nat),
        "nat-unprotected" => Ok(GatewayMode::NatUnprotected),
        "isolated" => Ok(GatewayMode::Isolated),
        "routed" => Err("nat, nat-unprotected or isolated: in mode routed single ports would be \
             open without translation, which is not possible; nat-unprotected with \
             com.docker.network.bridge.enable_ip_masquerade=false opens all of them"),
        _ => Err("nat, nat-unprotected or isolated"),
    }
}
