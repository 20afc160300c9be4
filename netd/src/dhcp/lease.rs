//! A lease as it is kept on disk, so that a daemon that is started again goes on with it.

use std::net::IpAddr;

use cleat_engine::kernel::Mac;
use cleat_engine::records::Document;
use cleat_front::dhcp::Asked;
use serde::{Deserialize, Serialize};

use super::clock;

/// What an attachment holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LeaseRecord {
    /// As it was asked for.
    pub(super) asked: Asked,
    /// The boot that its times count from, and that its container lives in.
    pub(super) boot: String,
    /// The namespace, where the kernel has a number for it.
    pub(super) cookie: Option<u64>,
    /// An address per family.
    pub(super) held: Vec<Held>,
}

impl Document for LeaseRecord {
    const SCHEMA: u32 = 1;
}

impl LeaseRecord {
    /// When something has to be done about it.
    pub(super) fn due(&self) -> u64 {
        self.held.iter().map(Held::due).min().unwrap_or(clock::NEVER)
    }
}

/// One address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Held {
    /// The address.
    pub(super) address: IpAddr,
    /// Who gave it.
    pub(super) server: Server,
    /// Until when.
    pub(super) times: Times,
    /// It ended, or the server took it back.
    #[serde(default)]
    pub(super) lost: bool,
    /// Something is tried again then; 0: as the times say.
    #[serde(default)]
    pub(super) again: u64,
}

impl Held {
    fn due(&self) -> u64 {
        match self.again {
            0 if self.lost => 0,
            0 => self.times.renew,
            again => again,
        }
    }
}

/// A server, as it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Server {
    /// Its identifier: an IPv4 address, or a DUID.
    pub(super) id: Vec<u8>,
    /// The station on the link that its packets came from: itself, or a relay.
    pub(super) hop: Option<Mac>,
}

/// Moments of a lease, in milliseconds since the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Times {
    /// T1: its server is asked to go on.
    pub(super) renew: u64,
    /// T2: any server is.
    pub(super) rebind: u64,
    /// Its end.
    pub(super) expire: u64,
}

impl Times {
    /// From seconds that a server said, in order; 0 and what is out of order are replaced by these
    /// shares of the whole, in eighths.
    pub(super) fn from_now(asked: u64, (t1, t2, end): (u32, u32, u32), shares: (u32, u32)) -> Self {
        let share = |eighths: u32| match end {
            u32::MAX => u32::MAX,
            _ => u32::try_from(u64::from(end) * u64::from(eighths) / 8).unwrap_or(end),
        };
        let t2 = if t2 == 0 || t2 > end { share(shares.1) } else { t2 };
        let t1 = if t1 == 0 || t1 > t2 { share(shares.0).min(t2) } else { t1 };
        let moment = |seconds| clock::after(asked, seconds);
        Self { renew: moment(t1), rebind: moment(t2), expire: moment(end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_order() {
        let of = |said| {
            let t = Times::from_now(1000, said, (4, 7));
            (t.renew, t.rebind, t.expire)
        };
        assert_eq!(of((0, 0, 80)), (41_000, 71_000, 81_000));
        assert_eq!(of((10, 20, 80)), (11_000, 21_000, 81_000));
        assert_eq!(of((90, 20, 80)), (21_000, 21_000, 81_000));
        assert_eq!(of((10, 90, 80)), (11_000, 71_000, 81_000));
        let never = clock::NEVER;
        assert_eq!(of((0, 0, u32::MAX)), (never, never, never));
    }
}
