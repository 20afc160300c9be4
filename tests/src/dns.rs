//! Names: questions as a stub resolver asks them, and servers on the LAN that answer as a test
//! wants.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::namespace::Namespace;
use crate::traffic::Transport;

/// A stub resolver's.
const PATIENCE: Duration = Duration::from_secs(5);
const TURN: Duration = Duration::from_millis(50);

/// An answer, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The response code, such as `No Error`.
    pub code: String,
    /// The data of the answer section, sorted.
    pub data: Vec<String>,
    /// The name in the question, as it came back.
    pub asked: String,
    /// Times to live of the answer section, in seconds.
    pub ttls: Vec<u32>,
    /// The owner of the SOA in the authority section.
    pub soa: Option<String>,
    /// By an authority.
    pub authoritative: bool,
    /// Cut.
    pub truncated: bool,
    /// With EDNS.
    pub edns: bool,
    /// Bytes.
    pub size: usize,
}

impl Answer {
    /// There is such a name, and it has no such data.
    pub fn is_empty_success(&self) -> bool {
        self.code == "No Error" && self.data.is_empty()
    }
}

/// A question.
#[derive(Debug, Clone)]
pub struct Ask {
    server: SocketAddr,
    name: String,
    kind: RecordType,
    by: Transport,
    payload: Option<u16>,
    patience: Duration,
}

impl Ask {
    /// About a name's records of a type, such as `A`, at a server's port 53.
    pub fn new(server: &str, name: &str, kind: &str) -> Self {
        Self {
            server: SocketAddr::new(server.parse().unwrap(), 53),
            name: name.into(),
            kind: kind.parse().unwrap(),
            by: Transport::Udp,
            payload: None,
            patience: PATIENCE,
        }
    }

    /// By stream.
    pub fn by_tcp(mut self) -> Self {
        self.by = Transport::Tcp;
        self
    }

    /// With EDNS, and so much room for an answer.
    pub fn edns(mut self, payload: u16) -> Self {
        self.payload = Some(payload);
        self
    }

    /// No longer than this.
    pub fn within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn message(&self) -> Message {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        let mut name = Name::from_ascii(&self.name).unwrap();
        name.set_fqdn(true);
        message.add_query(Query::query(name, self.kind));
        if let Some(payload) = self.payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        message
    }
}

impl Namespace {
    /// Asks from inside; the error says how no answer came.
    pub fn ask_name(&self, ask: &Ask) -> std::io::Result<Answer> {
        let message = ask.message();
        let bytes = message.to_vec().unwrap();
        let reply = self.run(|| match ask.by {
            Transport::Udp => by_udp(ask, &bytes),
            Transport::Tcp => by_tcp(ask, &bytes),
        })?;
        let answer = Message::from_vec(&reply).unwrap();
        assert_eq!(answer.metadata.id, message.metadata.id, "an answer to another question");
        assert_eq!(answer.metadata.message_type, MessageType::Response);
        assert!(answer.metadata.recursion_available);
        let mut data: Vec<String> = answer.answers.iter().map(|r| r.data.to_string()).collect();
        data.sort();
        let soa = answer.authorities.iter().find(|r| matches!(r.data, RData::SOA(_)));
        Ok(Answer {
            code: answer.metadata.response_code.to_string(),
            data,
            asked: answer.queries.first().map(|q| q.name().to_string()).unwrap_or_default(),
            ttls: answer.answers.iter().map(|r| r.ttl).collect(),
            soa: soa.map(|r| r.name.to_string()),
            authoritative: answer.metadata.authoritative,
            truncated: answer.metadata.truncation,
            edns: answer.edns.is_some(),
            size: reply.len(),
        })
    }

    /// Asks from inside; what no answer comes to ends the test.
    #[track_caller]
    pub fn look_up(&self, server: &str, name: &str, kind: &str) -> Answer {
        self.ask_name(&Ask::new(server, name, kind))
            .unwrap_or_else(|e| panic!("{name} {kind} at {server}: {e}"))
    }
}

fn by_udp(ask: &Ask, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let any = if ask.server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(ask.patience))?;
    socket.connect(ask.server)?;
    socket.send(bytes)?;
    let mut reply = vec![0; 65535];
    let length = socket.recv(&mut reply)?;
    reply.truncate(length);
    Ok(reply)
}

fn by_tcp(ask: &Ask, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&ask.server, ask.patience)?;
    stream.set_read_timeout(Some(ask.patience))?;
    stream.write_all(&framed(bytes))?;
    read_framed(&mut stream)
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut framed = (bytes.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(bytes);
    framed
}

fn read_framed(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// How a server behaves; may be changed while it runs.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// It answers nothing.
    pub silent: bool,
    /// It answers with this code.
    pub code: Option<u16>,
    /// It answers after so long.
    pub delay: Duration,
    /// By datagram it answers that the answer is too long.
    pub truncates: bool,
    /// Addresses by name, without the dot at the end.
    pub names: HashMap<String, Vec<IpAddr>>,
    /// The time to live of what it answers, in seconds.
    pub ttl: u32,
    /// It answers with somebody else's question, and another id, before it answers rightly.
    pub spoofs: bool,
}

/// A name server that answers until dropped.
#[derive(Debug)]
pub struct Upstream {
    manner: Arc<Mutex<Manner>>,
    asked: Arc<AtomicUsize>,
    names: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Upstream {
    /// Changes how it behaves.
    pub fn behave(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.manner.lock().unwrap());
    }

    /// How many questions came.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Which names were asked for, in order.
    pub fn names(&self) -> Vec<String> {
        self.names.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Namespace {
    /// Serves names at an address inside, port 53, both transports. Names have a time to live of
    /// a minute; others there are not.
    pub fn name_server(&self, address: &str, names: &[(&str, &str)]) -> Upstream {
        let address = SocketAddr::new(address.parse().unwrap(), 53);
        let (listener, socket) =
            self.run(|| (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap()));
        listener.set_nonblocking(true).unwrap();
        socket.set_read_timeout(Some(TURN)).unwrap();
        let mut manner = Manner { ttl: 60, ..Manner::default() };
        for (name, address) in names {
            manner.names.entry((*name).to_owned()).or_default().push(address.parse().unwrap());
        }
        let mut upstream = Upstream {
            manner: Arc::new(Mutex::new(manner)),
            asked: Arc::default(),
            names: Arc::default(),
            stop: Arc::default(),
            threads: Vec::new(),
        };
        let worker = || Worker {
            manner: upstream.manner.clone(),
            asked: upstream.asked.clone(),
            names: upstream.names.clone(),
            stop: upstream.stop.clone(),
        };
        let (udp, tcp) = (worker(), worker());
        let threads = vec![
            thread::spawn(move || udp.serve_udp(&socket)),
            thread::spawn(move || tcp.serve_tcp(&listener)),
        ];
        upstream.threads = threads;
        upstream
    }
}

struct Worker {
    manner: Arc<Mutex<Manner>>,
    asked: Arc<AtomicUsize>,
    names: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn serve_udp(&self, socket: &UdpSocket) {
        let mut bytes = [0; 4096];
        while !self.stop.load(Ordering::Relaxed) {
            let Ok((length, from)) = socket.recv_from(&mut bytes) else { continue };
            let manner = self.take(&bytes[..length]);
            let Some(mut answer) = reply(&manner, &bytes[..length]) else { continue };
            let room = answer.edns.as_ref().map_or(512, |edns| usize::from(edns.max_payload()));
            if manner.truncates || answer.to_vec().unwrap().len() > room {
                answer.answers.clear();
                answer.metadata.truncation = true;
            }
            if manner.spoofs {
                for forged in forgeries(&answer) {
                    socket.send_to(&forged, from).unwrap();
                }
            }
            let socket = socket.try_clone().unwrap();
            let bytes = answer.to_vec().unwrap();
            // Not to keep others waiting.
            thread::spawn(move || {
                thread::sleep(manner.delay);
                let _ = socket.send_to(&bytes, from);
            });
        }
    }

    fn serve_tcp(&self, listener: &TcpListener) {
        while !self.stop.load(Ordering::Relaxed) {
            let Ok((mut stream, _)) = listener.accept() else {
                thread::sleep(TURN);
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            if let Ok(bytes) = read_framed(&mut stream) {
                let manner = self.take(&bytes);
                if let Some(answer) = reply(&manner, &bytes) {
                    let _ = stream.write_all(&framed(&answer.to_vec().unwrap()));
                }
            }
        }
    }

    fn take(&self, bytes: &[u8]) -> Manner {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if let Ok(message) = Message::from_vec(bytes) {
            let name = message.queries[0].name().to_string();
            self.names.lock().unwrap().push(name);
        }
        self.manner.lock().unwrap().clone()
    }
}

fn reply(manner: &Manner, bytes: &[u8]) -> Option<Message> {
    let question = Message::from_vec(bytes).ok().filter(|_| !manner.silent)?;
    let query = question.queries.first()?.clone();
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.recursion_desired = true;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    answer.edns.clone_from(&question.edns);
    if let Some(code) = manner.code {
        answer.metadata.response_code = ResponseCode::from(0, code as u8);
        return Some(answer);
    }
    let name = query.name().to_string().trim_end_matches('.').to_owned();
    let record = |data| Record::from_rdata(query.name().clone(), manner.ttl, data);
    match manner.names.get(&name) {
        None => answer.metadata.response_code = ResponseCode::NXDomain,
        Some(addresses) => {
            for address in addresses {
                match (address, query.query_type()) {
                    (IpAddr::V4(v4), RecordType::A) => {
                        answer.add_answer(record(RData::A(A(*v4))));
                    }
                    (IpAddr::V6(v6), RecordType::AAAA) => {
                        answer.add_answer(record(RData::AAAA(AAAA(*v6))));
                    }
                    _ => {}
                }
            }
            if query.query_type() == RecordType::TXT {
                let texts = (0..40).map(|n| format!("{n:02} {}", "x".repeat(60))).collect();
                answer.add_answer(record(RData::TXT(TXT::new(texts))));
            }
        }
    }
    if answer.answers.is_empty() {
        let root = Name::root();
        let soa = SOA::new(root.clone(), root.clone(), 1, 1, 1, 1, manner.ttl);
        answer.add_authority(Record::from_rdata(root, manner.ttl, RData::SOA(soa)));
    }
    Some(answer)
}

/// Answers that must not be believed: with another id, and to another question.
fn forgeries(answer: &Message) -> Vec<Vec<u8>> {
    let evil = |mut message: Message| {
        for record in &mut message.answers {
            record.data = RData::A(A([192, 0, 2, 66].into()));
        }
        message.to_vec().unwrap()
    };
    let mut other_id = answer.clone();
    other_id.metadata.id = other_id.metadata.id.wrapping_add(1);
    let mut other_question = answer.clone();
    let name = Name::from_ascii("evil.example.").unwrap();
    other_question.queries = vec![Query::query(name, RecordType::A)];
    vec![evil(other_id), evil(other_question)]
}
