//! What happened on this node, for who asks now and for who listens on: the last thousand events,
//! a stream of those to come, and what is wrong at this moment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::broadcast;

const KEPT: usize = 1000;
const BACKLOG: usize = 256;

/// The kind of the last event there is.
pub(crate) const STOPPED: &str = "netd.stopped";

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Counts up from 1 since the start.
    pub number: u64,
    /// Milliseconds since 1970.
    pub time: u64,
    /// What kind it is, such as `names.added`.
    pub kind: &'static str,
    /// What it is about: an attachment, a network, a link, a table.
    pub subject: String,
    /// For people.
    pub text: String,
}

/// Something that is wrong now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Trouble {
    /// The kind of the event that tells of it.
    pub kind: &'static str,
    /// What it is about.
    pub subject: String,
    /// For people.
    pub text: String,
}

impl Trouble {
    /// One.
    pub fn new(kind: &'static str, subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { kind, subject: subject.into(), text: text.into() }
    }
}

/// Where events go.
#[derive(Debug)]
pub struct Events {
    kept: Mutex<(u64, VecDeque<Arc<Event>>)>,
    /// By who tells of them.
    troubles: Mutex<BTreeMap<&'static str, BTreeSet<Trouble>>>,
    stream: broadcast::Sender<Arc<Event>>,
}

impl Events {
    /// None yet.
    pub fn new() -> Arc<Self> {
        let (stream, _) = broadcast::channel(BACKLOG);
        Arc::new(Self { kept: Mutex::default(), troubles: Mutex::default(), stream })
    }

    /// Tells one.
    pub fn tell(&self, kind: &'static str, subject: impl Into<String>, text: impl Into<String>) {
        let (subject, text) = (subject.into(), text.into());
        tracing::info!(kind, subject, "{text}");
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0 += 1;
        let event = Arc::new(Event { number: kept.0, time: now(), kind, subject, text });
        if kept.1.len() == KEPT {
            kept.1.pop_front();
        }
        kept.1.push_back(event.clone());
        // Nobody may be listening.
        let _ = self.stream.send(event);
    }

    /// All that is wrong now as one part of the daemon sees it. What was not so before is told;
    /// what was and is no more is forgotten.
    pub fn settle(&self, teller: &'static str, troubles: BTreeSet<Trouble>) {
        let mut all = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(teller).or_default();
        let new: Vec<Trouble> = troubles.difference(known).cloned().collect();
        *known = troubles;
        drop(all);
        new.into_iter().for_each(|Trouble { kind, subject, text }| self.tell(kind, subject, text));
    }

    /// What is wrong now.
    pub fn troubles(&self) -> Vec<Trouble> {
        let all = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().flatten().cloned().collect()
    }

    /// The last events, the oldest first, and the stream of those after them.
    pub fn follow(&self) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.1.iter().cloned().collect(), self.stream.subscribe())
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_once_and_again_after_it_was_over() {
        let events = Events::new();
        let set = |texts: &[&str]| {
            texts.iter().map(|text| Trouble::new("relay.trouble", "relay", *text)).collect()
        };
        for texts in [&["a"] as &[&str], &["a", "b"], &["b"], &["a", "b"], &[]] {
            events.settle("relay", set(texts));
        }
        let told: Vec<String> = events.follow().0.iter().map(|e| e.text.clone()).collect();
        assert_eq!(told, ["a", "b", "a"]);
        assert_eq!(events.troubles(), []);
    }
}
