//! Samples, and contestants that take turns: whatever slows the machine down meets all of them.

use std::thread;
use std::time::{Duration, Instant};

/// How long the kernel is given between two measurements to finish what the last one began: a
/// deleted link is waited for another 20 ms after its deletion returned, and whoever comes
/// meanwhile waits with it.
const REST: Duration = Duration::from_millis(60);

/// What was measured, one value per round.
#[derive(Debug, Default, Clone)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The middle one, in milliseconds.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort();
        milliseconds(sorted[sorted.len() / 2])
    }

    /// The one that so many of a hundred do not exceed, in milliseconds.
    pub(crate) fn percentile(&self, of_hundred: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort();
        milliseconds(sorted[(sorted.len() * of_hundred).div_ceil(100) - 1])
    }

    /// The largest, in milliseconds.
    pub(crate) fn max(&self) -> f64 {
        milliseconds(*self.0.iter().max().unwrap())
    }

    /// The smallest, in milliseconds.
    pub(crate) fn min(&self) -> f64 {
        milliseconds(*self.0.iter().min().unwrap())
    }
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub(crate) fn time(action: impl FnOnce()) -> Duration {
    let start = Instant::now();
    action();
    start.elapsed()
}

pub(crate) fn rest() {
    thread::sleep(REST);
}

/// One who is measured: each round gives as many values as it has steps.
pub(crate) type Contestant<'a> = Box<dyn FnMut(usize) -> Vec<Duration> + 'a>;

/// Two rounds to warm up, then as many as asked for, each contestant first in turn. By contestant,
/// the samples of each step.
pub(crate) fn interleaved(rounds: usize, contestants: &mut [Contestant<'_>]) -> Vec<Vec<Samples>> {
    const WARM: usize = 2;
    let mut samples = vec![Vec::<Samples>::new(); contestants.len()];
    for round in 0..rounds + WARM {
        for turn in 0..contestants.len() {
            let who = (round + turn) % contestants.len();
            let steps = contestants[who](round);
            samples[who].resize(steps.len(), Samples::default());
            if round >= WARM {
                samples[who].iter_mut().zip(steps).for_each(|(s, step)| s.push(step));
            }
        }
    }
    samples
}
