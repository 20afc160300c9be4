//! Which nodes are up. A node whose lease ended is down, but not when more than half ended
//! together: then it is the store, or the way to it, that is in trouble.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Nodes that are believed to be up.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    live: BTreeSet<Arc<str>>,
    up: BTreeSet<Arc<str>>,
    /// When the last lease ended.
    ended: Option<Duration>,
}

impl Liveness {
    pub(super) fn is_up(&self, node: &str) -> bool {
        self.up.contains(node)
    }

    /// A key came.
    pub(super) fn came(&mut self, node: Arc<str>) -> bool {
        self.live.insert(node.clone());
        self.up.insert(node)
    }

    /// A key went; it is decided later what that means.
    pub(super) fn went(&mut self, node: &str, now: Duration) {
        if self.live.remove(node) {
            self.ended = Some(now);
        }
    }

    /// All keys that are there.
    pub(super) fn load(&mut self, live: BTreeSet<Arc<str>>, now: Duration) {
        self.up.extend(live.iter().cloned());
        if live.len() < self.up.len() {
            self.ended = Some(now);
        }
        self.live = live;
    }

    pub(super) fn into_live(self) -> BTreeSet<Arc<str>> {
        self.live
    }

    /// Decides, once nothing has ended for `quiet`. Whether any node went down by it.
    pub(super) fn settle(&mut self, now: Duration, quiet: Duration) -> bool {
        if self.ended.is_none_or(|ended| now.saturating_sub(ended) < quiet) {
            return false;
        }
        let missing = self.up.difference(&self.live).count();
        if missing == 0 {
            self.ended = None;
            return false;
        }
        // Two of two is one that went and this one, which cannot tell.
        if missing * 2 > self.up.len() && self.up.len() > 2 {
            return false;
        }
        self.ended = None;
        self.up.clone_from(&self.live);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn nodes(count: u64) -> Liveness {
        let mut liveness = Liveness::default();
        for n in 0..count {
            assert!(liveness.came(n.to_string().into()));
        }
        liveness
    }

    #[test]
    fn one_goes_down_and_comes_back() {
        let mut liveness = nodes(10);
        liveness.went("3", at(100));
        assert!(!liveness.settle(at(104), QUIET) && liveness.is_up("3"));
        assert!(liveness.settle(at(105), QUIET) && !liveness.is_up("3"));
        assert!(liveness.came("3".into()) && liveness.is_up("3"));
    }

    #[test]
    fn who_comes_back_soon_was_never_down() {
        let mut liveness = nodes(10);
        liveness.went("3", at(100));
        assert!(!liveness.came("3".into()));
        assert!(!liveness.settle(at(200), QUIET) && liveness.is_up("3"));
    }

    #[test]
    fn when_more_than_half_end_together_nobody_is_down_until_most_are_back() {
        let mut liveness = nodes(10);
        for n in 0..6 {
            liveness.went(&n.to_string(), at(100 + n));
        }
        assert!(!liveness.settle(at(1000), QUIET));
        assert!((0..10).all(|n| liveness.is_up(&n.to_string())));
        liveness.came("0".into());
        assert!(liveness.settle(at(1001), QUIET));
        assert!(liveness.is_up("0") && !liveness.is_up("1"));
    }

    #[test]
    fn one_after_the_other_all_go_down() {
        let mut liveness = nodes(3);
        for (n, when) in [(0, 100), (1, 200)] {
            liveness.went(&n.to_string(), at(when));
            assert!(liveness.settle(at(when + 6), QUIET), "{n}");
        }
        // A list that lacks one.
        let mut liveness = nodes(4);
        liveness.load(["0", "1", "2"].map(Arc::from).into(), at(10));
        assert!(liveness.settle(at(20), QUIET) && !liveness.is_up("3"));
    }
}
