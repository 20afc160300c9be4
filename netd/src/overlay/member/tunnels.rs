//! Encrypted networks: this node's keys, whom it believes to be whom, and the tunnels to them.
//! The other nodes of such a network are reached at their addresses inside, and no other way.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use cleat_engine::Node;
use cleat_engine::kernel::Rtnl;
use cleat_engine::overlay::OverlayNetwork;
use cleat_engine::overlay::wireguard::{self, Applied};
use cleat_engine::ruleset::sources;

use super::part::Outer;
use super::underlay::{local, same_family};
use crate::error::Result;
use crate::overlay::documents::Host;
use crate::overlay::view::State;
use crate::overlay::wireguard::{Announcement, Judgement, Phase, Wireguard};

/// The keys, and what was made of them.
pub(super) struct Tunnels {
    keys: Wireguard,
    port: u16,
    /// What was judged of each node, so that nothing is judged twice.
    judged: BTreeMap<Arc<str>, Announcement>,
    /// Why nodes are not believed.
    pub(super) refused: BTreeMap<Arc<str>, String>,
    /// Devices may be there.
    are_up: bool,
}

impl Tunnels {
    /// Reads the keys, or makes them at the first start.
    pub(super) fn open(state: &Path, node: &str, port: u16) -> Result<Self> {
        Ok(Self {
            keys: Wireguard::open(state, node, port, now())?,
            port,
            judged: BTreeMap::new(),
            refused: BTreeMap::new(),
            are_up: true,
        })
    }

    /// What the other nodes are told.
    pub(super) fn announcement(&self) -> &Announcement {
        self.keys.announcement()
    }

    /// A change of keys is under way.
    pub(super) fn is_changing(&self) -> bool {
        self.keys.phase() != Phase::Steady
    }

    pub(super) fn rotate(&mut self) -> Result<()> {
        self.keys.rotate(now())
    }

    pub(super) fn forget(&mut self, node: &str) -> Result<()> {
        self.judged.remove(node);
        self.refused.remove(node);
        self.keys.forget(node).map(drop)
    }

    /// Makes the devices what they should be for these nodes; without any encrypted network here
    /// there are none. `complete`: these are all nodes.
    pub(super) fn settle(
        &mut self,
        (node, rtnl): (&Node, &mut Rtnl),
        nodes: &[(Arc<str>, Arc<Host>)],
        own: &[IpAddr],
        complete: bool,
    ) -> Result<Applied> {
        for (id, host) in nodes {
            // A pin that cannot be read is that node's trouble alone.
            if let Err(error) = self.judge(id, host) {
                self.refused.insert(id.clone(), error.to_string());
            }
        }
        let addresses = nodes.iter().flat_map(|(_, host)| host.addresses.iter().copied());
        sources::admit_tunnels(node, self.port, &addresses.collect())?;
        let mine = local(own, nodes.iter().map(|(_, host)| host.addresses.as_slice()));
        let reached = nodes.iter().filter_map(|(node, host)| {
            Some((&**node, same_family(&host.addresses, mine.as_ref()?)?))
        });
        self.are_up = true;
        Ok(wireguard::apply(rtnl, &self.keys.tunnels(reached, complete))?)
    }

    /// There is no encrypted network here.
    pub(super) fn take_down(&mut self, node: &Node, rtnl: &mut Rtnl) -> Result<()> {
        if std::mem::take(&mut self.are_up) {
            wireguard::remove(rtnl)?;
            sources::dismiss_tunnels(node)?;
        }
        Ok(())
    }

    /// Goes on with a change of keys. `all_have`: every node that is up has the new one. Whether
    /// something changed.
    pub(super) fn advance(&mut self, all_have: bool) -> Result<bool> {
        self.keys.advance(all_have, now())
    }

    fn judge(&mut self, node: &Arc<str>, host: &Host) -> Result<()> {
        let Some(shown) = &host.announcement else {
            self.refused.insert(node.clone(), "it announces no key".to_owned());
            return Ok(());
        };
        if self.judged.get(node) == Some(shown) {
            return Ok(());
        }
        match self.keys.judge(node, shown)? {
            Judgement::Accepted { .. } => drop(self.refused.remove(node)),
            Judgement::Refused(why) => drop(self.refused.insert(node.clone(), why.to_string())),
        }
        self.judged.insert(node.clone(), (**shown).clone());
        Ok(())
    }
}

impl Outer for Tunnels {
    fn local(&self, _: &OverlayNetwork, _: &State) -> Option<IpAddr> {
        Some(self.keys.address().into())
    }

    fn of(&self, _: &State, node: &str, _: &IpAddr) -> Option<IpAddr> {
        self.keys.address_of(node).map(IpAddr::from)
    }

    fn senders(&self, node: &str) -> Vec<IpAddr> {
        self.keys.addresses_of(node).into_iter().map(IpAddr::from).collect()
    }
}

fn now() -> u64 {
    crate::events::now() / 1000
}
