//! One lease directory under its lock. Enough to detach with no configuration at all: what an
//! owner holds is found and freed without knowing any range.

use std::fs::{DirBuilder, File};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::file::{self, New};
use crate::index::Index;
use crate::{Error, Held, Kind, Owner, Result};

/// The leases of one network.
#[derive(Debug)]
pub struct Directory {
    dir: PathBuf,
    index: Index,
    boot: String,
}

/// The directory while its lock is held: the flock that host-local takes.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    directory: &'a Directory,
    _lock: File,
    /// What is held, if the index could not be used.
    scanned: Option<Vec<Held>>,
}

/// An address to be leased, and the range set whose cursor it moves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pick {
    pub(crate) set: usize,
    pub(crate) address: IpAddr,
}

impl Directory {
    /// The lease directory `dir` (`<dataDir>/<network>`), with its index under
    /// `run_dir/leases`. `boot_id` tells this boot from others. Touches nothing.
    pub fn open(dir: &Path, run_dir: &Path, boot_id: &str) -> Self {
        Self {
            dir: dir.to_owned(),
            index: Index::open(dir, run_dir, boot_id),
            boot: boot_id.to_owned(),
        }
    }

    /// Frees all leases of an owner and returns their addresses, none if there were none.
    /// Reservations stay. Needs no free disk space.
    ///
    /// # Errors
    /// [`Error::File`] if the directory cannot be read or a lease not be removed; the others
    /// are removed even so.
    pub fn release(&self, owner: &Owner) -> Result<Vec<IpAddr>> {
        if self.surely_holds_nothing(owner)? {
            return Ok(Vec::new());
        }
        let Some(mut locked) = self.lock()? else { return Ok(Vec::new()) };
        let mut held = locked.held_by(owner)?;
        held.retain(|h| h.kind != Kind::Reservation);
        locked.remove(&held)?;
        Ok(held.into_iter().map(|h| h.address).collect())
    }

    /// The addresses an owner holds, reservations included.
    ///
    /// # Errors
    /// [`Error::File`] if the directory cannot be read.
    pub fn owned(&self, owner: &Owner) -> Result<Vec<IpAddr>> {
        if self.surely_holds_nothing(owner)? {
            return Ok(Vec::new());
        }
        let Some(locked) = self.lock()? else { return Ok(Vec::new()) };
        Ok(locked.held_by(owner)?.into_iter().map(|h| h.address).collect())
    }

    /// All that is held, in a pool's ranges or not, by address.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn list(&self) -> Result<Vec<Held>> {
        match self.lock()? {
            Some(locked) => locked.scan(),
            None => Ok(Vec::new()),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn boot(&self) -> &str {
        &self.boot
    }

    /// A miss without the lock: container runtimes send a DEL before every ADD. The index is
    /// asked for completeness before it is read, so nothing slips in between.
    fn surely_holds_nothing(&self, owner: &Owner) -> Result<bool> {
        if !self.index.is_complete() {
            return Ok(false);
        }
        let whole_id = Owner::new(owner.id.as_str(), "");
        Ok(self.index.read(owner)?.is_empty() && self.index.read(&whole_id)?.is_empty())
    }

    /// The locked directory; `None` if it does not exist.
    pub(crate) fn lock(&self) -> Result<Option<Locked<'_>>> {
        match open_lock(&self.dir) {
            Ok(lock) => self.locked(lock).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::file("open", self.dir.join("lock"), e)),
        }
    }

    /// The locked directory, made if it does not exist (mode 0755, like host-local).
    pub(crate) fn lock_or_make(&self) -> Result<Locked<'_>> {
        if let Some(locked) = self.lock()? {
            return Ok(locked);
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.dir)
            .map_err(|e| Error::file("make directory", &self.dir, e))?;
        let lock =
            open_lock(&self.dir).map_err(|e| Error::file("open", self.dir.join("lock"), e))?;
        self.locked(lock)
    }

    fn locked(&self, lock: File) -> Result<Locked<'_>> {
        loop {
            match rustix::fs::flock(&lock, FlockOperation::LockExclusive) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::file("lock", &self.dir, e)),
            }
        }
        let mut locked = Locked { directory: self, _lock: lock, scanned: None };
        if !self.index.is_complete() {
            locked.refresh()?;
        }
        Ok(locked)
    }
}

impl Locked<'_> {
    /// All that is held, read from disk.
    pub(crate) fn scan(&self) -> Result<Vec<Held>> {
        let dir = self.directory.dir();
        let mut held = Vec::new();
        for address in file::addresses(dir)? {
            held.extend(self.read(address)?);
        }
        held.sort_unstable_by_key(|h| h.address);
        Ok(held)
    }

    /// Who holds one address.
    pub(crate) fn read(&self, address: IpAddr) -> Result<Option<Held>> {
        let Some(found) = file::read(self.directory.dir(), address)? else { return Ok(None) };
        let mut held = found.held;
        if found.unmarked && held.kind == Kind::Foreign {
            let lines = self.directory.index.read(&held.owner).unwrap_or_default();
            if lines.iter().any(|l| l.address == address && l.kind == Kind::Lease) {
                held.kind = Kind::Lease;
                held.boot = Some(self.directory.boot.clone());
            }
        }
        Ok(Some(held))
    }

    /// What an owner holds. Leases of its id alone count only if there are no others, as in
    /// host-local.
    pub(crate) fn held_by(&self, owner: &Owner) -> Result<Vec<Held>> {
        let exact = self.held_by_exactly(owner)?;
        if !exact.is_empty() || owner.slot.is_empty() {
            return Ok(exact);
        }
        self.held_by_exactly(&Owner::new(owner.id.as_str(), ""))
    }

    fn held_by_exactly(&self, owner: &Owner) -> Result<Vec<Held>> {
        if let Some(scanned) = &self.scanned {
            return Ok(scanned.iter().filter(|h| h.owner == *owner).cloned().collect());
        }
        let mut held = Vec::new();
        for line in self.directory.index.read(owner)? {
            // The file has the last word.
            held.extend(self.read(line.address)?.filter(|h| h.owner == *owner));
        }
        Ok(held)
    }

    /// Leases the addresses, all or none, and moves the cursors. `Errno::EXIST` inside
    /// [`Error::File`] if a writer without lock was faster.
    pub(crate) fn create(&mut self, owner: &Owner, picks: &[Pick], kind: Kind) -> Result<()> {
        let Directory { dir, index, boot } = self.directory;
        let addresses: Vec<IpAddr> = picks.iter().map(|p| p.address).collect();
        index.add(owner, &addresses, kind)?;
        let new = New { owner, boot, kind };
        for (made, address) in addresses.iter().enumerate() {
            if let Err(e) = file::create(dir, *address, &new) {
                for undone in addresses.iter().take(made) {
                    let _ = file::remove(dir, *undone);
                }
                index.forget(owner, &addresses);
                self.stamp();
                return Err(e);
            }
        }
        for pick in picks {
            file::cursor::write(dir, pick.set, pick.address);
        }
        if let Some(scanned) = &mut self.scanned {
            let boot = (kind == Kind::Lease).then(|| boot.clone());
            scanned.extend(addresses.into_iter().map(|address| Held {
                address,
                owner: owner.clone(),
                kind,
                boot: boot.clone(),
            }));
        }
        self.stamp();
        Ok(())
    }

    /// Removes leases; on errors goes on with the rest and returns the first.
    pub(crate) fn remove(&mut self, held: &[Held]) -> Result<()> {
        let mut first_error = Ok(());
        for lease in held {
            match file::remove(self.directory.dir(), lease.address) {
                Ok(_) => {
                    self.directory.index.forget(&lease.owner, &[lease.address]);
                    if let Some(scanned) = &mut self.scanned {
                        scanned.retain(|h| h.address != lease.address);
                    }
                }
                Err(e) => first_error = first_error.and(Err(e)),
            }
        }
        if !held.is_empty() {
            self.stamp();
        }
        first_error
    }

    /// Reads the directory once, frees what an earlier boot left, and writes the index. Without
    /// room for an index the work goes on without one.
    fn refresh(&mut self) -> Result<()> {
        let Directory { dir, index, boot } = self.directory;
        let mut held = self.scan()?;
        held.retain(|h| !(h.is_void(boot) && file::remove(dir, h.address).is_ok()));
        match index.rebuild(&held) {
            Ok(()) => self.stamp(),
            Err(_) => self.scanned = Some(held),
        }
        Ok(())
    }

    fn stamp(&self) {
        if self.scanned.is_none() {
            self.directory.index.stamp();
        }
    }
}

fn open_lock(dir: &Path) -> std::result::Result<File, Errno> {
    // Read only is enough for flock, and works for an existing file on a read-only mount.
    let flags = OFlags::CREATE | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(dir.join("lock"), flags, Mode::from_raw_mode(0o600)).map(File::from)
}
