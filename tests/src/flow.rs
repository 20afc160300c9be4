//! A steady flow of numbered datagrams from one namespace to another and back, with what is lost
//! counted.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use crate::namespace::Namespace;

/// How long an answer may be under way.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the answering side looks whether it should end.
const TURN: Duration = Duration::from_millis(50);

static PORT: AtomicU16 = AtomicU16::new(7000);

/// A flow that goes on until [`Self::stop`].
#[derive(Debug)]
pub struct Flow {
    stop: Arc<AtomicBool>,
    echo: Option<JoinHandle<()>>,
    sender: Option<JoinHandle<Vec<Sent>>>,
    every: Duration,
}

/// One datagram: whether it was answered, and how often more.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    answers: u32,
}

/// What became of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Datagrams sent.
    pub sent: usize,
    /// Those never answered.
    pub lost: usize,
    /// Those answered more than once.
    pub repeated: usize,
    /// The longest time without any answer.
    pub gap: Duration,
    /// Datagrams that were lost one after another: since when, from the beginning, and how many.
    pub gaps: Vec<(Duration, usize)>,
}

impl Flow {
    /// Begins one: a datagram each `every`, to an address of the other namespace.
    pub fn between(from: &Namespace, to: &Namespace, address: &str, every: Duration) -> Self {
        let address: IpAddr = address.parse().unwrap();
        let port = PORT.fetch_add(1, Ordering::Relaxed);
        let stop = Arc::new(AtomicBool::new(false));
        let far = to.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap());
        far.set_read_timeout(Some(TURN)).unwrap();
        let near = from.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap());
        near.set_nonblocking(true).unwrap();
        // What waits for a thread that does not get a processor is not lost.
        for socket in [&far, &near] {
            set_socket_recv_buffer_size_force(socket, 8 << 20).unwrap();
        }
        let mapped = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let ends = stop.clone();
        let echo = thread::spawn(move || answer(&far, &ends));
        let ends = stop.clone();
        let sender = thread::spawn(move || send(&near, (mapped, port), every, &ends));
        Self { stop, echo: Some(echo), sender: Some(sender), every }
    }

    /// Ends it, and waits for what is still under way.
    pub fn stop(mut self) -> Loss {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.take().unwrap().join().unwrap();
        let lost = sent.iter().filter(|one| one.answers == 0).count();
        let repeated = sent.iter().filter(|one| one.answers > 1).count();
        let mut gaps = Vec::new();
        let mut number = 0;
        for run in sent.chunk_by(|one, next| (one.answers == 0) == (next.answers == 0)) {
            if run.iter().all(|one| one.answers == 0) {
                gaps.push((self.every * number, run.len()));
            }
            number += run.len() as u32;
        }
        let gap = self.every * gaps.iter().map(|(_, lost)| *lost as u32).max().unwrap_or(0);
        Loss { sent: sent.len(), lost, repeated, gap, gaps }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            let _ = sender.join();
        }
        if let Some(echo) = self.echo.take() {
            let _ = echo.join();
        }
    }
}

fn answer(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = [0; 64];
    let mut ends = None;
    loop {
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], peer);
        }
        if stop.load(Ordering::Relaxed) {
            // The sender still waits for what was sent last.
            if Instant::now() > *ends.get_or_insert(Instant::now() + PATIENCE) {
                return;
            }
        }
    }
}

fn send(socket: &UdpSocket, to: (Ipv6Addr, u16), every: Duration, stop: &AtomicBool) -> Vec<Sent> {
    let mut sent: Vec<Sent> = Vec::new();
    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let number = sent.len() as u64;
        // What cannot be sent is lost as well.
        let _ = socket.send_to(&number.to_be_bytes(), to);
        sent.push(Sent::default());
        take(socket, &mut sent);
        let due = every * sent.len() as u32;
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && sent.iter().any(|one| one.answers == 0) {
        take(socket, &mut sent);
        thread::sleep(Duration::from_millis(1));
    }
    sent
}

/// Counts the answers that have come.
fn take(socket: &UdpSocket, sent: &mut [Sent]) {
    let mut buffer = [0; 8];
    while let Ok((8, _)) = socket.recv_from(&mut buffer) {
        if let Some(one) = sent.get_mut(u64::from_be_bytes(buffer) as usize) {
            one.answers += 1;
        }
    }
}
