//! Questions that have come faster than they are answered, by who sent them: each asker's turn
//! comes, however much another one sends. Who sends more than this holds loses what is too much.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// Questions of one asker that wait.
const OF_ONE: usize = 1024;
/// Questions of all askers that wait.
const ALL: usize = 8 * OF_ONE;
/// What is longer does not wait, in bytes; no name fills as much.
const LONGEST: usize = 512;

/// A question as it came.
pub(super) type Waiting = (Box<[u8]>, SocketAddr);

/// The questions that wait at one socket.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    by_asker: HashMap<IpAddr, VecDeque<Waiting>>,
    /// Each asker who has something waiting, once.
    turns: VecDeque<IpAddr>,
    held: usize,
}

impl Backlog {
    /// Nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Puts a question behind its asker's others; false if it is dropped.
    pub(super) fn put(&mut self, bytes: &[u8], from: SocketAddr) -> bool {
        if bytes.len() > LONGEST || self.held >= ALL {
            return false;
        }
        let asker = from.ip();
        let own = self.by_asker.entry(asker).or_default();
        if own.len() >= OF_ONE {
            return false;
        }
        if own.is_empty() {
            self.turns.push_back(asker);
        }
        own.push_back((bytes.into(), from));
        self.held += 1;
        true
    }

    /// The next question, of the asker whose turn it is.
    pub(super) fn take(&mut self) -> Option<Waiting> {
        let asker = self.turns.pop_front()?;
        let own = self.by_asker.get_mut(&asker)?;
        let next = own.pop_front();
        if own.is_empty() {
            self.by_asker.remove(&asker);
        } else {
            self.turns.push_back(asker);
        }
        self.held -= usize::from(next.is_some());
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(number: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 1, 0, number], port))
    }

    #[test]
    fn askers_have_turns_whatever_one_of_them_sends() {
        let mut backlog = Backlog::default();
        let kept = (0..5000).filter(|port| backlog.put(b"flood", asker(2, *port))).count();
        assert_eq!(kept, OF_ONE);
        assert!(backlog.put(b"one", asker(3, 1)) && backlog.put(b"two", asker(3, 2)));
        let first: Vec<u8> = (0..5)
            .map(|_| match backlog.take().unwrap().1 {
                SocketAddr::V4(from) => from.ip().octets()[3],
                SocketAddr::V6(_) => unreachable!(),
            })
            .collect();
        assert_eq!(first, [2, 3, 2, 3, 2]);
        let rest = std::iter::from_fn(|| backlog.take()).count();
        assert_eq!(rest, OF_ONE + 2 - first.len());
        assert!(backlog.is_empty() && backlog.by_asker.is_empty() && backlog.held == 0);
    }

    #[test]
    fn many_who_flood_are_bounded_together() {
        let mut backlog = Backlog::default();
        let all = (1..=100).flat_map(|number| (0..200).map(move |port| asker(number, port)));
        assert_eq!(all.filter(|from| backlog.put(b"flood", *from)).count(), ALL);
        assert!(!backlog.put(&[0; LONGEST + 1], asker(200, 1)));
    }
}
