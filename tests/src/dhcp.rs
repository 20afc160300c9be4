//! DHCP servers on the lab's LAN: dnsmasq, as users have it, and one of our own that does what a
//! test wants, for leases of seconds, for refusals and for silence.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Flags, HType, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use rustix::process::{Pid, Signal, kill_process};

use crate::enclosure::require;
use crate::lab::{Lab, wait_until};
use crate::namespace::Namespace;

const TURN: Duration = Duration::from_millis(20);

/// dnsmasq; ended when dropped.
#[derive(Debug)]
pub struct Dnsmasq {
    child: Child,
    log: PathBuf,
    leases: PathBuf,
}

impl Lab {
    /// dnsmasq in a namespace on an interface, with these lines in its configuration besides.
    pub fn dnsmasq(&self, namespace: &Namespace, interface: &str, lines: &str) -> Dnsmasq {
        require(&[("dnsmasq", "dnsmasq-base")]);
        let folder = self.folder().join("dnsmasq");
        fs::create_dir_all(&folder).unwrap();
        let (log, leases) = (folder.join("log"), folder.join("leases"));
        let config = folder.join("conf");
        let text = format!(
            "port=0\ninterface={interface}\nbind-dynamic\nno-ping\nlog-dhcp\nuser=root\n\
             dhcp-leasefile={}\npid-file={}\ndhcp-authoritative\n{lines}\n",
            leases.display(),
            folder.join("pid").display()
        );
        fs::write(&config, text).unwrap();
        let output = File::options().append(true).create(true).open(&log).unwrap();
        let mut command = namespace.command("setpriv");
        command.args(["--pdeathsig", "KILL", "dnsmasq", "--keep-in-foreground"]);
        command.arg("--log-facility=-").arg(format!("--conf-file={}", config.display()));
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let server = Dnsmasq { child: command.spawn().unwrap(), log, leases };
        wait_until("dnsmasq is there", || server.said().contains("DHCP, "));
        server
    }
}

impl Dnsmasq {
    /// What it logged.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its leases, a line each.
    pub fn leases(&self) -> String {
        fs::read_to_string(&self.leases).unwrap_or_default()
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("dnsmasq said:\n{}", self.said());
        }
    }
}

/// How our own server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// As it should.
    Serves,
    /// It says no to every request.
    Refuses,
    /// It says nothing.
    Silent,
}

/// A server of our own at 192.0.2.2, with addresses from 192.0.2.150 on; ended when dropped.
#[derive(Debug)]
pub struct DhcpServer {
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    behaviour: Behaviour,
    /// Lease time, T1 and T2 in seconds.
    times: (u32, u32, u32),
    given: HashMap<Vec<u8>, Ipv4Addr>,
    seen: Vec<Message>,
}

impl DhcpServer {
    /// On `eth0` of the lab's LAN station, with leases of so many seconds: all, T1, T2.
    pub fn start(lab: &Lab, times: (u32, u32, u32)) -> Self {
        let given = HashMap::new();
        let behaviour = Behaviour::Serves;
        let state = State { behaviour, times, given, seen: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let socket = lab.lan.run(|| UdpSocket::bind("0.0.0.0:67").unwrap());
        socket.set_broadcast(true).unwrap();
        socket.set_read_timeout(Some(TURN)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopping, shared) = (stop.clone(), state.clone());
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stopping.load(Ordering::Relaxed) {
                let Ok((count, from)) = socket.recv_from(&mut buffer) else { continue };
                let message = Message::decode(&mut Decoder::new(&buffer[..count])).unwrap();
                let answer = shared.lock().unwrap().answer(message);
                if let Some(answer) = answer {
                    // A broadcast of the lab's own, or to whoever has an address.
                    let to = match from.ip() {
                        IpAddr::V4(v4) if !v4.is_unspecified() => v4,
                        _ => Ipv4Addr::new(192, 0, 2, 255),
                    };
                    let _ = socket.send_to(&answer.to_vec().unwrap(), (to, 68));
                }
            }
        });
        Self { state, stop, thread: Some(thread) }
    }

    /// From now on it behaves so.
    pub fn behave(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().behaviour = behaviour;
    }

    /// How many messages of a kind it has seen.
    pub fn count(&self, kind: MessageType) -> usize {
        self.seen(kind).len()
    }

    /// The messages of a kind that it has seen.
    pub fn seen(&self, kind: MessageType) -> Vec<Message> {
        let state = self.state.lock().unwrap();
        let is = |message: &&Message| message.opts().has_msg_type(kind);
        state.seen.iter().filter(is).cloned().collect()
    }
}

impl Drop for DhcpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn answer(&mut self, message: Message) -> Option<Message> {
        self.seen.push(message.clone());
        let client = match message.opts().get(OptionCode::ClientIdentifier) {
            Some(DhcpOption::ClientIdentifier(client)) => client.clone(),
            _ => message.chaddr().to_vec(),
        };
        let next =
            Ipv4Addr::from(u32::from(Ipv4Addr::new(192, 0, 2, 150)) + self.given.len() as u32);
        let address = *self.given.entry(client).or_insert(next);
        let kind = match (message.opts().msg_type()?, self.behaviour) {
            (_, Behaviour::Silent) => return None,
            (MessageType::Discover, _) => MessageType::Offer,
            (MessageType::Request, Behaviour::Refuses) => MessageType::Nak,
            (MessageType::Request, Behaviour::Serves) => MessageType::Ack,
            _ => return None,
        };
        let none = Ipv4Addr::UNSPECIFIED;
        let given = if kind == MessageType::Nak { none } else { address };
        let xid = message.xid();
        let mut answer = Message::new_with_id(xid, none, given, none, none, message.chaddr());
        answer.set_opcode(Opcode::BootReply).set_htype(HType::Eth).set_flags(Flags::default());
        let options = answer.opts_mut();
        let (whole, t1, t2) = self.times;
        for option in [
            DhcpOption::MessageType(kind),
            DhcpOption::ServerIdentifier(Ipv4Addr::new(192, 0, 2, 2)),
            DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
            DhcpOption::Router(vec![Ipv4Addr::new(192, 0, 2, 2)]),
            DhcpOption::AddressLeaseTime(whole),
            DhcpOption::Renewal(t1),
            DhcpOption::Rebinding(t2),
        ] {
            options.insert(option);
        }
        Some(answer)
    }
}
