//! Whether the other nodes of overlay networks are reached: over the links underneath, through
//! VXLAN, and both with packets as large as containers may send.

use cleat_engine::overlay::overhead;
use serde_json::Value;

use super::Finding;
use super::echo::{Echo, answered};
use crate::context::{Context, file_error};
use crate::error::{Error, Result};
use crate::netd::client::Netd;
use crate::netd::status::parse;
use crate::network::overlay::{OverlayReport, Peer, path};

const SMALL: u32 = 84;
/// The four ways in which a peer is asked.
struct Probes {
    /// The indexes of its requests: underneath and inside, small and large.
    requests: [usize; 4],
}

pub(super) fn look(context: &Context, findings: &mut Vec<Finding>) -> Result<()> {
    let netd = Netd::new(context)?;
    let names: Vec<Value> = match netd.get("/v1/overlay/networks") {
        // Said elsewhere.
        Err(Error::NoNetd { .. } | Error::Netd { .. }) => return Ok(()),
        outcome => parse(outcome?)?,
    };
    for name in names.iter().filter_map(|network| network.get("name")?.as_str()) {
        let network: OverlayReport = parse(netd.get(&path(name))?)?;
        look_at(&network, findings)?;
    }
    Ok(())
}

fn look_at(network: &OverlayReport, findings: &mut Vec<Finding>) -> Result<()> {
    let subject = format!("overlay {}", network.name);
    if let Some(why) = &network.halted {
        let remedy = "cleat events, docs/operations.md";
        findings.push(Finding::problem(&subject, format!("no new containers: {why}"), remedy));
    }
    let (true, Some(mtu)) = (network.joined, network.mtu) else {
        return Ok(());
    };
    let mut echoes = Vec::new();
    let mut asked = Vec::new();
    for peer in network.peers.iter().filter(|peer| !peer.is_self) {
        if let Some(probes) = probes(network, peer, mtu, &mut echoes) {
            asked.push((peer, probes));
        }
    }
    let is_reached =
        answered(&echoes).map_err(file_error("ask over", "an ICMP socket".as_ref()))?;
    let mut broken = 0;
    for (peer, probes) in &asked {
        let heard = probes.requests.map(|index| is_reached.get(index).copied().unwrap_or_default());
        if let Some(finding) = judge(network, peer, heard, mtu) {
            broken += 1;
            findings.push(finding);
        }
    }
    if broken == 0 {
        let text = format!("{} other nodes are reached with packets of {mtu} bytes", asked.len());
        findings.push(Finding::ok(&subject, text));
    }
    Ok(())
}

fn probes(
    network: &OverlayReport,
    peer: &Peer,
    mtu: u32,
    echoes: &mut Vec<Echo>,
) -> Option<Probes> {
    let address = peer.address?;
    let gateway = peer.blocks.first()?.trunc().hosts().next()?;
    // What is encrypted has another size underneath.
    let under = if network.encrypted { SMALL } else { mtu + overhead(&address) };
    let wanted = [(address, SMALL), (address, under), (gateway, SMALL), (gateway, mtu)];
    let requests = wanted.map(|(to, size)| {
        let echo = Echo { to, size };
        // Peers share an address underneath where they are one node of several networks.
        echoes.iter().position(|known| *known == echo).unwrap_or_else(|| {
            echoes.push(echo);
            echoes.len() - 1
        })
    });
    Some(Probes { requests })
}

fn judge(network: &OverlayReport, peer: &Peer, heard: [bool; 4], mtu: u32) -> Option<Finding> {
    let subject = format!("overlay {}, node {}", network.name, peer.name);
    let address = peer.address.map(|a| a.to_string()).unwrap_or_default();
    let port = network.port;
    let (found, remedy) = match heard {
        [_, _, _, true] => return None,
        [false, _, false, _] if !peer.alive => (
            format!("is down: {address} does not answer, and its netd is not heard of"),
            "if it will not come back: cleat node forget".to_owned(),
        ),
        [false, _, false, _] => (
            format!("{address} does not answer, though its netd is heard of"),
            "look at routes and firewalls between the nodes".to_owned(),
        ),
        [true, _, false, _] if network.encrypted => (
            format!("{address} answers, but not through the encrypted tunnel"),
            "let its WireGuard port (overlay.wireguardPort, UDP) through; see cleat events \
             there"
                .to_owned(),
        ),
        [true, _, false, _] => (
            format!("{address} answers, but not through VXLAN"),
            format!("let UDP port {port} through in both directions, on both nodes and between"),
        ),
        [_, under, true, false] => (
            format!(
                "packets of {mtu} bytes are lost{}",
                if under { "" } else { ", since the links underneath do not carry them" }
            ),
            "give the network an --mtu that the whole way carries, or mend the links' MTU"
                .to_owned(),
        ),
    };
    Some(Finding::problem(subject, found, remedy))
}
