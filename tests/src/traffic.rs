//! Streams and datagrams between namespaces. A server answers with the address it was asked from,
//! so one exchange shows that traffic passes and how it was translated.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::namespace::Namespace;

/// What to ask by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A stream.
    Tcp,
    /// A datagram.
    Udp,
}

/// How long an answer may take: long enough for one repeated SYN.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How often a server looks whether it should end.
const TURN: Duration = Duration::from_millis(50);

/// A server that answers until dropped.
#[derive(Debug)]
pub struct Serving {
    askers: Askers,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

type Askers = Arc<Mutex<Vec<IpAddr>>>;

impl Serving {
    /// Who asked so far, by the address that it showed.
    pub fn askers(&self) -> Vec<IpAddr> {
        self.askers.lock().unwrap().clone()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Namespace {
    /// Serves TCP and UDP, IPv4 and IPv6, on a port of every address inside.
    pub fn serve(&self, port: u16) -> Serving {
        self.serve_at(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
    }

    /// Serves TCP and UDP at one address inside.
    pub fn serve_at(&self, address: SocketAddr) -> Serving {
        let (listener, socket) =
            self.run(|| (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap()));
        listener.set_nonblocking(true).unwrap();
        socket.set_read_timeout(Some(TURN)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let askers = Askers::default();
        let (for_tcp, for_udp) = ((stop.clone(), askers.clone()), (stop.clone(), askers.clone()));
        let threads = vec![
            thread::spawn(move || serve_tcp(&listener, &for_tcp.0, &for_tcp.1)),
            thread::spawn(move || serve_udp(&socket, &for_udp.0, &for_udp.1)),
        ];
        Serving { askers, stop, threads }
    }

    /// Asks a server and returns the address that it saw; an error if none answers in time.
    pub fn ask(&self, by: Transport, to: &str) -> io::Result<IpAddr> {
        let to: SocketAddr = to.parse().unwrap();
        self.run(|| match by {
            Transport::Tcp => ask_tcp(to),
            Transport::Udp => ask_udp(to, 0),
        })
    }

    /// Asks by datagram, once, as if from an address of one's own choice; no answer is waited for.
    pub fn ask_as(&self, from: &str, to: &str) -> io::Result<()> {
        let to: SocketAddr = to.parse().unwrap();
        let from: IpAddr = from.parse().unwrap();
        self.run(|| UdpSocket::bind((from, 0))?.send_to(b"?", to).map(drop))
    }

    /// Asks by datagram from a port of one's own choice, so that the flow is the same again.
    pub fn ask_from(&self, port: u16, to: &str) -> io::Result<IpAddr> {
        let to: SocketAddr = to.parse().unwrap();
        self.run(|| ask_udp(to, port))
    }
}

fn serve_tcp(listener: &TcpListener, stop: &AtomicBool, askers: &Askers) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((mut stream, peer)) => {
                let _ = stream.write_all(seen(peer, askers).as_bytes());
            }
            Err(_) => thread::sleep(TURN / 10),
        }
    }
}

fn serve_udp(socket: &UdpSocket, stop: &AtomicBool, askers: &Askers) {
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(seen(peer, askers).as_bytes(), peer);
        }
    }
}

fn seen(peer: SocketAddr, askers: &Askers) -> String {
    let address = peer.ip().to_canonical();
    askers.lock().unwrap().push(address);
    address.to_string()
}

fn ask_tcp(to: SocketAddr) -> io::Result<IpAddr> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    parse(&answer)
}

fn ask_udp(to: SocketAddr, port: u16) -> io::Result<IpAddr> {
    let any: IpAddr =
        if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, port))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE / 3))?;
    let mut buffer = [0; 64];
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    // A datagram may be lost while neighbours are resolved.
    for _ in 0..3 {
        match socket.send(b"?").and_then(|_| socket.recv(&mut buffer)) {
            Ok(length) => return parse(&String::from_utf8_lossy(&buffer[..length])),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn parse(answer: &str) -> io::Result<IpAddr> {
    answer.parse().map_err(|_| io::Error::new(io::ErrorKind::UnexpectedEof, answer.to_owned()))
}
