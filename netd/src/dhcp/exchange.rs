//! Asking until an answer comes: the same for both families.

use std::future::Future;
use std::time::Duration;

use cleat_engine::kernel::Mac;
use rand::RngExt;
use tokio::time::{Instant, timeout_at};

use super::failure::Failure;

/// How long is waited, and how often it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// The first wait; each is twice the one before.
    pub(super) first: Duration,
    /// No wait is longer.
    pub(super) longest: Duration,
    /// All of them together.
    pub(super) whole: Duration,
}

/// A socket that speaks to servers.
pub(super) trait Port: Sync {
    /// What arrives there.
    type Message: Send;

    /// The name of the protocol's version.
    const FAMILY: &'static str;

    /// The next message that can be read, and the station that it came from.
    fn receive(&self)
    -> impl Future<Output = Result<(Self::Message, Option<Mac>), Failure>> + Send;
}

/// Asks until what comes fits, or the time is over.
pub(super) async fn exchange<P: Port, T: Send>(
    port: &P,
    pace: Pace,
    ask: impl Fn(Duration) -> Result<(), Failure> + Send,
    mut fits: impl FnMut(P::Message, Option<Mac>) -> Option<T> + Send,
) -> Result<T, Failure> {
    let start = Instant::now();
    let end = start + pace.whole;
    let mut wait = pace.first;
    loop {
        ask(start.elapsed())?;
        // Containers that were started together do not ask together again.
        let varied = wait.mul_f64(rand::rng().random_range(0.9..1.1));
        let until = (Instant::now() + varied).min(end);
        while let Ok(received) = timeout_at(until, port.receive()).await {
            let (message, hop) = received?;
            if let Some(answer) = fits(message, hop) {
                return Ok(answer);
            }
        }
        if Instant::now() >= end {
            let seconds = pace.whole.as_millis().div_ceil(1000) as u64;
            return Err(Failure::NoAnswer { family: P::FAMILY, seconds });
        }
        wait = (wait * 2).min(pace.longest);
    }
}
