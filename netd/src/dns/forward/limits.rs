//! How much may be under way, for each client and in all: questions to other servers, and
//! connections. One client that floods, or servers that are silent, take nothing from the rest.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    clients: HashMap<IpAddr, usize>,
}

/// What is under way.
#[derive(Debug, Clone, Default)]
pub(in crate::dns) struct Limits {
    counts: Arc<Mutex<Counts>>,
}

/// Something that is under way, until dropped.
#[derive(Debug)]
#[must_use = "the place is free again as soon as this is dropped"]
pub struct Place {
    counts: Arc<Mutex<Counts>>,
    client: IpAddr,
}

impl Limits {
    /// A place for one more of a client's; `None` where he has too many, or all have.
    pub(in crate::dns) fn enter(
        &self,
        client: IpAddr,
        per_client: usize,
        all: usize,
    ) -> Option<Place> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counts.clients.get(&client).copied().unwrap_or_default();
        if counts.all >= all || own >= per_client {
            return None;
        }
        counts.all += 1;
        counts.clients.insert(client, own + 1);
        Some(Place { counts: self.counts.clone(), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        match counts.clients.get_mut(&self.client) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(counts.clients.remove(&self.client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_leaves_room_for_others_and_places_come_back() {
        let limits = Limits::default();
        let [a, b, c] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|s| s.parse().unwrap());
        let held: Vec<_> = (0..2).map(|_| limits.enter(a, 2, 3).unwrap()).collect();
        assert!(limits.enter(a, 2, 3).is_none());
        let other = limits.enter(b, 2, 3).unwrap();
        assert!(limits.enter(c, 2, 3).is_none());
        drop((held, other));
        assert!(limits.enter(c, 2, 3).is_some());
        assert!(limits.counts.lock().unwrap().clients.is_empty());
    }
}
