//! A network's addresses: leasing them, freeing them, and saying who has which.

mod allocate;
mod config;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

pub use config::PoolConfig;

use crate::directory::Pick;
use crate::set::Set;
use crate::{Directory, Error, Held, Kind, Lease, Owner, Result, file};

type Proof = Box<dyn Fn(&Owner) -> bool + Send + Sync>;

/// The pool of one network, shared with every process that opens the same directory.
pub struct Pool {
    config: PoolConfig,
    directory: Directory,
    proof: Proof,
}

/// How full a range set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Addresses held.
    pub held: u128,
    /// Addresses there are, gateways not counted.
    pub capacity: u128,
}

impl Pool {
    /// A pool whose index is kept under `run_dir/leases`; `boot_id` tells this boot from
    /// others (`/proc/sys/kernel/random/boot_id`). Touches nothing.
    pub fn open(config: PoolConfig, run_dir: &Path, boot_id: &str) -> Self {
        let directory = Directory::open(&config.dir, run_dir, boot_id);
        Self { config, directory, proof: Box::new(|_| false) }
    }

    /// Lets leases that another program made be reclaimed, when addresses run out or their
    /// owner comes back, if `proof` says that their owner is gone for certain
    /// ([`ResultCache::proves_gone`](crate::ResultCache::proves_gone)). Without it they are
    /// never touched.
    #[must_use]
    pub fn reclaim_foreign(
        mut self,
        proof: impl Fn(&Owner) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.proof = Box::new(proof);
        self
    }

    /// What the pool was opened with.
    pub fn config(&self) -> &PoolConfig {
        &self.config
    }

    /// Leases one address of each range set to the owner, all or none. `requested` addresses
    /// are used in the sets they lie in.
    ///
    /// # Errors
    /// [`Error::Duplicate`] if the owner has a lease in these ranges; [`Error::Exhausted`];
    /// [`Error::Taken`], [`Error::Gateway`] and [`Error::Unusable`] for a requested address;
    /// [`Error::File`] if nothing can be written, as on a full disk. Nothing is left behind.
    pub fn reserve(&self, owner: &Owner, requested: &[IpAddr]) -> Result<Vec<Lease>> {
        owner.validate()?;
        let wanted = self.assign(requested)?;
        let mut locked = self.directory.lock_or_make()?;
        self.refuse_duplicate(&mut locked, owner)?;
        let mut picks = Vec::with_capacity(wanted.len());
        for (set, address) in wanted.into_iter().enumerate() {
            let address = match address {
                Some(address) => self.claim(&mut locked, address)?,
                None => self.choose(&mut locked, set)?,
            };
            picks.push(Pick { set, address });
        }
        locked.create(owner, &picks, Kind::Lease)?;
        Ok(self.leases(&picks))
    }

    /// Holds one address until it is released by [`Pool::release_address`]: through boots and
    /// collections. One owner may have several.
    ///
    /// # Errors
    /// As [`Pool::reserve`], but for [`Error::Duplicate`].
    pub fn reserve_durable(&self, owner: &Owner, requested: Option<IpAddr>) -> Result<Lease> {
        owner.validate()?;
        let wanted = self.assign(requested.as_slice())?;
        let mut locked = self.directory.lock_or_make()?;
        let pick = match wanted.into_iter().enumerate().find_map(|(set, a)| Some((set, a?))) {
            Some((set, address)) => Pick { set, address: self.claim(&mut locked, address)? },
            None => Pick { set: 0, address: self.choose(&mut locked, 0)? },
        };
        locked.create(owner, &[pick], Kind::Reservation)?;
        self.leases(&[pick]).pop().ok_or_else(|| self.unusable(pick.address, false))
    }

    /// Frees one address, whoever holds it and for how long; false if it was free.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn release_address(&self, address: IpAddr) -> Result<bool> {
        let Some(mut locked) = self.directory.lock()? else { return Ok(false) };
        let Some(held) = locked.read(address)? else { return Ok(false) };
        locked.remove(&[held])?;
        Ok(true)
    }

    /// As [`Directory::release`].
    ///
    /// # Errors
    /// As [`Directory::release`].
    pub fn release(&self, owner: &Owner) -> Result<Vec<IpAddr>> {
        self.directory.release(owner)
    }

    /// As [`Directory::owned`].
    ///
    /// # Errors
    /// As [`Directory::owned`].
    pub fn owned(&self, owner: &Owner) -> Result<Vec<IpAddr>> {
        self.directory.owned(owner)
    }

    /// The owner holds an address of every set.
    ///
    /// # Errors
    /// [`Error::Missing`] names the first set it holds none of.
    pub fn check(&self, owner: &Owner) -> Result<()> {
        let owned = self.owned(owner)?;
        for set in self.sets() {
            if !owned.iter().any(|a| set.range_of(*a).is_some()) {
                return Err(Error::Missing {
                    network: self.config.name.clone(),
                    owner: owner.clone(),
                    ranges: set.to_string(),
                });
            }
        }
        Ok(())
    }

    /// As [`Directory::list`].
    ///
    /// # Errors
    /// As [`Directory::list`].
    pub fn list(&self) -> Result<Vec<Held>> {
        self.directory.list()
    }

    /// Every set has a free address, or one that could be reclaimed.
    ///
    /// # Errors
    /// [`Error::Exhausted`] for the first set that has none.
    pub fn status(&self) -> Result<()> {
        let full = |u: &Usage| u.held >= u.capacity;
        if !self.usage()?.iter().any(full) {
            return Ok(());
        }
        let still_held: Vec<IpAddr> =
            self.list()?.iter().filter(|h| !self.is_over(h)).map(|h| h.address).collect();
        for set in self.sets() {
            let usage = usage_of(set, still_held.iter());
            if full(&usage) {
                return Err(self.exhausted(set, usage));
            }
        }
        Ok(())
    }

    /// How full each set is. Reads names only, and takes no lock.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn usage(&self) -> Result<Vec<Usage>> {
        let held = file::addresses(&self.config.dir)?;
        Ok(self.sets().map(|set| usage_of(set, held.iter())).collect())
    }

    /// Frees what `keep` does not keep, what an earlier boot left, and what a writer left
    /// unfinished; never a reservation. Returns what was freed. Leases of host-local before
    /// 0.8.3 have no slot: `keep` sees them with an empty one.
    ///
    /// # Errors
    /// [`Error::File`]; the rest is freed even so.
    pub fn collect(&self, keep: &dyn Fn(&Owner) -> bool) -> Result<Vec<Held>> {
        let Some(mut locked) = self.directory.lock()? else { return Ok(Vec::new()) };
        let mut freed = locked.scan()?;
        freed.retain(|h| {
            let over = h.is_void(self.directory.boot()) || h.is_unfinished();
            h.kind != Kind::Reservation && (over || !keep(&h.owner))
        });
        locked.remove(&freed)?;
        Ok(freed)
    }

    fn sets(&self) -> impl Iterator<Item = Set<'_>> {
        self.config.sets.iter().map(|ranges| Set::new(ranges))
    }

    /// A lease that nobody can still be using.
    fn is_over(&self, held: &Held) -> bool {
        held.is_unfinished()
            || held.is_void(self.directory.boot())
            || (held.kind == Kind::Foreign && (self.proof)(&held.owner))
    }

    fn leases(&self, picks: &[Pick]) -> Vec<Lease> {
        let lease = |pick: &Pick| {
            let range = Set::new(self.config.sets.get(pick.set)?).range_of(pick.address)?;
            Some(Lease {
                address: range.with_prefix(pick.address),
                gateway: range.gateway(),
                set: pick.set,
            })
        };
        picks.iter().filter_map(lease).collect()
    }

    fn exhausted(&self, set: Set<'_>, usage: Usage) -> Error {
        Error::Exhausted {
            network: self.config.name.clone(),
            ranges: set.to_string(),
            held: usage.held,
            capacity: usage.capacity,
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("config", &self.config).finish_non_exhaustive()
    }
}

fn usage_of<'a>(set: Set<'_>, held: impl Iterator<Item = &'a IpAddr>) -> Usage {
    // A gateway that somebody reserved is no address less.
    let held = held.filter(|a| set.range_of(**a).is_some() && !set.is_gateway(**a)).count();
    Usage { held: held as u128, capacity: set.capacity() }
}

#[cfg(test)]
mod tests;
