//! The ruleset: two tables of our own, whose chains and rules never change; a link adds a few
//! set elements once, an attachment adds its own in one transaction. What is there follows from
//! the stored link rules and records alone, so that a lost table is made again from them.

pub mod conditions;
mod elements;
pub mod foreign;
pub mod legacy;
mod links;
mod mark;
mod skeleton;
pub mod sources;
mod stored;

use cleat_kernel::Socket;
use cleat_nft::{Backend, Element, Family, Key, Netlink, Table, Transaction};
use cleat_records::Lock;

use foreign::Passage;
use links::Enlisted;
pub(crate) use links::is_being_settled;
pub use links::{LinkDns, LinkRules};
pub use skeleton::{BRIDGE, INET};

pub(crate) use elements::{Elements, SetName, binding_element, of_attachment, of_ports};
pub(crate) use skeleton::{drop_localhost, lay};
pub(crate) use stored::Stored;

use crate::Node;
use crate::error::Result;
use crate::record::AttachmentRecord;

/// The lock that a rebuild holds.
const LOCK: &str = "ruleset";

/// Access to the ruleset of the calling thread's namespace.
pub struct Ruleset<'n> {
    node: &'n Node,
    nft: Shared,
}

/// The socket that the rulesets of a process share, one after the other: closing one through
/// which something was removed makes others wait.
#[derive(Default)]
pub(crate) struct Shared {
    backend: Netlink,
    /// Something was removed.
    removed: bool,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(socket) = std::mem::take(&mut self.backend).into_socket()
            && self.removed
        {
            cleat_kernel::delete::close_elsewhere(socket);
        }
    }
}

impl<'n> Ruleset<'n> {
    /// Opens no socket until one is needed.
    pub fn open(node: &'n Node) -> Self {
        Self { node, nft: node.nft.take().unwrap_or_default() }
    }

    /// The backend itself, for questions.
    pub fn backend(&mut self) -> &mut Netlink {
        &mut self.nft.backend
    }

    /// The socket, if one was opened: whoever deletes a link next has it closed along.
    pub(crate) fn into_socket(mut self) -> Option<Socket> {
        std::mem::take(&mut self.nft.backend).into_socket()
    }

    /// Adds an attachment's elements, and a link's where they are not there yet. `record` is
    /// what the disk may not say yet.
    pub(crate) fn add(
        &mut self,
        record: &AttachmentRecord,
        link: Option<&LinkRules>,
        elements: &Elements,
    ) -> Result<()> {
        let mut transaction = Transaction::new();
        let enlisted = match link {
            Some(wanted) => links::enlist(self.node, wanted, &mut transaction)?,
            None => Enlisted::Before,
        };
        if enlisted == Enlisted::ByRebuild {
            return self.rebuild(Some(record));
        }
        elements.add_to(&mut transaction);
        match self.nft.backend.commit(&transaction) {
            Ok(()) => {}
            Err(error) if error.is_not_found() => self.rebuild(Some(record))?,
            Err(error) if error.is_unsupported() && elements.has_bridge_part() => {
                self.node.warn(&format!("no protection against spoofing: {error}"));
                let mut inet_only = Transaction::new();
                elements.inet_only().add_to(&mut inet_only);
                self.nft.backend.commit(&inet_only)?;
            }
            Err(error) => return Err(error.into()),
        }
        if let Some(link) = link.filter(|_| enlisted == Enlisted::ByElements) {
            links::settle(self.node, &link.link)?;
            self.meet_foreign_firewalls(link.is_served())?;
        }
        Ok(())
    }

    /// Removes elements. What is not there is no error.
    pub(crate) fn remove(&mut self, elements: &Elements) -> Result<()> {
        let mut transaction = Transaction::new();
        elements.remove_from(&mut transaction);
        if transaction.is_empty() {
            return Ok(());
        }
        self.nft.removed = true;
        match self.nft.backend.commit(&transaction) {
            Ok(()) => Ok(()),
            // A table or set is gone, and with it the elements.
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// One element of a set of ours.
    pub(crate) fn element(&mut self, set: &str, key: &Key) -> Result<Option<Element>> {
        Ok(self.nft.backend.element(INET, set, key)?)
    }

    /// All elements of a set of ours; none if there is no such set.
    pub(crate) fn elements(&mut self, table: Table, set: &str) -> Result<Vec<Element>> {
        match self.nft.backend.elements(table, set) {
            Ok(found) => Ok(found),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes everything again from what is stored, in one transaction: what goes through
    /// established connections is not interrupted.
    ///
    /// An attach or detach that is under way elsewhere may have changed its elements after they
    /// were read here: [`repair`](crate::repair) finds that and sets it right.
    pub fn rebuild(&mut self, current: Option<&AttachmentRecord>) -> Result<()> {
        let lock = lock(self.node)?;
        let stored = Stored::read(self.node)?;
        self.lay(lock, &stored, current)
    }

    /// The same, if anything stored needs it.
    pub(crate) fn restore(&mut self) -> Result<()> {
        let lock = lock(self.node)?;
        let stored = Stored::read(self.node)?;
        if stored.needs_tables(self.node) { self.lay(lock, &stored, None) } else { Ok(()) }
    }

    fn lay(
        &mut self,
        lock: Lock,
        stored: &Stored,
        current: Option<&AttachmentRecord>,
    ) -> Result<()> {
        let elements = stored.elements(self.node, current);
        let shape = stored.shape();
        let mut transaction = Transaction::new();
        skeleton::lay(&mut transaction, &shape);
        elements.add_to(&mut transaction);
        match self.nft.backend.commit(&transaction) {
            Ok(()) => {}
            // Tables of another shape, from another version of this program.
            Err(error) if error.is_exists() => {
                let mut anew = Transaction::new();
                anew.delete_table(INET).delete_table(BRIDGE);
                skeleton::lay(&mut anew, &shape);
                elements.add_to(&mut anew);
                self.nft.backend.commit(&anew)?;
            }
            Err(error) if error.is_unsupported() => {
                let mut inet_only = Transaction::new();
                skeleton::lay_inet(&mut inet_only, &shape);
                elements.inet_only().add_to(&mut inet_only);
                self.nft.backend.commit(&inet_only)?;
                self.node.warn(&format!("no protection against spoofing: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
        // Two names may share a lock file: never hold two locks.
        drop(lock);
        for rules in stored.links.iter().filter(|rules| !rules.settled) {
            links::settle(self.node, &rules.link)?;
        }
        let Passage { mark, input } = stored.passage();
        let before = mark::laid(self.node)?;
        if before != mark {
            foreign::withdraw(&mut self.nft.backend, before)?;
            mark::note(self.node, mark)?;
        }
        if stored.links.is_empty() && !input {
            return Ok(());
        }
        self.meet_foreign_firewalls(input)
    }

    /// Changes what a link's rules say, on disk and in the kernel.
    pub fn set_link(&mut self, rules: &LinkRules) -> Result<()> {
        let mut transaction = Transaction::new();
        match links::enlist(self.node, rules, &mut transaction)? {
            Enlisted::Before => return Ok(()),
            Enlisted::ByRebuild => return self.rebuild(None),
            Enlisted::ByElements => {}
        }
        match self.nft.backend.commit(&transaction) {
            Ok(()) => {}
            Err(error) if error.is_not_found() => return self.rebuild(None),
            Err(error) => return Err(error.into()),
        }
        links::settle(self.node, &rules.link)?;
        self.meet_foreign_firewalls(rules.is_served())
    }

    /// The stored rules of a link.
    pub fn stored_link(&self, link: &str) -> Result<Option<LinkRules>> {
        links::stored(self.node, link)
    }

    /// Forgets a link. With the last one goes what stands in other programs' firewalls for it.
    pub fn forget_link(&mut self, link: &str) -> Result<()> {
        let Some(rules) = links::stored(self.node, link)? else {
            return Ok(());
        };
        self.remove(&rules.elements())?;
        links::forget(self.node, link)?;
        if self.node.links().names()?.is_empty() {
            foreign::withdraw(&mut self.nft.backend, mark::laid(self.node)?)?;
        }
        Ok(())
    }

    /// Removes both tables and what stands in other people's.
    pub fn uninstall(&mut self) -> Result<()> {
        let _lock = lock(self.node)?;
        foreign::withdraw(&mut self.nft.backend, mark::laid(self.node)?)?;
        let mut transaction = Transaction::new();
        for table in [INET, BRIDGE] {
            if self.nft.backend.table_exists(table)? {
                transaction.delete_table(table);
            }
        }
        if !transaction.is_empty() {
            self.nft.backend.commit(&transaction)?;
        }
        mark::forget(self.node)
    }

    /// `input`: also where it comes to the host itself.
    fn meet_foreign_firewalls(&mut self, input: bool) -> Result<()> {
        let passage = Passage { mark: self.node.mark()?, input };
        if let Err(error) = foreign::admit(&mut self.nft.backend, passage) {
            self.node.warn(&format!("another firewall may drop containers' traffic: {error}"));
        }
        Ok(())
    }
}

impl Drop for Ruleset<'_> {
    fn drop(&mut self) {
        // Of two at a time the second one's stays.
        self.node.nft.set(Some(std::mem::take(&mut self.nft)));
    }
}

/// The lock of whoever lays the tables.
pub(crate) fn lock(node: &Node) -> Result<Lock> {
    Ok(node.shared_locks().acquire(LOCK)?)
}

/// This kernel has tables for frames. Asked by making one that never is.
pub(crate) fn has_bridge_family() -> bool {
    let mut transaction = Transaction::new();
    transaction.delete_table(Table::new(Family::Bridge, "cleat-never"));
    !Netlink::open().commit(&transaction).is_err_and(|error| error.is_unsupported())
}

/// This kernel has nf_tables and lets us use it.
pub fn available() -> Result<()> {
    Netlink::open().tables()?;
    Ok(())
}
