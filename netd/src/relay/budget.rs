//! How much of the process's file descriptors relaying may take: never those that the rest of the
//! daemon works with.

use rustix::process::{Resource, getrlimit};

use crate::config::RelayConfig;

/// What a stream takes: two sockets and two pipes.
const PER_CONNECTION: u64 = 6;

/// How many there may be at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    /// Ports that are listened at.
    pub(super) listeners: usize,
    /// Streams, and as many runs of datagrams.
    pub(super) connections: u64,
}

impl Budget {
    /// Within the limit in force and what is configured.
    pub(super) fn new(config: &RelayConfig) -> Self {
        Self::within(getrlimit(Resource::Nofile).current, config)
    }

    /// Half for ports, a quarter for connections, a quarter for all else.
    fn within(limit: Option<u64>, config: &RelayConfig) -> Self {
        let limit = limit.unwrap_or(u64::MAX);
        Self {
            listeners: usize::try_from(limit / 2).unwrap_or(usize::MAX),
            connections: config.connections.min(limit / 4 / (PER_CONNECTION + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_limit_is_left() {
        let config = RelayConfig::default();
        let budget = |limit| Budget::within(limit, &config);
        assert_eq!(budget(Some(1024)), Budget { listeners: 512, connections: 36 });
        assert_eq!(budget(Some(1 << 20)), Budget { listeners: 1 << 19, connections: 1024 });
        assert_eq!(budget(None).connections, 1024);
    }
}
