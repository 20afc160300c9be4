//! What is remembered of servers: how fast they answer, and which did not of late. A server that
//! fails is asked last, and now and then beside the others, to see whether it is back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// For so long a server that failed is not waited for.
const AVOIDED: Duration = Duration::from_secs(10);
/// How long a server may take before the next one is asked as well.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(60), Duration::from_millis(350));
/// Of servers that nobody asks any more only so many are remembered.
const REMEMBERED: usize = 256;

/// What is known of a server.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// The usual time to an answer.
    usual: Option<Duration>,
    /// When it last failed, unless it has answered since.
    failed: Option<Instant>,
    answers: u64,
    failures: u64,
}

/// A server as others may know it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Upstream {
    /// Its address.
    pub server: IpAddr,
    /// It answered when it was last asked.
    pub healthy: bool,
    /// The usual time to an answer in microseconds.
    pub usual_micros: Option<u64>,
    /// Answers since the start.
    pub answers: u64,
    /// Failures since the start.
    pub failures: u64,
}

/// What is remembered of all servers.
#[derive(Debug, Default)]
pub(super) struct Health {
    states: Mutex<HashMap<IpAddr, State>>,
}

impl Health {
    /// The servers in the order in which they should be asked, each with how long to wait for it
    /// before the next one is asked as well.
    pub(super) fn order(&self, servers: &[IpAddr]) -> Vec<(IpAddr, Duration)> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let mut order: Vec<(bool, IpAddr, Duration)> = servers
            .iter()
            .map(|server| {
                let state = states.get(server).copied().unwrap_or_default();
                let avoided = state.failed.is_some_and(|when| when.elapsed() < AVOIDED);
                // Back on trial: asked in its place, and the next one with it.
                let patience = match state {
                    State { failed: Some(_), .. } => Duration::ZERO,
                    State { usual: Some(usual), .. } => (usual * 4).clamp(PATIENCE.0, PATIENCE.1),
                    _ => PATIENCE.1,
                };
                (avoided, *server, patience)
            })
            .collect();
        order.sort_by_key(|(avoided, ..)| *avoided);
        order.into_iter().map(|(_, server, patience)| (server, patience)).collect()
    }

    /// It answered after this time.
    pub(super) fn answered(&self, server: IpAddr, after: Duration) {
        self.note(server, |state| {
            state.usual = Some(state.usual.map_or(after, |usual| (usual * 7 + after) / 8));
            state.failed = None;
            state.answers += 1;
        });
    }

    /// It did not answer, or so late that another did before.
    pub(super) fn failed(&self, server: IpAddr) {
        self.note(server, |state| {
            state.failed = Some(Instant::now());
            state.failures += 1;
        });
    }

    /// All servers that are known, by address.
    pub(super) fn all(&self) -> Vec<Upstream> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Upstream> = states
            .iter()
            .map(|(server, state)| Upstream {
                server: *server,
                healthy: state.failed.is_none(),
                usual_micros: state.usual.and_then(|usual| u64::try_from(usual.as_micros()).ok()),
                answers: state.answers,
                failures: state.failures,
            })
            .collect();
        all.sort_by_key(|upstream| upstream.server);
        all
    }

    fn note(&self, server: IpAddr, change: impl FnOnce(&mut State)) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if states.len() >= REMEMBERED && !states.contains_key(&server) {
            states.clear();
        }
        change(states.entry(server).or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_failed_is_asked_last_and_not_waited_for() {
        let health = Health::default();
        let [a, b] = ["192.0.2.1", "192.0.2.2"].map(|s| s.parse::<IpAddr>().unwrap());
        assert_eq!(health.order(&[a, b]).first(), Some(&(a, PATIENCE.1)));
        health.failed(a);
        assert_eq!(health.order(&[a, b]), [(b, PATIENCE.1), (a, Duration::ZERO)]);
        health.answered(a, Duration::from_millis(20));
        assert_eq!(health.order(&[a, b]).first(), Some(&(a, Duration::from_millis(80))));
    }
}
