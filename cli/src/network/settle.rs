//! Brings options and arguments together, and refuses what contradicts itself.

use super::args::{CreateArgs, DriverName, IpamName};
use super::settings::{GatewayMode, Settings};
use crate::error::{Error, Result};

pub(super) fn settle(asked: &CreateArgs, settings: &mut Settings) -> Result<()> {
    families(asked, settings)?;
    settings.mtu = asked.mtu.or(settings.mtu);
    overlay_only(asked)?;
    names(asked, settings)?;
    if asked.ipam_driver == IpamName::None && !asked.subnet.is_empty() {
        return refuse("--subnet", "--ipam-driver none", "nobody would lease from it");
    }
    match asked.driver {
        DriverName::Bridge => bridge(asked, settings),
        DriverName::Macvlan if asked.internal && settings.macvlan.host_access => {
            refuse("--internal", "hostAccess=true", "internal networks have no way out")
        }
        DriverName::Macvlan => Ok(()),
        DriverName::Overlay => overlay(asked, settings),
    }
}

fn overlay_only(asked: &CreateArgs) -> Result<()> {
    if asked.driver == DriverName::Overlay {
        return Ok(());
    }
    let given = [
        (asked.block_size.is_some(), "--block-size"),
        (asked.vni.is_some(), "--vni"),
        (asked.encrypted, "--encrypted"),
        (asked.port.is_some(), "--port"),
    ];
    match given.into_iter().find(|(given, _)| *given) {
        Some((_, argument)) => refuse(argument, "another driver", "it is for --driver overlay"),
        None => Ok(()),
    }
}

fn overlay(asked: &CreateArgs, settings: &mut Settings) -> Result<()> {
    let given = [
        (!asked.gateway.is_empty(), "--gateway", "every block has its first address for one"),
        (!asked.ip_range.is_empty(), "--ip-range", "nodes claim blocks of the whole subnet"),
        (!asked.dns.is_empty(), "--dns", "other names are asked of each node's own servers"),
        (asked.ipam_driver == IpamName::None, "--ipam-driver", "nodes are told apart by address"),
    ];
    if let Some((_, argument, reason)) = given.into_iter().find(|(given, ..)| *given) {
        return refuse(argument, "--driver overlay", reason);
    }
    if !settings.ipv4 {
        return refuse("enable_ipv4=false", "--driver overlay", "its subnets have IPv4");
    }
    settings.overlay.encrypted |= asked.encrypted;
    settings.overlay.vni = asked.vni.or(settings.overlay.vni);
    Ok(())
}

fn refuse(one: &'static str, other: &'static str, reason: &'static str) -> Result<()> {
    Err(Error::Contradiction { one, other, reason })
}

/// Names need addresses, and somebody to answer.
fn names(asked: &CreateArgs, settings: &mut Settings) -> Result<()> {
    settings.names &= !asked.no_dns;
    if !settings.names && settings.intercept {
        return refuse("dnsIntercept", "--no-dns", "nobody would answer what is intercepted");
    }
    if !settings.names && !asked.dns.is_empty() {
        return refuse("--dns", "embeddedDNS=false", "nobody would ask these servers");
    }
    settings.name_servers.clone_from(&asked.dns);
    Ok(())
}

/// A subnet of a family asks for the family.
fn families(asked: &CreateArgs, settings: &mut Settings) -> Result<()> {
    let given = |v6: bool| asked.subnet.iter().any(|s| s.addr().is_ipv6() == v6);
    settings.ipv6 |= asked.ipv6 || given(true);
    match (settings.ipv4, settings.ipv6) {
        (false, _) if given(false) => {
            refuse("--subnet", "enable_ipv4=false", "an IPv4 subnet is given")
        }
        (false, false) => refuse("enable_ipv4=false", "no --ipv6", "no family is left"),
        _ => Ok(()),
    }
}

fn bridge(asked: &CreateArgs, settings: &mut Settings) -> Result<()> {
    gateway_mode(asked, settings)?;
    let bridge = &settings.bridge;
    if bridge.unmanaged && settings.link.is_none() {
        let reason = "name it by com.docker.network.bridge.name";
        return refuse("mode=unmanaged", "no bridge", reason);
    }
    if bridge.promiscuous && asked.opt.iter().any(|o| o.starts_with("hairpinMode=")) {
        return refuse("promiscMode", "hairpinMode", "a bridge does one or the other");
    }
    let bare = bridge.unmanaged || bridge.no_gateway || asked.ipam_driver == IpamName::None;
    if bridge.vlan.is_some() && !bare {
        let reason = "a bridge has its gateway address outside all VLANs; use mode=unmanaged";
        return refuse("vlan", "a gateway on the bridge", reason);
    }
    Ok(())
}

/// One mode for both families; a family that is not named has Docker's default.
fn gateway_mode(asked: &CreateArgs, settings: &mut Settings) -> Result<()> {
    let bridge = &mut settings.bridge;
    if bridge.no_gateway && settings.ipv4 && settings.ipv6 {
        return refuse("inhibit_ipv4", "--ipv6", "a bridge has all its addresses or none");
    }
    let [v4, v6] = bridge.gateway_modes.map(|mode| mode.unwrap_or(GatewayMode::Nat));
    if settings.ipv4 && settings.ipv6 && v4 != v6 {
        let reason = "a network has one policy for both families";
        return refuse("gateway_mode_ipv4", "gateway_mode_ipv6", reason);
    }
    match if settings.ipv4 { v4 } else { v6 } {
        GatewayMode::Isolated if !asked.internal => {
            refuse("gateway mode isolated", "no --internal", "there would be no way out")
        }
        GatewayMode::Isolated => {
            bridge.no_gateway = true;
            Ok(())
        }
        GatewayMode::NatUnprotected => {
            bridge.inbound = Some("open");
            Ok(())
        }
        GatewayMode::Nat => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Verb, options};
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        verb: Verb,
    }

    /// What `network create` makes of its arguments.
    fn settled(line: &str) -> std::result::Result<Settings, String> {
        let line = format!("network create {line} net");
        let Verb::Create(asked) = Line::parse_from(line.split_whitespace()).verb else {
            return Err("another verb".into());
        };
        let pair = |o: &String| o.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        let given: Vec<_> = asked.opt.iter().filter_map(pair).collect();
        let mut settings = options::read(asked.driver, &given).map_err(|e| e.to_string())?;
        settle(&asked, &mut settings).map_err(|e| e.to_string())?;
        Ok(settings)
    }

    const MODE: &str = "com.docker.network.bridge.gateway_mode_ipv";

    #[test]
    fn what_goes_together() {
        assert!(settled("--subnet fd00::/64").unwrap().ipv6);
        let open = settled(&format!("--opt {MODE}4=nat-unprotected")).unwrap();
        assert_eq!(open.bridge.inbound, Some("open"));
        // Of a family that the network does not have, nothing is said.
        assert!(
            settled(&format!("--opt {MODE}6=nat-unprotected")).unwrap().bridge.inbound.is_none()
        );
        let isolated = settled(&format!("--internal --opt {MODE}4=isolated")).unwrap();
        assert!(isolated.bridge.no_gateway);
    }

    #[test]
    fn what_does_not() {
        let both = format!("--ipv6 --opt {MODE}4=nat-unprotected");
        let isolated = format!("--opt {MODE}4=isolated");
        for (line, part) in [
            ("--opt com.docker.network.enable_ipv4=false", "no family is left"),
            ("--ipam-driver none --subnet 10.1.0.0/24", "lease"),
            ("--opt com.docker.network.enable_ipv4=false --subnet 10.1.0.0/24", "IPv4 subnet"),
            ("--driver macvlan --internal --opt hostAccess=true", "no way out"),
            ("--opt mode=unmanaged", "bridge.name"),
            ("--opt promiscMode=true --opt hairpinMode=true", "one or the other"),
            ("--ipv6 --opt com.docker.network.bridge.inhibit_ipv4=true", "all its addresses"),
            ("--opt vlan=5", "mode=unmanaged"),
            (both.as_str(), "both families"),
            (isolated.as_str(), "--internal"),
        ] {
            let error = settled(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
