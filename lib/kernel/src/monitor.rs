//! What changes about links, addresses and forwarding, as the kernel tells it: for whoever has to
//! notice that something of its own was taken away. Says what happened to which link, not what
//! is there now, and keeps nothing: a listener that cannot follow is told that it missed some.

use std::os::fd::{AsFd, BorrowedFd};

use crate::error::Result;
use crate::link;
use crate::socket::{Drained, Protocol, Socket};
use crate::wire::{Received, u32_of};

/// `RTNLGRP_*` (include/uapi/linux/rtnetlink.h): links, addresses, and settings such as forwarding.
const GROUPS: [u32; 5] = [1, 5, 9, 24, 25];
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWNETCONF: u16 = 80;
/// A burst of 1,000 links that go at once is some 2 MiB.
const QUEUE: usize = 8 * 1024 * 1024;

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A link came, or something about it changed.
    LinkChanged {
        /// Its name.
        name: String,
        /// Its kind, as in [`Link::kind`](crate::Link::kind).
        kind: String,
    },
    /// A link is gone from this namespace.
    LinkGone {
        /// Its name.
        name: String,
        /// Its kind.
        kind: String,
    },
    /// An address came.
    AddressAdded {
        /// The link's index.
        link: u32,
    },
    /// An address is gone.
    AddressGone {
        /// The link's index.
        link: u32,
    },
    /// A setting of the IP stack, such as forwarding, was changed for some link or for all.
    SettingChanged,
    /// Notices were lost: anything may have changed.
    Lost,
}

/// A listener of one network namespace. Readable (poll) when [`Monitor::drain`] has something to
/// say.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
}

impl Monitor {
    /// Listens in the calling thread's namespace from now on.
    pub fn open() -> Result<Self> {
        let socket = Socket::open(Protocol::Route)?;
        // Without the right to it the queue is shorter, and more is lost.
        let _ = socket.set_receive_buffer(QUEUE);
        for group in GROUPS {
            match socket.join(group) {
                // A kernel without IPv6 has none of its groups.
                Err(error) if !error.is_permission() && group != GROUPS[0] => drop(error),
                other => other?,
            }
        }
        Ok(Self { socket })
    }

    /// Everything since the last call, in order; never waits.
    pub fn drain(&mut self) -> Result<Vec<Notice>> {
        let mut notices = Vec::new();
        let drained = self.socket.drain(|message| notices.extend(read(message)))?;
        if drained == Drained::SomeLost {
            notices.push(Notice::Lost);
        }
        Ok(notices)
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn read(message: Received<'_>) -> Option<Notice> {
    let on = || message.payload.get(4..8).and_then(u32_of);
    Some(match message.kind {
        RTM_NEWLINK | RTM_DELLINK => {
            // A bridge tells of its ports once more, in messages of its own family.
            if message.payload.first() != Some(&0) {
                return None;
            }
            let link::Link { name, kind, .. } =
                link::parse(Received { kind: RTM_NEWLINK, ..message })?;
            match message.kind {
                RTM_NEWLINK => Notice::LinkChanged { name, kind },
                _ => Notice::LinkGone { name, kind },
            }
        }
        RTM_NEWADDR => Notice::AddressAdded { link: on()? },
        RTM_DELADDR => Notice::AddressGone { link: on()? },
        RTM_NEWNETCONF => Notice::SettingChanged,
        _ => return None,
    })
}
