//! All names of this node, by network, by address and by container. In memory alone, and always
//! what the records say: whoever changes a record changes names.
//!
//! The tables hold pointers to entries and no keys: what an entry is found by stands in the entry.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::IterHash;
use smallvec::SmallVec;

use super::entry::{Asked, Entry, Membership};

/// Most often one; several where a name is shared.
pub type Entries = SmallVec<[Arc<Entry>; 1]>;

/// The names of this node.
#[derive(Debug, Default)]
pub struct Index {
    by_record: Table,
    by_owner: Table,
    /// With each of its addresses, and each of its names, an entry stands there once.
    by_address: Table,
    by_name: Table,
    /// Where attachments stand, and on how many attachments' account.
    memberships: HashMap<Arc<Membership>, usize>,
    /// Where questions come in, and on how many attachments' account.
    asks: BTreeMap<IpAddr, (Arc<str>, usize)>,
    /// How many are listened for inside.
    inside: usize,
}

impl Index {
    /// Puts an attachment's names in membership of those that it had. Whether that changed anything.
    pub fn put(&mut self, mut entry: Entry) -> bool {
        if let Some(old) = self.of_record(entry.record()) {
            if **old == entry {
                return false;
            }
            entry.asked = Asked::continuing(&old.asked);
        }
        self.remove(entry.record());
        entry.membership = self.enter(entry.membership);
        for address in &entry.membership.asks {
            let asked = self.asks.entry(*address);
            asked.or_insert_with(|| (entry.membership.network.clone(), 0)).1 += 1;
        }
        self.inside += usize::from(entry.netns.is_some());
        let entry = Arc::new(entry);
        for address in &entry.addresses {
            self.by_address.put(address, &entry);
        }
        for name in entry.names() {
            self.by_name.put(&(&*entry.membership.network, name), &entry);
        }
        self.by_owner.put(entry.owner(), &entry);
        self.by_record.put(entry.record(), &entry);
        true
    }

    /// Takes an attachment's names out. Whether it had any.
    pub fn remove(&mut self, record: &str) -> bool {
        let Some(entry) = self.of_record(record).cloned() else {
            return false;
        };
        self.by_record.remove(record, &entry);
        self.by_owner.remove(entry.owner(), &entry);
        for address in &entry.addresses {
            self.by_address.remove(address, &entry);
        }
        for name in entry.names() {
            self.by_name.remove(&(&*entry.membership.network, name), &entry);
        }
        self.inside -= usize::from(entry.netns.is_some());
        for address in &entry.membership.asks {
            if let Some((_, count)) = self.asks.get_mut(address) {
                *count -= 1;
                if *count == 0 {
                    self.asks.remove(address);
                }
            }
        }
        self.leave(&entry.membership);
        true
    }

    /// One membership for all that stand at the same.
    fn enter(&mut self, membership: Arc<Membership>) -> Arc<Membership> {
        let entry = self.memberships.entry(membership);
        let membership = entry.key().clone();
        *entry.or_default() += 1;
        membership
    }

    fn leave(&mut self, membership: &Arc<Membership>) {
        if let Some(count) = self.memberships.get_mut(membership) {
            *count -= 1;
            if *count == 0 {
                self.memberships.remove(membership);
            }
        }
    }

    /// The names of all records but these are taken out. Whether there were any.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) -> bool {
        let all = self.entries().map(|entry| entry.record());
        let gone: Vec<String> = all.filter(|name| !keep(name)).map(str::to_owned).collect();
        for record in &gone {
            self.remove(record);
        }
        !gone.is_empty()
    }

    /// The attachment of a record.
    pub fn of_record(&self, record: &str) -> Option<&Arc<Entry>> {
        self.by_record.at(record).find(|entry| entry.record() == record)
    }

    /// Who asks from an address at one of the host's.
    pub fn asker(&self, source: IpAddr, asked: IpAddr) -> Option<&Arc<Entry>> {
        self.at(source).find(|entry| entry.membership.asks.contains(&asked))
    }

    /// All attachments of the container that has this one.
    pub fn of_same_owner<'i>(&'i self, entry: &'i Entry) -> impl Iterator<Item = &'i Arc<Entry>> {
        let all = self.by_owner.at(entry.owner());
        all.filter(|other| other.owner() == entry.owner())
    }

    /// The attachments of a network with a name.
    pub fn named<'i>(
        &'i self,
        network: &'i str,
        name: &'i str,
    ) -> impl Iterator<Item = &'i Arc<Entry>> {
        let found = self.by_name.at(&(network, name));
        found.filter(move |entry| {
            *entry.membership.network == *network && entry.names().any(|other| other == name)
        })
    }

    /// The attachments with an address.
    pub fn at(&self, address: IpAddr) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_address.at(&address).filter(move |entry| entry.addresses.contains(&address))
    }

    /// The host's addresses that are asked.
    pub fn asks(&self) -> impl Iterator<Item = IpAddr> {
        self.asks.keys().copied()
    }

    /// The network whose containers ask at an address of the host's.
    pub fn network_at(&self, asked: IpAddr) -> Option<&Arc<str>> {
        self.asks.get(&asked).map(|(network, _)| network)
    }

    /// All attachments with names, in no order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Arc<Entry>> {
        self.by_record.all()
    }

    /// How many attachments are to be listened for inside their containers.
    pub fn inside(&self) -> usize {
        self.inside
    }

    /// How many attachments have names.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Nobody has a name.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Entries by the hash of a key that stands in them. An entry is there once for each of its keys;
/// who looks for one compares.
#[derive(Debug, Default)]
struct Table {
    hasher: RandomState,
    /// With the hashes, so that a table that grows reads no entry.
    entries: HashTable<(u64, Arc<Entry>)>,
}

impl Table {
    fn put(&mut self, key: &(impl Hash + ?Sized), entry: &Arc<Entry>) {
        let hash = self.hasher.hash_one(key);
        self.entries.insert_unique(hash, (hash, entry.clone()), |(hash, _)| *hash);
    }

    fn remove(&mut self, key: &(impl Hash + ?Sized), entry: &Arc<Entry>) {
        let hash = self.hasher.hash_one(key);
        let is_it = |(its, other): &(u64, Arc<Entry>)| *its == hash && Arc::ptr_eq(other, entry);
        if let Ok(found) = self.entries.find_entry(hash, is_it) {
            found.remove();
        }
    }

    fn at(&self, key: &(impl Hash + ?Sized)) -> Found<'_> {
        let hash = self.hasher.hash_one(key);
        Found { hash, rest: self.entries.iter_hash(hash) }
    }

    fn all(&self) -> impl ExactSizeIterator<Item = &Arc<Entry>> {
        self.entries.iter().map(|(_, entry)| entry)
    }
}

/// The entries with a hash.
struct Found<'t> {
    hash: u64,
    rest: IterHash<'t, (u64, Arc<Entry>)>,
}

impl<'t> Iterator for Found<'t> {
    type Item = &'t Arc<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rest.find(|(hash, _)| *hash == self.hash).map(|(_, entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(in crate::names) fn entry(
        record: &str,
        network: &str,
        names: &[&str],
        address: &str,
    ) -> Entry {
        let asks = ["10.1.0.1".parse().unwrap()].into();
        let membership = Membership { network: network.into(), asks, ..Membership::default() };
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let owner = format!("owner of {record}");
        let mut entry = Entry::new((record, &owner), &names, membership);
        entry.addresses.push(address.parse().unwrap());
        entry
    }

    #[test]
    fn what_is_put_is_found_and_what_is_removed_leaves_nothing() {
        let mut index = Index::default();
        assert!(index.put(entry("a", "web", &["db", "one"], "10.1.0.2")));
        assert!(!index.put(entry("a", "web", &["db", "one"], "10.1.0.2")));
        assert!(index.put(entry("b", "web", &["db"], "10.1.0.3")));
        assert_eq!(index.named("web", "db").count(), 2);
        assert_eq!(index.named("other", "db").count(), 0);
        // One membership for both.
        assert_eq!(index.memberships.len(), 1);
        let asked = "10.1.0.1".parse().unwrap();
        assert_eq!(index.asker("10.1.0.3".parse().unwrap(), asked).unwrap().record(), "b");
        // The same record with another address: the old one is nobody's.
        assert!(index.put(entry("b", "web", &["db"], "10.1.0.9")));
        assert!(index.asker("10.1.0.3".parse().unwrap(), asked).is_none());
        assert!(index.remove("a") && index.remove("b") && !index.remove("b"));
        let tables = [&index.by_record, &index.by_owner, &index.by_address, &index.by_name];
        assert!(index.is_empty() && tables.iter().all(|table| table.entries.is_empty()));
        assert!(index.memberships.is_empty() && index.asks.is_empty());
    }
}
