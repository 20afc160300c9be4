//! That a store which went back to a backup is noticed by all: the key `epoch` counts how often.
//! Whoever notices counts it up; claims hold that it is unchanged; and for some time after a change
//! nobody claims anything new, while all tell what they own.

use std::time::Duration;

use super::documents::{Epoch, decode, encode};
use super::error::{Error, Result};
use super::keys;
use super::networks::read;
use super::store::{Condition, Outcome, Position, Store, Txn, Write};

const TRIES: u32 = 8;

/// The epoch as a process knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// The revision of the key.
    pub revision: i64,
    /// So long it is still for owners alone to tell what they own.
    pub left: Duration,
}

/// The epoch, counted up where the store went back. `at` is where the store is, `last` the last
/// that was seen of it, ever; `now` is in milliseconds since 1970.
///
/// # Errors
/// What the store says.
pub async fn ensure(
    store: &dyn Store,
    at: Position,
    last: Option<Position>,
    grace: Duration,
    now: u64,
) -> Result<Age> {
    let went_back =
        last.is_some_and(|last| last.cluster != at.cluster || at.revision < last.revision);
    let cluster = format!("{:016x}", at.cluster);
    let mut counted = false;
    for _ in 0..TRIES {
        let there = match read(store, keys::EPOCH).await? {
            Some(entry) => Some((decode::<Epoch>(keys::EPOCH, &entry.value)?, entry.revision)),
            None => None,
        };
        let (number, condition) = match there {
            // Somebody noticed it already, or there was nothing to notice.
            Some((epoch, revision))
                if epoch.cluster == cluster
                    && (!went_back || counted || is_new(&epoch, grace, now)) =>
            {
                return Ok(Age { revision, left: left(&epoch, grace, now) });
            }
            Some((epoch, revision)) => {
                (epoch.number + 1, Condition::Unchanged(keys::EPOCH.to_owned(), revision))
            }
            // A new store, unless this node has seen one before.
            None => (u64::from(last.is_some()), Condition::Absent(keys::EPOCH.to_owned())),
        };
        let epoch = Epoch { number, cluster: cluster.clone(), since: now };
        let put = Write::put(keys::EPOCH, encode(keys::EPOCH, &epoch)?);
        match store.commit(&Txn::new([condition], [put])).await {
            Ok(Outcome::Committed(revision)) => {
                return Ok(Age { revision, left: left(&epoch, grace, now) });
            }
            Ok(Outcome::Refused) => {}
            Err(error) if error.may_have_happened() => counted = true,
            Err(error) => return Err(error),
        }
    }
    Err(Error::Lost { doing: "count the epoch", tries: TRIES })
}

fn is_new(epoch: &Epoch, grace: Duration, now: u64) -> bool {
    epoch.number > 0 && !left(epoch, grace, now).is_zero()
}

/// The first epoch is nobody's second.
fn left(epoch: &Epoch, grace: Duration, now: u64) -> Duration {
    let age = Duration::from_millis(now.saturating_sub(epoch.since));
    if epoch.number == 0 { Duration::ZERO } else { grace.saturating_sub(age) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::store::{Memory, MemoryClient, Range};

    const GRACE: Duration = Duration::from_secs(30);

    async fn at(client: &MemoryClient) -> Position {
        client.list(&Range::all()).await.unwrap().at
    }

    #[tokio::test]
    async fn a_store_that_went_back_is_counted_once_and_a_new_one_not_at_all() {
        let memory = Memory::new(1);
        let client = memory.client(None);
        let start = at(&client).await;
        let first = ensure(&client, start, None, GRACE, 0).await.unwrap();
        assert_eq!(first.left, Duration::ZERO);
        let backup = memory.snapshot();
        client.commit(&Txn::new([], [Write::put("a", "")])).await.unwrap();
        let last = at(&client).await;
        assert_eq!(ensure(&client, last, Some(start), GRACE, 5).await.unwrap(), first);
        // Another cluster, or the same one a little earlier.
        for (n, cluster) in [(1_u64, 2), (2, 2)] {
            memory.restore(backup.clone(), cluster);
            let before = Position { cluster, revision: last.revision + 9 };
            let now = at(&client).await;
            let time = n * 100_000;
            client.lose_answers(u32::try_from(n).unwrap() - 1);
            let counted = ensure(&client, now, Some(before), GRACE, time).await.unwrap();
            assert_ne!(counted.revision, first.revision);
            assert_eq!(counted.left, GRACE);
            // The next one who comes finds it counted, and a newcomer waits as well.
            for last in [Some(before), None] {
                let same =
                    ensure(&client, at(&client).await, last, GRACE, time + 10_000).await.unwrap();
                assert_eq!(
                    (same.revision, same.left),
                    (counted.revision, GRACE - Duration::from_secs(10))
                );
            }
        }
        // To before there was anything.
        memory.restore(Memory::new(3).snapshot(), 3);
        assert_eq!(
            ensure(&client, at(&client).await, Some(last), GRACE, 0).await.unwrap().left,
            GRACE
        );
    }
}
