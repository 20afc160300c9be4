//! All names of this node, by network, by address and by container. In memory alone, and always
//! what the records say: whoever changes a record changes names.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::entry::Entry;

/// Most often one; several where a name is shared.
pub type Entries = SmallVec<[Arc<Entry>; 1]>;

/// The names of this node.
#[derive(Debug, Default)]
pub struct Index {
    by_record: HashMap<String, Arc<Entry>>,
    by_address: HashMap<IpAddr, Entries>,
    by_owner: HashMap<Arc<str>, Entries>,
    networks: HashMap<Arc<str>, HashMap<Arc<str>, Entries>>,
    /// Where questions come in, and on how many attachments' account.
    asks: BTreeMap<IpAddr, (Arc<str>, usize)>,
    /// How many are listened for inside.
    inside: usize,
}

impl Index {
    /// Puts an attachment's names in place of those that it had. Whether that changed anything.
    pub fn put(&mut self, mut entry: Entry) -> bool {
        if let Some(old) = self.by_record.get(&entry.record) {
            if **old == entry {
                return false;
            }
            entry.asked = old.asked.clone();
        }
        self.remove(&entry.record);
        let entry = Arc::new(entry);
        for address in &entry.addresses {
            self.by_address.entry(*address).or_default().push(entry.clone());
        }
        self.by_owner.entry(entry.owner.clone()).or_default().push(entry.clone());
        let network = self.networks.entry(entry.network.clone()).or_default();
        for name in &entry.names {
            network.entry(name.clone()).or_default().push(entry.clone());
        }
        for address in &entry.part.asks {
            let asked = self.asks.entry(*address);
            asked.or_insert_with(|| (entry.network.clone(), 0)).1 += 1;
        }
        self.inside += usize::from(entry.netns.is_some());
        self.by_record.insert(entry.record.clone(), entry);
        true
    }

    /// Takes an attachment's names out. Whether it had any.
    pub fn remove(&mut self, record: &str) -> bool {
        let Some(entry) = self.by_record.remove(record) else {
            return false;
        };
        self.inside -= usize::from(entry.netns.is_some());
        for address in &entry.addresses {
            drop_from(&mut self.by_address, address, &entry);
        }
        drop_from(&mut self.by_owner, &entry.owner, &entry);
        if let Some(network) = self.networks.get_mut(&entry.network) {
            for name in &entry.names {
                drop_from(network, name, &entry);
            }
            if network.is_empty() {
                self.networks.remove(&entry.network);
            }
        }
        for address in &entry.part.asks {
            if let Some((_, count)) = self.asks.get_mut(address) {
                *count -= 1;
                if *count == 0 {
                    self.asks.remove(address);
                }
            }
        }
        true
    }

    /// The names of all records but these are taken out.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        let gone: Vec<String> = self.by_record.keys().filter(|name| !keep(name)).cloned().collect();
        for record in gone {
            self.remove(&record);
        }
    }

    /// The attachment of a record.
    pub fn of_record(&self, record: &str) -> Option<&Arc<Entry>> {
        self.by_record.get(record)
    }

    /// Who asks from an address at one of the host's.
    pub fn asker(&self, source: IpAddr, asked: IpAddr) -> Option<&Arc<Entry>> {
        self.by_address.get(&source)?.iter().find(|entry| entry.part.asks.contains(&asked))
    }

    /// All attachments of the container that has this one.
    pub fn of_same_owner(&self, entry: &Entry) -> &[Arc<Entry>] {
        self.by_owner.get(&entry.owner).map(SmallVec::as_slice).unwrap_or_default()
    }

    /// The attachments of a network with a name.
    pub fn named(&self, network: &str, name: &str) -> &[Arc<Entry>] {
        let found = self.networks.get(network).and_then(|names| names.get(name));
        found.map(SmallVec::as_slice).unwrap_or_default()
    }

    /// The attachments with an address.
    pub fn at(&self, address: IpAddr) -> &[Arc<Entry>] {
        self.by_address.get(&address).map(SmallVec::as_slice).unwrap_or_default()
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
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_record.values()
    }

    /// How many attachments are to be listened for inside their containers.
    pub fn inside(&self) -> usize {
        self.inside
    }

    /// How many attachments have names.
    pub fn len(&self) -> usize {
        self.by_record.len()
    }

    /// Nobody has a name.
    pub fn is_empty(&self) -> bool {
        self.by_record.is_empty()
    }
}

fn drop_from<K, Q>(map: &mut HashMap<K, Entries>, key: &Q, entry: &Arc<Entry>)
where
    K: std::borrow::Borrow<Q> + std::hash::Hash + Eq,
    Q: std::hash::Hash + Eq + ?Sized,
{
    if let Some(entries) = map.get_mut(key) {
        entries.retain(|other| !Arc::ptr_eq(other, entry));
        if entries.is_empty() {
            map.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use cleat_engine::names::NamesPart;

    use super::*;

    pub(in crate::names) fn entry(
        record: &str,
        network: &str,
        names: &[&str],
        address: &str,
    ) -> Entry {
        Entry {
            record: record.into(),
            owner: format!("owner of {record}").into(),
            network: network.into(),
            domain: None,
            names: names.iter().map(|n| Arc::from(*n)).collect(),
            addresses: Box::new([address.parse().unwrap()]),
            ports: Box::default(),
            part: NamesPart { asks: vec!["10.1.0.1".parse().unwrap()], ..NamesPart::default() },
            asked: Arc::default(),
            netns: None,
        }
    }

    #[test]
    fn what_is_put_is_found_and_what_is_removed_leaves_nothing() {
        let mut index = Index::default();
        assert!(index.put(entry("a", "web", &["db", "one"], "10.1.0.2")));
        assert!(!index.put(entry("a", "web", &["db", "one"], "10.1.0.2")));
        assert!(index.put(entry("b", "web", &["db"], "10.1.0.3")));
        assert_eq!(index.named("web", "db").len(), 2);
        assert!(index.named("other", "db").is_empty());
        let asked = "10.1.0.1".parse().unwrap();
        assert_eq!(index.asker("10.1.0.3".parse().unwrap(), asked).unwrap().record, "b");
        // The same record with another address: the old one is nobody's.
        assert!(index.put(entry("b", "web", &["db"], "10.1.0.9")));
        assert!(index.asker("10.1.0.3".parse().unwrap(), asked).is_none());
        assert!(index.remove("a") && index.remove("b") && !index.remove("b"));
        assert!(index.is_empty() && index.by_address.is_empty() && index.by_owner.is_empty());
        assert!(index.networks.is_empty() && index.asks.is_empty());
    }
}
