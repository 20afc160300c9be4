//! What the service manager is told (sd_notify(3)) and hands over; without one, nobody is, and
//! nothing. And the limit on file descriptors, which a manager leaves low for programs that know no
//! better.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;

use crate::dns::Kept;

/// The sockets that the service manager handed over (sd_listen_fds(3)).
#[derive(Debug, Default)]
pub struct Given {
    /// The control socket.
    pub(crate) control: Option<UnixListener>,
    /// Those that it kept for an earlier netd.
    pub(crate) kept: Kept,
}

impl Given {
    /// Takes them over; to be done once. They are told apart by what they are: names are for
    /// people.
    ///
    /// # Errors
    /// One of them is none of ours.
    pub fn take() -> io::Result<Self> {
        let mut all = ListenFd::from_env();
        let mut given = Self::default();
        for at in 0..all.len() {
            if let Ok(Some(listener)) = all.take_unix_listener(at) {
                given.control = Some(listener);
            } else if let Ok(Some(socket)) = all.take_udp_socket(at) {
                given.kept.add_udp(socket);
            } else if let Some(listener) = all.take_tcp_listener(at)? {
                given.kept.add_tcp(listener);
            }
        }
        Ok(given)
    }

    /// The control socket alone.
    pub fn into_control(self) -> Option<UnixListener> {
        self.control
    }
}

/// Everything is listened at.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] ends it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("service manager: {error}"),
    }
}

/// The daemon ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells that the daemon lives, twice in each interval that the manager allows; for ever, or for
/// as long as nobody cares.
pub(crate) async fn keep_alive() {
    let Some(interval) = sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
    else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval((interval / 2).max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

/// Has sockets kept beyond this process's end, together under a name (`FDSTORE=`).
pub(crate) fn keep(name: &str, sockets: &[BorrowedFd<'_>]) {
    // Without the last one, systemd drops a socket as soon as it reports an error.
    let state = [NotifyState::FdStore, NotifyState::FdName(name), NotifyState::Custom("FDPOLL=0")];
    if let Err(error) = sd_notify::notify_with_fds(&state, sockets) {
        tracing::warn!("service manager: {name} is not kept: {error}");
    }
}

/// Has what was kept under a name closed.
pub(crate) fn forget(name: &str) {
    tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("service manager: {error}");
    }
}

/// Raises the limit on file descriptors as far as it may be.
pub(crate) fn raise_fd_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("file descriptors stay limited to {:?}: {error}", limit.current);
    }
}
