//! What changed, for whoever acts upon it: as much as is needed to look at little.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// What is to be looked at again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Everything: it was listed anew.
    pub all: bool,
    /// Networks came or went.
    pub networks: bool,
    /// Claims of these networks, by id.
    pub claims: BTreeSet<Arc<str>>,
    /// Wishes for addresses of these networks, by id.
    pub asks: BTreeSet<Arc<str>>,
    /// These nodes' addresses, versions, keys, or whether they are draining.
    pub hosts: BTreeSet<Arc<str>>,
    /// These nodes came up; or, if there are none, some went down and `down` is set.
    pub live: BTreeSet<Arc<str>>,
    /// Some nodes went down.
    pub down: bool,
    /// Names of these networks, by id.
    pub names: BTreeSet<Arc<str>>,
    /// This node's own standing: its key, whether it is to drain, what it owns by its books.
    pub own: bool,
    /// Keys that are not understood.
    pub refused: bool,
}

impl Changed {
    pub(in crate::overlay) fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Nothing is.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// These changes as well.
    pub(in crate::overlay) fn add(&mut self, other: &Self) {
        self.all |= other.all;
        self.networks |= other.networks;
        self.down |= other.down;
        self.own |= other.own;
        self.refused |= other.refused;
        self.claims.extend(other.claims.iter().cloned());
        self.asks.extend(other.asks.iter().cloned());
        self.hosts.extend(other.hosts.iter().cloned());
        self.live.extend(other.live.iter().cloned());
        self.names.extend(other.names.iter().cloned());
    }
}

/// Changes as they come.
#[derive(Debug)]
pub struct Changes {
    receiver: broadcast::Receiver<Arc<Changed>>,
}

impl Changes {
    pub(super) fn new(receiver: broadcast::Receiver<Arc<Changed>>) -> Self {
        Self { receiver }
    }

    /// All that changed since the last time, at least something. `None`: there will be no more.
    /// Who is slow is told to look at everything. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Changed> {
        let mut changed = match self.receiver.recv().await {
            Ok(one) => (*one).clone(),
            Err(RecvError::Lagged(_)) => Changed::everything(),
            Err(RecvError::Closed) => return None,
        };
        loop {
            match self.receiver.try_recv() {
                Ok(one) => changed.add(&one),
                Err(TryRecvError::Lagged(_)) => changed.all = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Some(changed),
            }
        }
    }
}
