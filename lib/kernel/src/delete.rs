//! Deleting a link without waiting for the kernel to forget it.
//!
//! After the link is gone and announced the kernel waits about 19 ms in `rcu_barrier()`
//! (`netdev_run_todo`, net/core/dev.c). A child process sends the request and waits there; the
//! caller goes on at the notice that the request's `NLM_F_ECHO` brings, after about 1 ms. On
//! kernels that do not echo a deletion the acknowledgement ends the wait, as without a child.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::change::Which;
use crate::error::{Error, Result};
use crate::link::ifla;
use crate::socket::Heard;
use crate::sys;
use crate::wire::{Batch, flags};
use crate::{Rtnl, Socket};

const RTM_DELLINK: u16 = 17;

impl Rtnl {
    /// Removes a link; `false` where there was none. At return its name is free.
    ///
    /// Sockets in `hold` stay open in the child: closing the last descriptor of an nfnetlink
    /// socket while the deletion is under way would make the caller wait after all. The child
    /// holds nothing else of the caller's, standard streams included, and ends by itself within
    /// some 25 ms; a caller that lives longer than that leaves its reaping to [`reap`].
    pub fn delete_link_fast(&mut self, which: &Which, hold: &[BorrowedFd<'_>]) -> Result<bool> {
        let mut batch = Batch::new();
        {
            let index = if let Which::Index(index) = which { *index } else { 0 };
            let [a, b, c, d] = index.to_ne_bytes();
            let header = [0, 0, 0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0];
            let mut message = batch.message(RTM_DELLINK, flags::ECHO, &header);
            if let Which::Name(name) = which {
                message.str(ifla::IFNAME, name);
            }
        }
        let refused = |errno| Error::kernel("delete link", which.to_string(), errno);
        match in_child(self.socket_mut(), &mut batch, hold) {
            Ok(outcome) => outcome,
            // No child could be made: wait for the kernel here.
            Err(_) => self.socket_mut().send_batch(&mut batch)?.map_err(|r| r.errno),
        }
        .map_or_else(
            |errno| {
                let error = refused(errno);
                if error.is_not_found() { Ok(false) } else { Err(error) }
            },
            |()| Ok(true),
        )
    }
}

/// Reaps children of [`Rtnl::delete_link_fast`] that have ended.
pub fn reap() {
    while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
}

/// Closes an nfnetlink socket through which something was removed. The last close waits some 7 ms
/// for the removal's end: a child process has it. Where none can be made, the caller waits.
pub fn close_elsewhere(socket: Socket) {
    let Ok((waiting, end)) = pipe_with(PipeFlags::CLOEXEC) else {
        return;
    };
    let mut keep = [socket.as_fd().as_raw_fd(), waiting.as_raw_fd()];
    keep.sort_unstable();
    // The child's is the last one: it waits until both of these are closed here.
    let _ = sys::in_child(&sys::Task::AwaitEnd(waiting.as_fd()), &keep);
    drop(socket);
    drop(end);
}

type Outcome = std::result::Result<(), Errno>;

fn in_child(socket: &mut Socket, batch: &mut Batch, hold: &[BorrowedFd<'_>]) -> Result<Outcome> {
    let failed = |errno| Error::kernel("make", "pipe", errno);
    let (alive, end) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    let (seq, request) = socket.sealed(batch);
    let mut keep: Vec<RawFd> = hold.iter().map(AsRawFd::as_raw_fd).collect();
    keep.extend([socket.as_fd().as_raw_fd(), end.as_raw_fd()]);
    keep.sort_unstable();
    sys::in_child(&sys::Task::Send(socket.as_fd(), &request), &keep)
        .map_err(|errno| Error::kernel("fork", "", errno))?;
    drop(end);
    loop {
        let mut fds = [PollFd::new(&*socket, PollFlags::IN), PollFd::new(&alive, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::kernel("poll", "netlink socket", errno)),
        }
        let [heard, ended] = fds.map(|fd| !fd.revents().is_empty());
        if heard {
            match socket.hear(seq)? {
                Some(Heard::Refused(errno)) => return Ok(Err(errno)),
                Some(Heard::Done) => return Ok(Ok(())),
                Some(Heard::Message(RTM_DELLINK)) => return Ok(Ok(())),
                _ => {}
            }
        } else if ended {
            // It died before it sent anything.
            return Err(Error::kernel("delete link", "in a child process", Errno::CHILD));
        }
    }
}
