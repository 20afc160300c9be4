//! This boot, and other processes as far as their namespaces need it.

use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::error::Result;
use crate::sysctl;

/// The kernel's id of this boot: a UUID.
pub fn boot_id() -> Result<String> {
    sysctl::read_line(Path::new("/proc/sys/kernel/random/boot_id"))
}

/// The listening socket that the service manager opened for this very process before it started,
/// if it did (sd_listen_fds(3)). To be asked for once.
pub fn inherited_listener() -> Option<UnixListener> {
    const FIRST: i32 = 3;
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID")? != std::process::id() || number("LISTEN_FDS")? == 0 {
        return None;
    }
    // SAFETY: the manager opened it for this process, as LISTEN_PID says, and nobody else here
    // knows of it.
    let fd = unsafe { OwnedFd::from_raw_fd(FIRST) };
    let _ = rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC);
    Some(UnixListener::from(fd))
}

/// Gives memory that was freed back to the kernel (malloc_trim(3)): after work that took much for
/// a moment, where a process lives on for long.
pub fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number and touches nothing but the allocator's own free memory, under
    // the allocator's locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
