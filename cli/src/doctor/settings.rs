//! Sysctls that decide over containers' traffic.

use std::path::Path;

use cleat_engine::kernel::{Rtnl, sysctl};

use super::Finding;
use crate::context::Context;
use crate::error::Result;
use crate::network::Known;

pub(super) fn look(context: &Context, findings: &mut Vec<Finding>) -> Result<()> {
    let known = Known::read(context)?;
    let used = |v6: bool| {
        let mut subnets = known.networks.iter().flat_map(|network| &network.subnets);
        subnets.any(|subnet| subnet.subnet.addr().is_ipv6() == v6)
    };
    forwarding(findings, ("IPv4 forwarding", "ipv4/ip_forward"), used(false));
    forwarding(findings, ("IPv6 forwarding", "ipv6/conf/all/forwarding"), used(true));
    advertised_routes(findings)?;
    bridge_filter(findings);
    neighbours(findings);
    Ok(())
}

/// It is switched on by the first attachment to a network with a gateway.
fn forwarding(findings: &mut Vec<Finding>, what: (&str, &str), used: bool) {
    let (subject, key) = what;
    findings.push(match sysctl::read(key).as_deref() {
        Ok("1") => Finding::ok(subject, "on"),
        Ok(_) if used => {
            let text = "off; the first container on a network with a gateway switches it on";
            Finding::note(subject, text)
        }
        Ok(_) => Finding::ok(subject, "off, and no network needs it"),
        Err(error) => Finding::note(subject, format!("cannot be read: {error}")),
    });
}

/// Forwarding ends the acceptance of router advertisements where accept_ra is 1.
fn advertised_routes(findings: &mut Vec<Finding>) -> Result<()> {
    const RTPROT_RA: u8 = 9;
    let forwarding = sysctl::read("ipv6/conf/all/forwarding").is_ok_and(|value| value == "1");
    let mut rtnl = Rtnl::open()?;
    for route in rtnl.routes()? {
        let advertised = route.dst.prefix_len() == 0 && route.protocol == RTPROT_RA;
        let Some(link) = route.link.filter(|_| advertised) else { continue };
        let Some(link) = rtnl.link_by_index(link)? else { continue };
        let key = format!("ipv6/conf/{}/accept_ra", link.name);
        if forwarding && sysctl::read(&key).is_ok_and(|value| value == "1") {
            let found = format!(
                "the route by {} was advertised, and will not be renewed while forwarding is on",
                link.name
            );
            let remedy = format!("sysctl -w net.ipv6.conf.{}.accept_ra=2", link.name);
            findings.push(Finding::problem("IPv6 default route", found, remedy));
        }
    }
    Ok(())
}

/// br_netfilter hands bridged packets to the firewalls of IP.
fn bridge_filter(findings: &mut Vec<Finding>) {
    let path = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    let on = std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1");
    findings.push(if on {
        let text = "on: traffic between containers of one bridge passes the host's iptables, \
                    which is slower; Kubernetes' kube-proxy needs it";
        Finding::note("br_netfilter", text)
            .with_remedy("without Kubernetes: sysctl -w net.bridge.bridge-nf-call-iptables=0")
    } else {
        Finding::ok("br_netfilter", "off")
    });
}

fn neighbours(findings: &mut Vec<Finding>) {
    for family in ["ipv4", "ipv6"] {
        let subject = format!("{family} neighbour table");
        let limit = sysctl::read(&format!("{family}/neigh/default/gc_thresh3"));
        let Some(limit) = limit.ok().and_then(|text| text.parse::<u32>().ok()) else { continue };
        findings.push(if limit < 1024 {
            let remedy = format!("sysctl -w net.{family}.neigh.default.gc_thresh3=4096");
            Finding::problem(
                subject,
                format!("{limit} entries at most: a full bridge has more"),
                remedy,
            )
        } else {
            Finding::ok(subject, format!("{limit} entries at most"))
        });
    }
}
