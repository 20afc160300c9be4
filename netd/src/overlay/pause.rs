//! Waiting before it is tried again: longer each time, and not all at once.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Pause {
    next: Duration,
}

impl Pause {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// Between half and all of a time that doubles.
    pub(super) fn next(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(LONGEST);
        now.mul_f64(rand::random_range(0.5..1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_and_stays_bounded() {
        let mut pause = Pause::new();
        assert!(pause.next() <= FIRST);
        for _ in 0..20 {
            pause.next();
        }
        let last = pause.next();
        assert!(LONGEST / 2 <= last && last <= LONGEST, "{last:?}");
        pause.reset();
        assert!(pause.next() <= FIRST);
    }
}
