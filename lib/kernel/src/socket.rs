//! A blocking netlink socket: batches with one acknowledgement, requests, dumps. Keeps the
//! kernel's extended-ack text, and retries a dump that was interrupted by a change.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink as protocol, recv,
    send, socket_with, sockopt,
};

use crate::error::{Error, Result, describe};
use crate::sys;
use crate::wire::{self, Ack, Batch, Received, flags};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_CAPPED`: the error message does not repeat the request.
const CAPPED: u16 = 0x100;
/// `NLMSGERR_ATTR_MSG`.
const ERROR_TEXT: u16 = 1;
const DUMP_TRIES: u32 = 20;

/// Which kernel subsystem a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes, neighbours.
    Route,
    /// nf_tables and conntrack.
    Netfilter,
    /// What has a number for this boot only, such as WireGuard.
    Generic,
}

/// A refused message of a batch.
#[derive(Debug)]
pub struct Refusal {
    /// Which message, from 0.
    pub index: usize,
    /// The error number.
    pub errno: Errno,
    /// The kernel's own text, or the errno's.
    pub text: String,
}

impl Refusal {
    /// As an error of this crate.
    pub fn into_error(self, op: &'static str, object: impl Into<String>) -> Error {
        Error::Kernel { op, object: object.into(), errno: self.errno, text: self.text }
    }
}

/// Whether everything that happened was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// It was.
    All,
    /// The kernel dropped notices: what they were about has to be looked at again.
    SomeLost,
}

/// A netlink socket, bound to the network namespace it was opened in.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    which: Protocol,
    next: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens one in the calling thread's network namespace.
    pub fn open(which: Protocol) -> Result<Self> {
        let number = match which {
            // NETLINK_ROUTE is protocol 0.
            Protocol::Route => None,
            Protocol::Netfilter => Some(protocol::NETFILTER),
            Protocol::Generic => Some(protocol::GENERIC),
        };
        let fail = |errno| Error::kernel("open", "netlink socket", errno);
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, number)
            .map_err(fail)?;
        // Older kernels lack one or the other: errors are then less telling, and nothing else.
        let _ = sys::netlink_option(fd.as_fd(), sys::NETLINK_EXT_ACK);
        let _ = match which {
            // Dumps are filtered.
            Protocol::Route => sys::netlink_option(fd.as_fd(), sys::NETLINK_GET_STRICT_CHK),
            // A refusal does not repeat a message of up to 64 KiB.
            Protocol::Netfilter | Protocol::Generic => {
                sys::netlink_option(fd.as_fd(), sys::NETLINK_CAP_ACK)
            }
        };
        Ok(Self { fd, which, next: 1, buffer: vec![0; 32 * 1024] })
    }

    /// Which subsystem it talks to.
    pub fn protocol(&self) -> Protocol {
        self.which
    }

    /// Sends the messages in one go and waits until the kernel has done them all. On refusal,
    /// those after the refused one were still tried (rtnetlink), or none was kept (nf_tables).
    pub fn send_batch(&mut self, batch: &mut Batch) -> Result<std::result::Result<(), Refusal>> {
        if batch.is_empty() {
            return Ok(Ok(()));
        }
        self.exchange(batch, Ack::Last, |_| {})
    }

    /// Sends the messages in one go, waits until the kernel has tried them all, and tells every
    /// refusal.
    pub fn send_all(&mut self, batch: &mut Batch) -> Result<Vec<Refusal>> {
        let mut refused = Vec::new();
        if !batch.is_empty() {
            self.converse(batch, Ack::Last, |_| {}, |refusal| refused.push(refusal))?;
        }
        Ok(refused)
    }

    /// Sends the messages and hands every answer that is not an acknowledgement to `each`,
    /// until the message that `ack` names is acknowledged (with `AsFlagged`, the last).
    pub fn exchange(
        &mut self,
        batch: &mut Batch,
        ack: Ack,
        each: impl FnMut(Received<'_>),
    ) -> Result<std::result::Result<(), Refusal>> {
        let mut first: Option<Refusal> = None;
        self.converse(batch, ack, each, |refusal| {
            if first.as_ref().is_none_or(|r| r.index > refusal.index) {
                first = Some(refusal);
            }
        })?;
        Ok(first.map_or(Ok(()), Err))
    }

    fn converse(
        &mut self,
        batch: &mut Batch,
        ack: Ack,
        mut each: impl FnMut(Received<'_>),
        mut refused: impl FnMut(Refusal),
    ) -> Result<()> {
        let (first, count) = (self.next, batch.len() as u32);
        self.next = self.next.wrapping_add(count);
        self.transmit(batch.seal(first, ack))?;
        let barrier = match ack {
            Ack::At(index) => index as u32,
            Ack::Last | Ack::AsFlagged => count.saturating_sub(1),
        };
        loop {
            let size = self.receive()?;
            for message in wire::messages(self.buffer.get(..size).unwrap_or_default()) {
                let index = message.seq.wrapping_sub(first);
                if index >= count {
                    continue;
                }
                if message.kind != NLMSG_ERROR {
                    each(message);
                    continue;
                }
                if let Some((errno, text)) = refusal(&message) {
                    refused(Refusal { index: index as usize, errno, text });
                }
                // nf_tables reports a failed commit on the batch's first message, and then only there.
                if index == barrier || (index == 0 && self.which == Protocol::Netfilter) {
                    return Ok(());
                }
            }
        }
    }

    /// Sends one request and collects its answer: `None` where the kernel has no such object.
    pub fn ask<T>(
        &mut self,
        op: &'static str,
        batch: &mut Batch,
        parse: impl Fn(Received<'_>) -> Option<T>,
    ) -> Result<Option<T>> {
        // The answer says that it is done: an acknowledgement besides would be one more to read.
        let seq = self.send_only(batch, Ack::AsFlagged)?;
        loop {
            let size = self.receive()?;
            let mut all = wire::messages(self.buffer.get(..size).unwrap_or_default());
            let Some(message) = all.find(|message| message.seq == seq) else { continue };
            if message.kind != NLMSG_ERROR {
                return Ok(parse(message));
            }
            let error = refusal(&message).map(|(errno, text)| {
                let object = String::new();
                Error::Kernel { op, object, errno, text }
            });
            return match error {
                Some(error) if !error.is_not_found() => Err(error),
                _ => Ok(None),
            };
        }
    }

    /// Sends one dump request (its flags hold `DUMP`) and collects the answers; begun again
    /// when the kernel says that it was interrupted.
    pub fn dump<T>(
        &mut self,
        op: &'static str,
        batch: &mut Batch,
        parse: impl Fn(Received<'_>) -> Option<T>,
    ) -> Result<Vec<T>> {
        for _ in 0..DUMP_TRIES {
            let mut found = Vec::new();
            if self.dump_once(op, batch, |m| found.extend(parse(m)))? {
                return Ok(found);
            }
        }
        Err(Error::Interrupted { op, tries: DUMP_TRIES })
    }

    /// The socket's namespace: `SO_NETNS_COOKIE`, `None` before Linux 5.14.
    pub fn netns_cookie(&self) -> Option<u64> {
        sys::netns_cookie(self.fd.as_fd())
    }

    /// Joins a multicast group to hear its notifications.
    pub fn join(&self, group: u32) -> Result<()> {
        // A socket without a number of its own counts as the kernel, which hears none of its own.
        // One that has a number keeps it: binding again is refused, and no harm.
        let _ = bind(&self.fd, &protocol::SocketAddrNetlink::new(0, 0));
        sys::netlink_join(self.fd.as_fd(), group)
            .map_err(|e| Error::kernel("join netlink group", group.to_string(), e))
    }

    /// The largest amount the kernel may queue for this socket, in bytes.
    pub fn set_receive_buffer(&self, bytes: usize) -> Result<()> {
        sockopt::set_socket_recv_buffer_size_force(&self.fd, bytes)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&self.fd, bytes))
            .map_err(|e| Error::kernel("set receive buffer", bytes.to_string(), e))
    }

    /// Waits for the next datagram, whatever it is, and hands its messages on.
    pub fn listen(&mut self, mut each: impl FnMut(Received<'_>)) -> Result<()> {
        let size = self.receive()?;
        wire::messages(self.buffer.get(..size).unwrap_or_default()).for_each(&mut each);
        Ok(())
    }

    /// Hands on the messages of all datagrams that wait, and waits for none. Those that the
    /// kernel had no room to queue are lost, and told as such.
    pub fn drain(&mut self, mut each: impl FnMut(Received<'_>)) -> Result<Drained> {
        let mut drained = Drained::All;
        loop {
            match recv(&self.fd, self.buffer.as_mut_slice(), RecvFlags::TRUNC | RecvFlags::DONTWAIT)
            {
                // A datagram beyond the buffer was cut off: what it said is lost, too.
                Ok((_, size)) if size > self.buffer.len() => drained = Drained::SomeLost,
                Ok((size, _)) => {
                    let datagram = self.buffer.get(..size).unwrap_or_default();
                    wire::messages(datagram).for_each(&mut each);
                }
                Err(Errno::NOBUFS) => drained = Drained::SomeLost,
                Err(Errno::WOULDBLOCK) => return Ok(drained),
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::kernel("receive", "netlink notices", e)),
            }
        }
    }

    /// The number that the next message gets.
    pub(crate) fn upcoming(&self) -> u32 {
        self.next
    }

    /// Sends without waiting for anything. The sequence number of the first message.
    pub fn send_only(&mut self, batch: &mut Batch, ack: Ack) -> Result<u32> {
        let first = self.next;
        self.next = self.next.wrapping_add(batch.len() as u32);
        self.transmit(batch.seal(first, ack))?;
        Ok(first)
    }

    /// The batch's bytes, to be sent by somebody else on this socket, and its first number.
    pub(crate) fn sealed(&mut self, batch: &mut Batch) -> (u32, Vec<u8>) {
        let first = self.next;
        self.next = self.next.wrapping_add(batch.len() as u32);
        (first, batch.seal(first, Ack::Last).to_vec())
    }

    /// Reads one datagram and says what it tells of the request with this number.
    pub(crate) fn hear(&mut self, seq: u32) -> Result<Option<Heard>> {
        let size = self.receive()?;
        let mut heard = None;
        for message in wire::messages(self.buffer.get(..size).unwrap_or_default()) {
            if message.seq == seq && heard.is_none() {
                heard = Some(match message.kind {
                    NLMSG_ERROR => {
                        refusal(&message).map_or(Heard::Done, |(errno, _)| Heard::Refused(errno))
                    }
                    kind => Heard::Message(kind),
                });
            }
        }
        Ok(heard)
    }

    fn dump_once(
        &mut self,
        op: &'static str,
        batch: &mut Batch,
        mut each: impl FnMut(Received<'_>),
    ) -> Result<bool> {
        let seq = self.send_only(batch, Ack::AsFlagged)?;
        let mut whole = true;
        loop {
            let size = self.receive()?;
            for message in wire::messages(self.buffer.get(..size).unwrap_or_default()) {
                if message.seq != seq {
                    continue;
                }
                whole &= message.flags & flags::DUMP_INTR == 0;
                match message.kind {
                    NLMSG_DONE => return Ok(whole),
                    NLMSG_ERROR => {
                        return match refusal(&message) {
                            Some((errno, text)) => {
                                Err(Error::Kernel { op, object: String::new(), errno, text })
                            }
                            None => Ok(whole),
                        };
                    }
                    _ => each(message),
                }
            }
        }
    }

    fn transmit(&self, bytes: &[u8]) -> Result<()> {
        loop {
            match send(&self.fd, bytes, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::MSGSIZE) => {
                    // The default send buffer is 208 KiB; a large batch needs more.
                    sockopt::set_socket_send_buffer_size_force(&self.fd, bytes.len() * 2)
                        .or_else(|_| {
                            sockopt::set_socket_send_buffer_size(&self.fd, bytes.len() * 2)
                        })
                        .map_err(|e| Error::kernel("send", "netlink batch", e))?;
                    send(&self.fd, bytes, SendFlags::empty())
                        .map_err(|e| Error::kernel("send", "netlink batch", e))?;
                    return Ok(());
                }
                Err(e) => return Err(Error::kernel("send", "netlink batch", e)),
            }
        }
    }

    fn receive(&mut self) -> Result<usize> {
        loop {
            match recv(&self.fd, self.buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Ok((_, size)) if size > self.buffer.len() => {
                    return Err(Error::Malformed { op: "receive", what: "datagram too long" });
                }
                Ok((size, _)) => return Ok(size),
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::kernel("receive", "netlink answer", e)),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What was heard of a request.
pub(crate) enum Heard {
    /// It was refused.
    Refused(Errno),
    /// It was acknowledged.
    Done,
    /// A message of this kind came.
    Message(u16),
}

/// The error in an `NLMSG_ERROR`; `None` for an acknowledgement.
fn refusal(message: &Received<'_>) -> Option<(Errno, String)> {
    let code = wire::u32_of(message.payload)? as i32;
    if code == 0 {
        return None;
    }
    // Errnos end at 4095; anything else is no answer of this kernel.
    let errno = match -i64::from(code) {
        number @ 1..4096 => Errno::from_raw_os_error(number as i32),
        _ => Errno::PROTO,
    };
    // After the code stands the request: its header only if capped, else the whole of it.
    let request = wire::u32_of(message.payload.get(4..)?).unwrap_or(16) as usize;
    let skip = if message.flags & CAPPED != 0 { 16 } else { request.next_multiple_of(4) };
    let text = message.payload.get(4 + skip..).and_then(|rest| wire::find(rest, ERROR_TEXT));
    Some((errno, text.map_or_else(|| describe(errno), wire::str_of)))
}
