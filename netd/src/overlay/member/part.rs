//! This node's part of one network, made of what is known of it: what the kernel should have, and
//! what the plugin may do.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cleat_engine::overlay::{Membership, OverlayNetwork, Peer, Segment, vtep_mac};
use ipnet::IpNet;

use crate::overlay::claims::Held;
use crate::overlay::view::State;

/// A network and this node's part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) segment: Segment,
    /// The blocks that may be leased from, and the single addresses.
    usable: (Vec<IpNet>, Vec<IpAddr>),
    draining: bool,
    /// Nodes that cannot be sent to, and why.
    pub(super) unreachable: Vec<String>,
}

/// Where the other end of the network is reached: its address underneath, or in the tunnel.
pub(super) trait Outer {
    /// This node's own end.
    fn local(&self, network: &OverlayNetwork, state: &State) -> Option<IpAddr>;
    /// A node's end as seen from this one's; `None`: it cannot be sent to.
    fn of(&self, state: &State, node: &str, local: &IpAddr) -> Option<IpAddr>;
    /// The ends that a node may send from, where it may have more than one.
    fn senders(&self, _node: &str) -> Vec<IpAddr> {
        Vec::new()
    }
}

impl Part {
    /// What is known of a network; `None`: this node has no address that others could send to.
    pub(super) fn of(
        network: &OverlayNetwork,
        held: &[Held],
        (state, me): (&State, &str),
        outer: &dyn Outer,
    ) -> Option<Self> {
        let local = outer.local(network, state)?;
        let mut peers = Vec::new();
        let (mut unreachable, mut owners) = (Vec::new(), BTreeSet::new());
        for (block, owner) in state.claims(&network.id).filter(|(_, owner)| &*owner.node != me) {
            match outer.of(state, &owner.node, &local) {
                Some(outer) => {
                    let mac = vtep_mac(&owner.node, network.vni);
                    peers.push(Peer { block: *block, mac, outer });
                    owners.insert(&*owner.node);
                }
                None => unreachable.push(owner.node.to_string()),
            }
        }
        unreachable.dedup();
        // What is halted has containers all the same.
        let (singles, blocks): (Vec<&Held>, Vec<&Held>) = held.iter().partition(|h| h.is_single());
        let nets = |held: &[&Held], wanted: &dyn Fn(&Held) -> bool| -> Vec<IpNet> {
            held.iter().filter(|held| wanted(held)).map(|held| held.block).collect()
        };
        Some(Self {
            segment: Segment {
                mac: vtep_mac(me, network.vni),
                local,
                blocks: nets(&blocks, &|_| true),
                statics: nets(&singles, &|_| true).iter().map(IpNet::addr).collect(),
                peers,
                senders: owners.into_iter().flat_map(|node| outer.senders(node)).collect(),
                complete: state.at().is_some() && unreachable.is_empty(),
                network: network.clone(),
            },
            usable: (
                nets(&blocks, &Held::is_usable),
                nets(&singles, &Held::is_usable).iter().map(IpNet::addr).collect(),
            ),
            draining: state.is_draining(me),
            unreachable,
        })
    }

    /// What the plugin is told, once the kernel has it. `halted`: why nothing may be leased.
    pub(super) fn note(&self, mtu: u32, halted: Option<String>) -> Membership {
        let drained = "this node is being drained; see cleat node drain --undo";
        let halted = if self.draining { Some(drained.to_owned()) } else { halted };
        Membership {
            network: self.segment.network.clone(),
            halted,
            blocks: self.usable.0.clone(),
            statics: self.usable.1.clone(),
            mtu,
        }
    }
}
