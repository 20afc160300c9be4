//! Counters of the daemon's work. Counting is one atomic addition; who reads them takes the sums
//! as they are at that moment.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How a question was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// Out of the names of this node.
    Local,
    /// As a name that there is not.
    NoName,
    /// Out of the cache.
    Cached,
    /// By an upstream server.
    Forwarded,
    /// With a failure, since no upstream server answered.
    Failed,
    /// Not: the asker or the question is refused.
    Refused,
    /// Not at all: it was no question.
    Ignored,
    /// Not at all: its asker had too many waiting.
    Dropped,
}

impl Answered {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::Local,
        Self::NoName,
        Self::Cached,
        Self::Forwarded,
        Self::Failed,
        Self::Refused,
        Self::Ignored,
        Self::Dropped,
    ];

    /// Its name as the value of a label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::NoName => "no_name",
            Self::Cached => "cached",
            Self::Forwarded => "forwarded",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Ignored => "ignored",
            Self::Dropped => "dropped",
        }
    }
}

/// Upper bounds of the latency histogram's buckets, in microseconds; the last bucket has none.
pub(crate) const LATENCY_BOUNDS: [u64; 12] =
    [10, 25, 50, 100, 250, 500, 1_000, 5_000, 25_000, 100_000, 500_000, 2_500_000];

/// What was counted since the start.
#[derive(Debug, Default)]
pub struct Metrics {
    answered: [AtomicU64; Answered::ALL.len()],
    latency: [AtomicU64; LATENCY_BOUNDS.len() + 1],
    latency_sum: AtomicU64,
    /// Questions that joined one that was under way.
    pub coalesced: AtomicU64,
    /// By what was repaired: done and failed.
    repairs: Mutex<BTreeMap<&'static str, (u64, u64)>>,
}

impl Metrics {
    /// Counts an answered question and the time it took from its arrival here.
    pub fn answered(&self, how: Answered, after: Duration) {
        self.counter(how).fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS.iter().position(|bound| micros <= *bound);
        if let Some(bucket) = self.latency.get(bucket.unwrap_or(LATENCY_BOUNDS.len())) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.latency_sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// Counts a question that nobody looked at.
    pub fn dropped(&self) {
        self.counter(Answered::Dropped).fetch_add(1, Ordering::Relaxed);
    }

    /// How many questions were answered this way.
    pub fn count(&self, how: Answered) -> u64 {
        self.counter(how).load(Ordering::Relaxed)
    }

    /// How many answers took up to each bound, and longer, one bucket each; and the sum of all in
    /// microseconds.
    pub fn latencies(&self) -> ([u64; LATENCY_BOUNDS.len() + 1], u64) {
        let mut all = [0; LATENCY_BOUNDS.len() + 1];
        for (to, from) in all.iter_mut().zip(&self.latency) {
            *to = from.load(Ordering::Relaxed);
        }
        (all, self.latency_sum.load(Ordering::Relaxed))
    }

    /// Counts a repair of some kind of thing, which may have failed.
    pub fn repaired(&self, kind: &'static str, done: bool) {
        let mut repairs = self.repairs.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, failed) = repairs.entry(kind).or_default();
        *(if done { all } else { failed }) += 1;
    }

    /// What was repaired: the kind, how often, and how often not.
    pub fn repairs(&self) -> Vec<(&'static str, u64, u64)> {
        let repairs = self.repairs.lock().unwrap_or_else(PoisonError::into_inner);
        repairs.iter().map(|(kind, (done, failed))| (*kind, *done, *failed)).collect()
    }

    #[allow(clippy::indexing_slicing, reason = "a counter for each variant, by construction")]
    fn counter(&self, how: Answered) -> &AtomicU64 {
        &self.answered[how as usize]
    }
}
