//! Leaving: a network whose last container here went some time ago, and blocks that a node which
//! is being drained does not need any more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cleat_engine::kernel::Rtnl;
use cleat_engine::overlay::{self, OverlayNetwork, segment};
use ipnet::IpNet;

use super::Member;
use super::usage::Usage;
use crate::error::Result;
use crate::overlay::claims::Book;

/// Since when networks have no container here.
pub(super) struct Idle {
    linger: Duration,
    since: BTreeMap<String, Instant>,
}

impl Idle {
    pub(super) fn new(linger: Duration) -> Self {
        Self { linger, since: BTreeMap::new() }
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
        let pages = self.plane.claims().books().all();
        if pages.is_empty() {
            return Ok(());
        }
        let usage = self.usage(pages.values())?;
        let me = self.plane.me().to_owned();
        let draining = self.plane.view().read(|state| state.is_draining(&me));
        for page in pages.values() {
            let name = &page.network.name;
            let blocks: Vec<IpNet> =
                page.held.iter().filter(|held| !held.leaving).map(|held| held.block).collect();
            let unused: Vec<IpNet> =
                blocks.iter().filter(|block| !usage.is_used(block)).copied().collect();
            if unused.len() < blocks.len() {
                self.idle.used(name);
                if draining && !unused.is_empty() {
                    self.give_up(rtnl, page, &unused)?;
                }
            } else if !blocks.is_empty() && (draining || self.idle.unused(name, Instant::now())) {
                self.give_up(rtnl, page, &unused)?;
                self.idle.used(name);
            }
        }
        Ok(())
    }

    fn usage<'b>(&self, pages: impl Iterator<Item = &'b Book>) -> Result<Usage> {
        let folders = pages.map(|page| self.data_dir.join(&page.network.name));
        Usage::read(&self.node, folders)
    }

    /// Gives blocks up that nobody uses: first nothing is leased from them any more, then the
    /// others are told.
    fn give_up(&mut self, rtnl: &mut Rtnl, page: &Book, blocks: &[IpNet]) -> Result<()> {
        let network = &page.network;
        let lock = overlay::using(&self.node, &network.name)?;
        // Somebody may have leased from one meanwhile.
        let usage = self.usage(std::iter::once(page))?;
        let unused: Vec<IpNet> =
            blocks.iter().filter(|block| !usage.is_used(block)).copied().collect();
        let Some(mut note) = overlay::membership(&self.node, &network.name)? else {
            drop(lock);
            return self.release(network, &unused);
        };
        note.blocks.retain(|block| !unused.contains(block));
        note.statics.retain(|address| !unused.contains(&IpNet::from(*address)));
        let is_left = unused.len() == page.held.iter().filter(|held| !held.leaving).count();
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
            self.runtime.block_on(self.plane.claims().release(network, block))?;
        }
        self.due.parts.insert(network.name.clone());
        Ok(())
    }
}
