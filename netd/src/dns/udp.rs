//! Questions by datagram, on a thread of their own: many are read with one system call, answered
//! one after the other out of memory, and sent with one call. Only what others have to be asked
//! leaves the thread.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cleat_engine::kernel::datagram::{Inbox, send_all};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use tokio::runtime::Handle;

use super::answerer::{Answerer, Arrival, Outcome, Point};
use super::question::Transport;
use crate::error::{Error, Result};

/// Datagrams that are read at once.
const BATCH: usize = 32;
/// No question is longer that can be answered.
const LONGEST: usize = 4096;
const READY: usize = 64;

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
        loop {
            ready.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut ready), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => {
                    tracing::error!("questions by UDP are not answered any more: epoll: {errno}");
                    return;
                }
            }
            for event in &ready {
                let inlet = self.lock().get(&event.data.u64()).cloned();
                if let Some(inlet) = inlet {
                    inlet.answer_some(&mut inbox, answerer, runtime);
                }
            }
        }
    }
}

impl Inlet {
    /// One batch; what is left makes the socket ready again.
    fn answer_some(
        self: &Arc<Self>,
        inbox: &mut Inbox,
        answerer: &Arc<Answerer>,
        runtime: &Handle,
    ) {
        let count = match inbox.receive(&self.socket) {
            Ok(count) => count,
            // An earlier answer could not be delivered: told on the next call, and of no matter.
            Err(_) => return,
        };
        let mut answers: Vec<(Vec<u8>, SocketAddr)> = Vec::with_capacity(count);
        // Looked at once, after all of them had come.
        let index = answerer.directory().current();
        for (bytes, from) in inbox.datagrams(count) {
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
