//! When to look: at once after what is urgent, soon after what may be something, after a minute
//! in any case. Bursts are one, and looking takes a small part of the time.

use std::time::{Duration, Instant};

use super::concern::Urgency;

/// In quiet times.
const REGULAR: Duration = Duration::from_secs(60);
/// After something that may concern containers: what comes with it is seen along.
const SOON: Duration = Duration::from_millis(200);
/// Between two looks, however urgent.
const BETWEEN: Duration = Duration::from_millis(100);
const LONGEST_BETWEEN: Duration = Duration::from_millis(500);
/// After a look that could not judge everything.
const AGAIN: Duration = Duration::from_secs(1);
/// Looking takes at most one part in so many, but for what is urgent.
const SHARE: u32 = 10;

#[derive(Debug)]
pub(super) struct Pace {
    due: Instant,
    last_end: Option<Instant>,
    last_cost: Duration,
}

impl Pace {
    /// Due now.
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now, last_end: None, last_cost: Duration::ZERO }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// Until it is due.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }

    /// Something was heard.
    pub(super) fn concern(&mut self, now: Instant, urgency: Urgency) {
        let after_last = |pause: Duration| self.last_end.map_or(now, |end| end + pause);
        let wanted = match urgency {
            Urgency::None => return,
            Urgency::Soon => after_last(self.last_cost * SHARE).max(now + SOON),
            Urgency::Now => {
                after_last((self.last_cost * 2).clamp(BETWEEN, LONGEST_BETWEEN)).max(now)
            }
        };
        self.due = self.due.min(wanted);
    }

    /// A look is over. What it cost is time of a processor: to wait for one is no reason to wait
    /// the longer.
    pub(super) fn looked(&mut self, cost: Duration, end: Instant, again: bool) {
        self.last_cost = cost;
        self.last_end = Some(end);
        let pause = if again { AGAIN.max(self.last_cost * SHARE) } else { REGULAR };
        self.due = end + pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_is_at_once_and_those_after_it_are_one() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert!(pace.is_due(start));
        pace.looked(ms(5), start + ms(5), false);
        let later = start + ms(10_000);
        assert_eq!(pace.left(later), ms(50_005));
        pace.concern(later, Urgency::Now);
        assert!(pace.is_due(later));
        pace.looked(ms(5), later + ms(5), false);
        for n in 6..20 {
            pace.concern(later + ms(n), Urgency::Now);
        }
        assert_eq!(pace.left(later + ms(20)), ms(85));
    }

    #[test]
    fn what_is_not_urgent_takes_a_tenth_of_the_time() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.looked(ms(300), start + ms(300), false);
        pace.concern(start + ms(310), Urgency::None);
        assert!(pace.left(start) > ms(60_000));
        pace.concern(start + ms(310), Urgency::Soon);
        assert_eq!(pace.left(start + ms(300)), ms(3000));
        // Which is no reason to wait with what is.
        pace.concern(start + ms(320), Urgency::Now);
        assert_eq!(pace.left(start + ms(300)), ms(500));
    }

    #[test]
    fn what_could_not_be_judged_is_looked_at_again() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.looked(ms(1), start + ms(1), true);
        assert_eq!(pace.left(start), ms(1001));
    }
}
