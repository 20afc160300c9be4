//! Leaving: a network whose last container here went some time ago, and blocks that a node which
//! is being drained does not need any more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cleat_engine::kernel::Rtnl;
use cleat_engine::overlay::{self, OverlayNetwork, segment};
use ipnet::IpNet;

use super::usage::Usage;
use super::{LOOK, Member, kept};
use crate::error::Result;

/// Since when networks have no container here.
pub(super) struct Idle {
    linger: Duration,
    since: BTreeMap<String, Instant>,
    /// When it is looked again.
    next: Instant,
}

impl Idle {
    pub(super) fn new(linger: Duration) -> Self {
        Self { linger, since: BTreeMap::new(), next: Instant::now() }
    }

    /// Somebody uses it, or is about to.
    pub(super) fn used(&mut self, network: &str) {
        self.since.remove(network);
    }

    /// Nobody uses it; whether that has been so for long.
    fn unused(&mut self, network: &str, now: Instant) -> bool {
        let since = *self.since.entry(network.to_owned()).or_insert(now);
        now.duration_since(since) >= self.linger
    }
}

impl Member {
    /// Leaves what can be left.
    pub(super) fn leave(&mut self, rtnl: &mut Rtnl) -> Result<()> {
        let owned = self.plane.owned();
        if owned.is_empty() || (self.unwanted.is_empty() && Instant::now() < self.idle.next) {
            return Ok(());
        }
        let begun = Instant::now();
        let usage = self.usage(&owned)?;
        // All records are read: with thousands of containers, seldom.
        self.idle.next = Instant::now() + LOOK.max(begun.elapsed() * 50);
        let unwanted = std::mem::take(&mut self.unwanted);
        let draining = self.plane.view().read(|state| state.is_draining(self.plane.node()));
        for network in &owned {
            let name = &network.name;
            let blocks: Vec<IpNet> =
                kept(&self.plane, network).iter().map(|held| held.block).collect();
            let unused: Vec<IpNet> =
                blocks.iter().filter(|block| !usage.is_used(block)).copied().collect();
            let at_once = draining || unwanted.contains(name);
            if unused.len() < blocks.len() {
                self.idle.used(name);
                if draining && !unused.is_empty() {
                    self.give_up(rtnl, network, &unused)?;
                }
            } else if !blocks.is_empty() && (at_once || self.idle.unused(name, Instant::now())) {
                self.give_up(rtnl, network, &unused)?;
                self.idle.used(name);
            }
        }
        Ok(())
    }

    fn usage(&self, networks: &[OverlayNetwork]) -> Result<Usage> {
        let folders = networks.iter().map(|network| self.data_dir.join(&network.name));
        Usage::read(&self.node, folders)
    }

    /// Gives blocks up that nobody uses: first nothing is leased from them any more, then the
    /// others are told.
    fn give_up(
        &mut self,
        rtnl: &mut Rtnl,
        network: &OverlayNetwork,
        blocks: &[IpNet],
    ) -> Result<()> {
        let lock = overlay::using(&self.node, &network.name)?;
        // Somebody may have leased from one meanwhile.
        let usage = self.usage(std::slice::from_ref(network))?;
        let unused: Vec<IpNet> =
            blocks.iter().filter(|block| !usage.is_used(block)).copied().collect();
        let Some(mut note) = overlay::membership(&self.node, &network.name)? else {
            drop(lock);
            return self.release(network, &unused);
        };
        note.blocks.retain(|block| !unused.contains(block));
        note.statics.retain(|address| !unused.contains(&IpNet::from(*address)));
        let is_left = unused.len() == kept(&self.plane, network).len();
        match is_left {
            true => overlay::forget(&self.node, &network.name)?,
            false => overlay::note(&self.node, &note)?,
        }
        drop(lock);
        if is_left {
            segment::remove(&self.node, rtnl, network)?;
        }
        self.release(network, &unused)
    }

    fn release(&mut self, network: &OverlayNetwork, blocks: &[IpNet]) -> Result<()> {
        for block in blocks {
            self.runtime.block_on(self.plane.release(network, block))?;
        }
        self.due.parts.insert(network.name.clone());
        Ok(())
    }
}
