//! Answers of other servers, for as long as they say: positive ones by their records' times,
//! negative ones by their SOA's (RFC 2308), failures for a second (RFC 9520). Bounded in bytes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record};
use quick_cache::Weighter;
use quick_cache::sync::Cache as Quick;

use super::exchange::Asked;

/// No answer is kept for longer, whatever it says, in seconds.
const LONGEST: u32 = 86_400;
/// No negative answer is kept for longer, in seconds (RFC 2308, section 5).
const LONGEST_NEGATIVE: u32 = 3_600;
const FAILURE: Duration = Duration::from_secs(1);
/// Answers that are larger are not kept, in bytes.
const LARGEST: usize = 16 << 10;
/// What a record takes in memory beside its data, more or less.
const RECORD: usize = 320;
const ENTRY: usize = 700;

/// A question to certain servers: what others say may differ.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// What is asked.
    pub asked: Asked,
    /// Who is asked.
    pub servers: Arc<[IpAddr]>,
}

/// A kept answer; none is a failure.
#[derive(Debug, Clone)]
struct Kept {
    answer: Option<Arc<Message>>,
    since: Instant,
    until: Instant,
    weight: u64,
}

#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<Key, Kept> for Bytes {
    fn weight(&self, _: &Key, kept: &Kept) -> u64 {
        kept.weight
    }
}

/// Answers of other servers.
pub(super) struct Cache {
    kept: Quick<Key, Kept, Bytes>,
}

impl Cache {
    /// Room for so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let entries = usize::try_from(bytes).unwrap_or(usize::MAX) / (ENTRY + RECORD);
        Self { kept: Quick::with_weighter(entries.max(16), bytes, Bytes) }
    }

    /// What is kept, its times to live counted down: an answer, or that there was none.
    pub(super) fn find(&self, key: &Key) -> Option<Option<Message>> {
        let kept = self.kept.get(key)?;
        let now = Instant::now();
        if kept.until <= now {
            self.kept.remove(key);
            return None;
        }
        let age = u32::try_from(now.duration_since(kept.since).as_secs()).unwrap_or(u32::MAX);
        Some(kept.answer.map(|answer| {
            let mut answer = Message::clone(&answer);
            let records = answer.answers.iter_mut().chain(&mut answer.authorities);
            for record in records.chain(&mut answer.additionals) {
                record.ttl = record.ttl.saturating_sub(age);
            }
            answer
        }))
    }

    /// Keeps an answer for as long as it may be.
    pub(super) fn keep(&self, key: Key, answer: Option<&Arc<Message>>) {
        let (lasts, weight) = match answer {
            None => (FAILURE, ENTRY),
            Some(answer) => {
                let Some(seconds) = lifetime(answer) else { return };
                (Duration::from_secs(u64::from(seconds)), size(answer))
            }
        };
        if weight > LARGEST {
            return;
        }
        let since = Instant::now();
        let weight = weight as u64;
        let answer = answer.cloned();
        self.kept.insert(key, Kept { answer, since, until: since + lasts, weight });
    }

    /// Forgets everything; how many answers that was.
    pub(super) fn clear(&self) -> usize {
        let count = self.kept.len();
        self.kept.clear();
        count
    }

    /// How many answers are kept.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }
}

/// For how many seconds an answer may be kept; `None`: not at all.
fn lifetime(answer: &Message) -> Option<u32> {
    let seconds = match answer.metadata.response_code {
        ResponseCode::NoError if !answer.answers.is_empty() => {
            answer.answers.iter().map(|record| record.ttl).min()?.min(LONGEST)
        }
        ResponseCode::NoError | ResponseCode::NXDomain => {
            negative(&answer.authorities)?.min(LONGEST_NEGATIVE)
        }
        _ => return None,
    };
    (seconds > 0).then_some(seconds)
}

fn negative(authorities: &[Record]) -> Option<u32> {
    authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.minimum.min(record.ttl)),
        _ => None,
    })
}

fn size(answer: &Message) -> usize {
    let records = answer.answers.len() + answer.authorities.len() + answer.additionals.len();
    let wire = answer.to_vec().map_or(LARGEST, |bytes| bytes.len());
    ENTRY + records * RECORD + wire
}
