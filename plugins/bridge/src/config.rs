//! The wire form of a `bridge` configuration, and what it means.

use cleat_cni::{Error, Request, name};
use cleat_engine::plan::{AntiSpoof, AttachmentPlan, BridgePlan, Driver, Inbound, NetworkPlan};
use cleat_front::{
    RequestedMac, attachment, check_masquerade_backend, dns_plan, gateway_priority, mtu,
    names_plan, requested_mac,
};
use serde::Deserialize;

const DEFAULT_BRIDGE: &str = "cni0";
const LARGEST_VLAN: u16 = 4094;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    bridge: Option<String>,
    is_gateway: bool,
    is_default_gateway: bool,
    force_address: bool,
    ip_masq: bool,
    ip_masq_backend: Option<String>,
    mtu: Option<u32>,
    hairpin_mode: bool,
    promisc_mode: bool,
    vlan: Option<u16>,
    vlan_trunk: Vec<Trunk>,
    preserve_default_vlan: bool,
    macspoofchk: bool,
    enabledad: bool,
    disable_container_interface: bool,
    port_isolation: bool,
    inbound_policy: Option<String>,
    anti_spoof: Option<String>,
    permanent_neighbours: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Trunk {
    id: Option<u16>,
    #[serde(rename = "minID")]
    min_id: Option<u16>,
    #[serde(rename = "maxID")]
    max_id: Option<u16>,
}

/// The plan of the request's attachment.
pub(crate) fn plan(request: &Request) -> Result<AttachmentPlan, Error> {
    let network = network(request)?;
    let netns = request.netns.clone().unwrap_or_default();
    let order = [RequestedMac::Capability, RequestedMac::Args, RequestedMac::Environment];
    let mac = requested_mac(request, &order)?;
    let names = names_plan(request)?;
    let gateway_priority = gateway_priority(request)?;
    Ok(AttachmentPlan { id: attachment(request), network, netns, mac, names, gateway_priority })
}

/// The network that the configuration describes.
pub(crate) fn network(request: &Request) -> Result<NetworkPlan, Error> {
    let wire: Wire = request.config_as()?;
    if !request.args.as_str().is_empty() {
        request.args.parse(&["MAC", "IP", "GATEWAY"])?;
    }
    let bad = |text: String| Err(Error::invalid_config(text));
    let bridge = wire.bridge.clone().unwrap_or_else(|| DEFAULT_BRIDGE.to_owned());
    name::check_interface(&bridge)
        .map_err(|e| Error::invalid_config(format!("bridge: {bridge:?}: {}", e.msg)))?;
    if wire.hairpin_mode && wire.promisc_mode {
        return bad("hairpinMode and promiscMode cannot both be set; leave one out".to_owned());
    }
    check_masquerade_backend(wire.ip_masq_backend.as_deref())?;
    if wire.disable_container_interface && request.config.ipam.is_some() {
        return bad(
            "disableContainerInterface: an interface that stays down takes no ipam".to_owned()
        );
    }
    if wire.enabledad && wire.disable_container_interface {
        return bad("enabledad: an interface that stays down cannot detect duplicates".to_owned());
    }
    let gateway = wire.is_gateway || wire.is_default_gateway;
    let (vlan, vlan_trunk) = vlans(&wire)?;
    let driver = BridgePlan {
        bridge,
        gateway,
        default_gateway: wire.is_default_gateway,
        force_address: wire.force_address,
        hairpin: wire.hairpin_mode,
        promiscuous: wire.promisc_mode,
        dad: wire.enabledad,
        no_interface: wire.disable_container_interface,
        port_isolation: wire.port_isolation,
        vlan,
        keep_default_vlan: wire.preserve_default_vlan,
        vlan_trunk,
        overlay: false,
    };
    if let Some(link) = driver.gateway_link() {
        name::check_interface(&link).map_err(|e| {
            let text = format!("bridge: {link:?}, the link of the VLAN's gateway: {}", e.msg);
            Error::invalid_config(text)
        })?;
    }
    Ok(NetworkPlan {
        name: request.config.name.clone(),
        mtu: mtu(wire.mtu)?,
        inbound: inbound(&wire)?,
        masquerade: wire.ip_masq,
        anti_spoof: anti_spoof(&wire)?,
        permanent_neighbours: wire.permanent_neighbours.unwrap_or(true),
        dns: dns_plan(request)?,
        driver: Driver::Bridge(driver),
    })
}

/// The bridge's name, for a DEL that asks for no more.
pub(crate) fn bridge_of(request: &Request) -> Option<String> {
    let wire: Wire = request.config_as().ok()?;
    Some(wire.bridge.unwrap_or_else(|| DEFAULT_BRIDGE.to_owned()))
}

fn inbound(wire: &Wire) -> Result<Inbound, Error> {
    match wire.inbound_policy.as_deref() {
        None | Some("open") => Ok(Inbound::Open),
        Some("published") => Ok(Inbound::Published),
        Some("internal") => Ok(Inbound::Internal),
        Some(other) => Err(Error::invalid_config(format!(
            "inboundPolicy: {other:?} is none of \"open\", \"published\", \"internal\""
        ))),
    }
}

fn anti_spoof(wire: &Wire) -> Result<AntiSpoof, Error> {
    match wire.anti_spoof.as_deref() {
        None if wire.macspoofchk => Ok(AntiSpoof::Strict),
        None | Some("held") => Ok(AntiSpoof::Held),
        Some("strict") => Ok(AntiSpoof::Strict),
        Some("off") if wire.macspoofchk => {
            Err(Error::invalid_config("antiSpoof: \"off\" contradicts macspoofchk".to_owned()))
        }
        Some("off") => Ok(AntiSpoof::Off),
        Some(other) => Err(Error::invalid_config(format!(
            "antiSpoof: {other:?} is none of \"off\", \"held\", \"strict\""
        ))),
    }
}

type Vlans = (Option<u16>, Vec<(u16, u16)>);

fn vlans(wire: &Wire) -> Result<Vlans, Error> {
    let bad = |text: String| Err(Error::invalid_config(text));
    let vlan = wire.vlan.filter(|id| *id != 0);
    if let Some(id) = vlan.filter(|id| *id > LARGEST_VLAN) {
        return bad(format!("vlan: {id} is not in 0..{LARGEST_VLAN}"));
    }
    let mut trunk = Vec::with_capacity(wire.vlan_trunk.len());
    for (n, entry) in wire.vlan_trunk.iter().enumerate() {
        let range = match (entry.id, entry.min_id, entry.max_id) {
            (Some(id), None, None) => (id, id),
            (None, Some(min), Some(max)) if min <= max => (min, max),
            _ => {
                let expected = "either id, or minID and maxID with minID <= maxID";
                return bad(format!("vlanTrunk[{n}]: expected {expected}"));
            }
        };
        if range.0 == 0 || range.1 > LARGEST_VLAN {
            return bad(format!(
                "vlanTrunk[{n}]: {}-{} is not in 1..{LARGEST_VLAN}",
                range.0, range.1
            ));
        }
        trunk.push(range);
    }
    // Without a VLAN of its own a trunk's untagged frames are in VLAN 1.
    let native = if trunk.is_empty() { None } else { Some(1) };
    Ok((vlan.or(native), trunk))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use cleat_cni::SpecVersion;
    use serde_json::{Value, json};

    use super::*;

    fn read(config: Value) -> Result<NetworkPlan, Error> {
        let mut config = config;
        config["name"] = "net".into();
        config["cniVersion"] = "1.1.0".into();
        config["type"] = "bridge".into();
        let env = |name: &str| {
            let value = match name {
                "CNI_COMMAND" => "STATUS",
                "CNI_PATH" => "/nowhere",
                _ => return None,
            };
            Some(OsString::from(value))
        };
        let request = Request::parse(SpecVersion::ALL, &env, config.to_string().as_bytes())?;
        network(&request)
    }

    #[test]
    fn bad_values_name_their_field() {
        for (config, text) in [
            (json!({"bridge": "a/b"}), "bridge"),
            (json!({"bridge": "sixteencharacters"}), "bridge"),
            (json!({"hairpinMode": true, "promiscMode": true}), "hairpinMode"),
            (json!({"mtu": 70000}), "mtu"),
            (json!({"mtu": -1}), "mtu"),
            (json!({"vlan": 4095}), "vlan"),
            (json!({"bridge": "elevenlong0", "vlan": 1000, "isGateway": true}), "elevenlong0.1000"),
            (json!({"vlanTrunk": [{"id": 5}, {"minID": 9, "maxID": 7}]}), "vlanTrunk[1]"),
            (json!({"ipMasqBackend": "ebtables"}), "ipMasqBackend"),
            (json!({"inboundPolicy": "shut"}), "inboundPolicy"),
            (json!({"antiSpoof": "yes"}), "antiSpoof"),
            (
                json!({"disableContainerInterface": true, "ipam": {"type": "x"}}),
                "disableContainerInterface",
            ),
            (json!({"isGateway": "perhaps"}), "isGateway"),
        ] {
            let error = read(config.clone()).expect_err(&config.to_string());
            assert!(error.msg.contains(text) || error.details.contains(text), "{config}: {error}");
            assert!([6, 7].contains(&error.code), "{config}: {error:?}");
        }
    }

    #[test]
    fn defaults_are_the_references() {
        let plan = read(json!({"IsDefaultGateway": true, "mtu": 0, "bridge": ""})).unwrap();
        assert_eq!((plan.mtu, plan.inbound, plan.masquerade), (None, Inbound::Open, false));
        let Driver::Bridge(bridge) = plan.driver else { panic!("not a bridge") };
        assert_eq!(bridge.bridge, "cni0");
        assert!(bridge.gateway && bridge.default_gateway && !bridge.dad);
    }
}
