//! Time since the boot, which no administrator sets and which goes on while the machine sleeps
//! (`CLOCK_BOOTTIME`): a lease runs by it.

use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use super::watched;
use crate::error::{Error, Result};

/// A moment that never comes.
pub(super) const NEVER: u64 = u64::MAX;

/// Milliseconds since the boot.
pub(super) fn now() -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Boottime);
    let millis = u64::try_from(tv_sec).unwrap_or(0).saturating_mul(1000);
    millis.saturating_add(u64::try_from(tv_nsec / 1_000_000).unwrap_or(0))
}

/// The moment so long after another one; a lease of all ones in binary lasts for ever.
pub(super) fn after(start: u64, seconds: u32) -> u64 {
    if seconds == u32::MAX { NEVER } else { start.saturating_add(u64::from(seconds) * 1000) }
}

/// A timer on that clock, also over the machine's sleep.
pub(super) struct Timer(AsyncFd<std::os::fd::OwnedFd>);

impl Timer {
    pub(super) fn new() -> Result<Self> {
        let failed = |error: std::io::Error| Error::socket("make", "a timer")(error);
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Boottime, flags).map_err(|e| failed(e.into()))?;
        watched::watch(fd).map(Self).map_err(failed)
    }

    /// Waits until a moment.
    pub(super) async fn wait_until(&self, moment: u64) -> Result<()> {
        if moment == NEVER {
            return std::future::pending().await;
        }
        let failed = |error: std::io::Error| Error::socket("set", "a timer")(error);
        // A time of zero would switch it off.
        let left = Duration::from_millis(moment.saturating_sub(now()).max(1));
        let it_value = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)
            .map_err(|e| failed(e.into()))?;
        loop {
            let mut ready = self.0.readable().await.map_err(failed)?;
            let read = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut [0; 8])?));
            if let Ok(outcome) = read {
                return outcome.map(drop).map_err(failed);
            }
        }
    }
}
