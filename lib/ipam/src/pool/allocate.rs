//! Which address an owner gets. All of it under the directory's lock, which host-local takes
//! as well, so an address seen free stays free until it is leased.

use std::net::IpAddr;

use super::{Pool, usage_of};
use crate::directory::Locked;
use crate::file::{self, cursor};
use crate::set::Set;
use crate::{Error, Kind, Owner, Result};

/// Addresses that are looked at one by one before the directory is listed instead.
const PROBES: usize = 8;

impl Pool {
    /// Which requested address goes with which set.
    pub(super) fn assign(&self, requested: &[IpAddr]) -> Result<Vec<Option<IpAddr>>> {
        let mut wanted = vec![None; self.config.sets.len()];
        for address in requested.iter().map(IpAddr::to_canonical) {
            let mut sets = self.sets().zip(&mut wanted);
            let Some((set, slot)) = sets.find(|(set, _)| set.range_of(address).is_some()) else {
                return Err(self.unusable(address, false));
            };
            if set.is_gateway(address) {
                return Err(Error::Gateway { network: self.config.name.clone(), address });
            }
            // The same address twice is one wish, as when two keys of a request repeat it.
            if slot.replace(address).is_some_and(|other| other != address) {
                return Err(self.unusable(address, true));
            }
        }
        Ok(wanted)
    }

    pub(super) fn unusable(&self, address: IpAddr, second: bool) -> Error {
        Error::Unusable { network: self.config.name.clone(), address, second }
    }

    /// Leases outside of the configured ranges do not count, as in host-local: the ranges may
    /// have changed. Nor do reservations.
    pub(super) fn refuse_duplicate(&self, locked: &mut Locked<'_>, owner: &Owner) -> Result<()> {
        let mut held = locked.held_by(owner)?;
        held.retain(|h| {
            h.kind != Kind::Reservation && self.sets().any(|s| s.range_of(h.address).is_some())
        });
        if let Some(lease) = held.iter().find(|h| !self.is_over(h)) {
            return Err(Error::Duplicate {
                network: self.config.name.clone(),
                address: lease.address,
                owner: owner.clone(),
            });
        }
        locked.remove(&held)
    }

    /// The requested address, if it is free or can be reclaimed.
    pub(super) fn claim(&self, locked: &mut Locked<'_>, address: IpAddr) -> Result<IpAddr> {
        if let Some(held) = locked.read(address)? {
            if !self.is_over(&held) {
                return Err(Error::Taken {
                    network: self.config.name.clone(),
                    address,
                    owner: held.owner,
                });
            }
            locked.remove(&[held])?;
        }
        Ok(address)
    }

    /// The next free address of a set; when there is none, what can be reclaimed is.
    pub(super) fn choose(&self, locked: &mut Locked<'_>, set: usize) -> Result<IpAddr> {
        let ranges = self.config.sets.get(set).map(Vec::as_slice).unwrap_or_default();
        let ring = Set::new(ranges);
        if let Some(address) = self.next_free(ring, set)? {
            return Ok(address);
        }
        let mut over = locked.scan()?;
        over.retain(|h| ring.range_of(h.address).is_some() && self.is_over(h));
        locked.remove(&over)?;
        if let Some(address) = self.next_free(ring, set)? {
            return Ok(address);
        }
        let held = file::addresses(&self.config.dir)?;
        Err(self.exhausted(ring, usage_of(ring, held.iter())))
    }

    /// Goes round the set once from its cursor.
    fn next_free(&self, ring: Set<'_>, set: usize) -> Result<Option<IpAddr>> {
        let dir = &self.config.dir;
        let mut at = cursor::read(dir, set);
        let mut left = ring.size();
        let mut step = || {
            while left > 0 {
                left -= 1;
                at = ring.after(at);
                if let Some(address) = at.filter(|a| !ring.is_gateway(*a)) {
                    return Some(address);
                }
            }
            None
        };
        for _ in 0..PROBES {
            match step() {
                Some(address) if file::exists(dir, address)? => {}
                found => return Ok(found),
            }
        }
        // Many in a row are held: one listing costs less than looking at each.
        let held = file::addresses(dir)?;
        while let Some(address) = step() {
            if !held.contains(&address) {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }
}
