//! System calls that rustix has no safe form for. All of this crate's unsafe code for sockets
//! stands here.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::io::Errno;

pub(crate) const NETLINK_CAP_ACK: i32 = libc::NETLINK_CAP_ACK;
pub(crate) const NETLINK_EXT_ACK: i32 = libc::NETLINK_EXT_ACK;
pub(crate) const NETLINK_GET_STRICT_CHK: i32 = libc::NETLINK_GET_STRICT_CHK;
const SO_NETNS_COOKIE: i32 = 71;

/// Switches a boolean netlink option on.
pub(crate) fn netlink_option(fd: BorrowedFd<'_>, option: i32) -> Result<(), Errno> {
    set_netlink(fd, option, 1)
}

/// Subscribes to a multicast group.
pub(crate) fn netlink_join(fd: BorrowedFd<'_>, group: u32) -> Result<(), Errno> {
    set_netlink(fd, libc::NETLINK_ADD_MEMBERSHIP, group as i32)
}

/// The cookie of the socket's network namespace.
pub(crate) fn netns_cookie(fd: BorrowedFd<'_>) -> Option<u64> {
    let mut cookie = 0u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, the size of `cookie`, which lives on.
    let rc = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    (rc == 0).then_some(cookie)
}

fn set_netlink(fd: BorrowedFd<'_>, option: i32, value: i32) -> Result<(), Errno> {
    // SAFETY: the kernel reads `size_of::<i32>()` bytes of `value`, which lives on the stack.
    let rc = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if rc == 0 { Ok(()) } else { Err(last_errno()) }
}

/// The calling thread's errno.
pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Moves the calling thread into a new network namespace.
pub(crate) fn unshare_net() -> Result<(), Errno> {
    // SAFETY: no memory is involved; CLONE_NEWNET shares no resource that Rust code relies on.
    let rc = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if rc == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Gives the calling thread mount and UTS namespaces of its own.
pub(crate) fn unshare_mounts_and_names() -> Result<(), Errno> {
    // SAFETY: no memory is involved; the caller is a child between fork and exec.
    let rc = unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWUTS) };
    if rc == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Holds signals back from the calling thread and what it starts; the set of them.
pub(crate) fn hold_signals(signals: &[i32]) -> Result<libc::sigset_t, Errno> {
    // SAFETY: a sigset_t is plain data; the calls write it within its bounds.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        match libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) {
            0 => Ok(set),
            errno => Err(Errno::from_raw_os_error(errno)),
        }
    }
}

/// Holds no signal back.
pub(crate) fn release_signals() -> Result<(), Errno> {
    // SAFETY: as above; safe between fork and exec, too.
    let errno = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut())
    };
    if errno == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(errno)) }
}

/// Waits for one of the set's signals: its number, and whether the kernel itself sent it.
pub(crate) fn next_signal(set: &libc::sigset_t) -> Result<(i32, bool), Errno> {
    // SAFETY: a siginfo_t is plain data that the call fills; both pointers live through it.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        match libc::sigwaitinfo(set, &raw mut info) {
            -1 => Err(last_errno()),
            signal => Ok((signal, info.si_code == libc::SI_KERNEL)),
        }
    }
}

/// What a child of [`in_child`] does, in this order, before it ends.
pub(crate) struct Task<'t> {
    /// Sends the bytes, waiting for as long as the kernel works on them.
    pub(crate) send: Option<(BorrowedFd<'t>, &'t [u8])>,
    /// Keeps this descriptor alone, for so many milliseconds.
    pub(crate) linger: Option<(BorrowedFd<'t>, i32)>,
}

/// Forks a child that closes every descriptor but those of its task and `end`, does the task, and
/// ends.
pub(crate) fn in_child(task: &Task<'_>, end: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let number = |fd: Option<BorrowedFd<'_>>| fd.map_or(-1, |fd| fd.as_raw_fd());
    let (sent, kept) = (number(task.send.map(|s| s.0)), number(task.linger.map(|l| l.0)));
    let mut keep = [sent, kept, number(end)];
    keep.sort_unstable();
    // SAFETY: the child calls only async-signal-safe functions (system calls) on memory that
    // was prepared before, and never returns from here.
    unsafe {
        match libc::fork() {
            -1 => Err(last_errno()),
            0 => {
                close_all_but(&keep);
                if let Some((socket, bytes)) = task.send {
                    libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0);
                }
                if let Some((_, milliseconds)) = task.linger {
                    // A socket of a container would keep the container's namespace.
                    close_all_but(&[kept]);
                    libc::poll(std::ptr::null_mut(), 0, milliseconds);
                }
                libc::_exit(0)
            }
            _ => Ok(()),
        }
    }
}

/// Closes every descriptor but these, which are in order; those below 0 are none.
fn close_all_but(keep: &[RawFd]) {
    let close = |from: RawFd, to: RawFd| {
        if from <= to {
            // SAFETY: only a child that is about to end closes what others own.
            unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
        }
    };
    let mut from = 0;
    for &fd in keep.iter().filter(|fd| **fd >= 0) {
        close(from, fd - 1);
        from = fd + 1;
    }
    close(from, RawFd::MAX);
}
