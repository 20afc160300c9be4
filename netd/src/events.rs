//! What happened on this node, for who asks now and for who listens on: the last thousand events,
//! and a stream of those to come.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::broadcast;

const KEPT: usize = 1000;
const BACKLOG: usize = 256;

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

/// Where events go.
#[derive(Debug)]
pub struct Events {
    kept: Mutex<(u64, VecDeque<Arc<Event>>)>,
    stream: broadcast::Sender<Arc<Event>>,
}

impl Events {
    /// None yet.
    pub fn new() -> Arc<Self> {
        let (stream, _) = broadcast::channel(BACKLOG);
        Arc::new(Self { kept: Mutex::default(), stream })
    }

    /// Tells one.
    pub fn tell(&self, kind: &'static str, subject: impl Into<String>, text: impl Into<String>) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let (subject, text) = (subject.into(), text.into());
        tracing::info!(kind, subject, "{text}");
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0 += 1;
        let event = Arc::new(Event { number: kept.0, time, kind, subject, text });
        if kept.1.len() == KEPT {
            kept.1.pop_front();
        }
        kept.1.push_back(event.clone());
        // Nobody may be listening.
        let _ = self.stream.send(event);
    }

    /// The last events, the oldest first, and the stream of those after them.
    pub fn follow(&self) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.1.iter().cloned().collect(), self.stream.subscribe())
    }
}
