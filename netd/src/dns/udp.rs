//! Questions by datagram, on a thread of their own: many are read with one system call, answered
//! one after the other out of memory, and sent with one call. Only what others have to be asked
//! leaves the thread.
//!
//! As long as questions are answered as fast as they come, they are so in the order of their
//! coming. Where more has come than one call reads, they are read off into a [`Backlog`], faster
//! than anybody sends, and answered by turns: sockets after each other, and askers at each socket.

use std::collections::{BTreeSet, HashMap};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cleat_engine::kernel::datagram::{Inbox, send_all};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use tokio::runtime::Handle;

use super::answerer::{Answerer, Arrival, Outcome, Point};
use super::backlog::{Backlog, Waiting};
use super::question::Transport;
use crate::error::{Error, Result};

/// Datagrams that are read at once.
const BATCH: usize = 32;
/// No question is longer that can be answered.
const LONGEST: usize = 4096;
const READY: usize = 64;
/// Calls that read, for one that answers, where more has come.
const READS: usize = 16;
/// Looked at, and not waited for.
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// A socket that questions come in at.
struct Inlet {
    socket: UdpSocket,
    point: Point,
}

/// The sockets of one thread.
pub(super) struct Inlets {
    epoll: OwnedFd,
    by_key: Mutex<HashMap<u64, Arc<Inlet>>>,
    next: AtomicU64,
}

impl Inlets {
    /// Starts the thread; it ends with the process.
    pub(super) fn start(answerer: Arc<Answerer>, runtime: Handle) -> Result<Arc<Self>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|e| Error::socket("make", "an epoll instance")(e.into()))?;
        let inlets = Arc::new(Self { epoll, by_key: Mutex::default(), next: AtomicU64::default() });
        let own = inlets.clone();
        std::thread::Builder::new()
            .name("dns-udp".into())
            .spawn(move || own.serve(&answerer, &runtime))
            .map_err(Error::socket("start a thread for", "questions by UDP"))?;
        Ok(inlets)
    }

    /// Answers at one more socket; its key, to be removed by.
    pub(super) fn add(&self, socket: UdpSocket, point: Point) -> Result<u64> {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let inlet = Arc::new(Inlet { socket, point });
        self.lock().insert(key, inlet.clone());
        let data = epoll::EventData::new_u64(key);
        epoll::add(&self.epoll, &inlet.socket, data, epoll::EventFlags::IN).map_err(|e| {
            self.lock().remove(&key);
            Error::socket("watch", "a socket for questions")(e.into())
        })?;
        Ok(key)
    }

    /// Closes a socket.
    pub(super) fn remove(&self, key: u64) {
        if let Some(inlet) = self.lock().remove(&key) {
            // Somebody may hold it still, to answer; no question comes in any more.
            let _ = epoll::delete(&self.epoll, &inlet.socket);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Inlet>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, answerer: &Arc<Answerer>, runtime: &Handle) {
        let mut inbox = Inbox::new(BATCH, LONGEST);
        let mut ready = Vec::with_capacity(READY);
        let mut behind: HashMap<u64, Backlog> = HashMap::new();
        loop {
            ready.clear();
            let wait = (!behind.is_empty()).then_some(&AT_ONCE);
            match epoll::wait(&self.epoll, spare_capacity(&mut ready), wait) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => {
                    tracing::error!("questions by UDP are not answered any more: epoll: {errno}");
                    return;
                }
            }
            let keys: BTreeSet<u64> =
                ready.iter().map(|event| event.data.u64()).chain(behind.keys().copied()).collect();
            for key in keys {
                let Some(inlet) = self.lock().get(&key).cloned() else {
                    behind.remove(&key);
                    continue;
                };
                let mut backlog = behind.remove(&key).unwrap_or_default();
                inlet.answer_some(&mut inbox, &mut backlog, (answerer, runtime));
                if !backlog.is_empty() {
                    behind.insert(key, backlog);
                }
            }
        }
    }
}

impl Inlet {
    /// One batch; what is left in the socket makes it ready again.
    fn answer_some(
        self: &Arc<Self>,
        inbox: &mut Inbox,
        backlog: &mut Backlog,
        (answerer, runtime): (&Arc<Answerer>, &Handle),
    ) {
        // An error: an earlier answer could not be delivered. Told on the next call, and of no
        // matter.
        let mut count = inbox.receive(&self.socket).unwrap_or(0);
        if count < BATCH && backlog.is_empty() {
            return self.answer_all(inbox.datagrams(count), answerer, runtime);
        }
        for read in 1.. {
            for (bytes, from) in inbox.datagrams(count) {
                if !backlog.put(bytes, from) {
                    answerer.metrics().dropped();
                }
            }
            if count < BATCH || read == READS {
                break;
            }
            count = inbox.receive(&self.socket).unwrap_or(0);
        }
        let turn: Vec<Waiting> = (0..BATCH).map_while(|_| backlog.take()).collect();
        let turn = turn.iter().map(|(bytes, from)| (&**bytes, *from));
        self.answer_all(turn, answerer, runtime);
    }

    fn answer_all<'b>(
        self: &Arc<Self>,
        questions: impl Iterator<Item = (&'b [u8], SocketAddr)>,
        answerer: &Arc<Answerer>,
        runtime: &Handle,
    ) {
        let mut answers: Vec<(Vec<u8>, SocketAddr)> = Vec::with_capacity(BATCH);
        // Looked at once, after all of them had come.
        let index = answerer.directory().current();
        for (bytes, from) in questions {
            let arrival = Arrival { from, point: &self.point, transport: Transport::Udp };
            match answerer.answer(&index, bytes, &arrival) {
                Outcome::Answer(bytes) => answers.push((bytes, from)),
                Outcome::Nothing => {}
                Outcome::Ask(task) => {
                    let (inlet, answerer) = (self.clone(), answerer.clone());
                    runtime.spawn(async move {
                        if let Some(answer) = answerer.ask(*task).await {
                            // Who has gone away meanwhile needs no answer.
                            let _ = inlet.socket.send_to(&answer, from);
                        }
                    });
                }
            }
        }
        drop(index);
        if let Err(errno) = send_all(&self.socket, &answers) {
            tracing::debug!("answers were not sent: {errno}");
        }
    }
}
