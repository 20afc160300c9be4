//! Deleting a link without waiting for the kernel to forget it.
//!
//! After the link is gone and announced the kernel waits about 19 ms in `rcu_barrier()`
//! (`netdev_run_todo`, net/core/dev.c). A child process sends the request and waits there; the
//! caller goes on at the notice that the request's `NLM_F_ECHO` brings, after about 1 ms. On
//! kernels that do not echo a deletion the acknowledgement ends the wait, as without a child.

use std::os::fd::{AsFd, BorrowedFd};

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

/// How long a child keeps an nfnetlink socket through which something was removed. Whoever closes
/// any such socket before the kernel has freed what was removed, by whichever process, waits for
/// that under nf_tables' one lock, and every transaction of the namespace waits along
/// (`nft_rcv_nl_event`, net/netfilter/nf_tables_api.c). The freeing takes some 15 ms; a second
/// outlasts also the removals of two hundred containers that go at once.
const LINGER: i32 = 1000;

impl Rtnl {
    /// Removes a link; `false` where there was none. At return its name is free.
    ///
    /// The child takes over an nfnetlink socket that is done with, as [`close_elsewhere`] does. It
    /// holds nothing else of the caller's, standard streams included, and ends by itself, within
    /// some 25 ms, or a second with such a socket; a caller that lives longer than that leaves its
    /// reaping to [`reap`].
    pub fn delete_link_fast(&mut self, which: &Which, done: Option<Socket>) -> Result<bool> {
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
        match in_child(self.socket_mut(), &mut batch, done.as_ref()) {
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

/// Leaves an nfnetlink socket through which something was removed to a child process, which
/// closes it when nobody has to wait for that any more. Where none can be made, the caller waits.
pub fn close_elsewhere(socket: Socket) {
    let _ = sys::in_child(&sys::Task { send: None, linger: linger(Some(&socket)) }, None);
}

fn linger(socket: Option<&Socket>) -> Option<(BorrowedFd<'_>, i32)> {
    socket.map(|socket| (socket.as_fd(), LINGER))
}

type Outcome = std::result::Result<(), Errno>;

fn in_child(socket: &mut Socket, batch: &mut Batch, done: Option<&Socket>) -> Result<Outcome> {
    let failed = |errno| Error::kernel("make", "pipe", errno);
    let (alive, end) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    let (seq, request) = socket.sealed(batch);
    let task = sys::Task { send: Some((socket.as_fd(), &request)), linger: linger(done) };
    sys::in_child(&task, Some(end.as_fd())).map_err(|errno| Error::kernel("fork", "", errno))?;
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
