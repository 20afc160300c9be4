//! What this node tells of itself, its keys, and the tunnels of encrypted networks, turn by turn.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use cleat_engine::kernel::Rtnl;
use cleat_engine::overlay::OverlayNetwork;

use super::requests::Request;
use super::{KEYS, Member};
use crate::error::Result;
use crate::overlay::documents::Host;
use crate::overlay::start::host;

impl Member {
    /// Tells the other nodes of this one.
    pub(super) fn announce(&self, addresses: &[IpAddr]) {
        let config = self.shared.config();
        let host = host(&config.overlay, addresses);
        let announcement = Some(Box::new(self.tunnels.announcement().clone()));
        self.plane.set_host(Host { announcement, ..host });
    }

    /// Does what the control socket asked for.
    pub(super) fn take_requests(&mut self) -> Result<()> {
        for request in self.shared.requests.take() {
            match request {
                Request::Leave(network) => drop(self.unwanted.insert(network)),
                Request::ForgetKey(node) => {
                    self.tunnels.forget(&node)?;
                    self.due.all = true;
                }
                Request::RotateKey(answer) => {
                    let outcome = self.tunnels.rotate();
                    if outcome.is_ok() {
                        self.announce(&self.addresses);
                        self.due.all = true;
                    }
                    // Who asked may be gone.
                    let _ = answer.send(outcome);
                }
            }
        }
        Ok(())
    }

    /// Brings the tunnels up to date, as long as an encrypted network is here.
    pub(super) fn settle_tunnels(&mut self, rtnl: &mut Rtnl) -> Result<()> {
        let encrypted: Vec<OverlayNetwork> =
            self.plane.owned().into_iter().filter(|network| network.encrypted).collect();
        if encrypted.is_empty() {
            self.tunnels.take_down(&self.node, rtnl)?;
            self.advance(true);
            return Ok(());
        }
        let is_due = self.due.all || encrypted.iter().any(|n| self.due.parts.contains(&n.name));
        if !is_due && !self.tunnels.is_changing() {
            return Ok(());
        }
        let me = self.plane.node();
        let (nodes, complete) = self.plane.view().read(|state| {
            let owners = encrypted.iter().flat_map(|network| state.claims(&network.id));
            let others: BTreeSet<&Arc<str>> =
                owners.map(|(_, owner)| &owner.node).filter(|node| ***node != *me).collect();
            let hosts = others
                .into_iter()
                .filter_map(|node| Some((node.clone(), state.host(node)?.clone())));
            (hosts.collect::<Vec<_>>(), state.at().is_some())
        });
        let complete = complete && self.plane.is_complete();
        let applied = self.tunnels.settle((&self.node, rtnl), &nodes, &self.addresses, complete)?;
        self.troubles.clear(KEYS);
        for (node, why) in &self.tunnels.refused {
            self.troubles.add(KEYS, format!("node {node}: {why}"));
        }
        let all_have =
            self.plane.view().read(|state| applied.silent.iter().all(|node| !state.is_up(node)));
        self.advance(all_have);
        Ok(())
    }

    /// Goes on with a change of keys.
    fn advance(&mut self, all_have: bool) {
        match self.tunnels.advance(all_have) {
            Ok(false) => {}
            Ok(true) => {
                self.announce(&self.addresses);
                self.due.all = true;
                let text = if self.tunnels.is_changing() { "changes" } else { "is changed" };
                self.shared.events.tell(
                    "overlay.key",
                    self.plane.node(),
                    format!("the key {text}"),
                );
            }
            Err(error) => tracing::warn!("the key is not changed: {error}"),
        }
    }
}
