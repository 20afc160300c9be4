//! Questions: from a container that has names, from the host, from a stranger, and from inside,
//! by both transports.

use std::net::SocketAddr;
use std::sync::Arc;

use cleat_engine::AttachmentId;
use cleat_engine::names::NamesPart;
use cleat_engine::plan::Grant;
use cleat_engine::record::{AttachmentRecord, Binding, NetnsNote, Phase, PortsPart, Protocol};
use cleat_engine::records::{Durability, Store};
use cleat_netd::DnsConfig;
use cleat_netd::dns::answerer::{Answerer, Arrival, Outcome, Point};
use cleat_netd::dns::forward::{Forwarder, ResolvConf};
use cleat_netd::dns::question::{Transport, limit_of};
use cleat_netd::names::Directory;
use hickory_proto::op::{Message, MessageType, Query};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const BOOT: &str = "boot";
const GATEWAY: &str = "10.1.0.1";
/// So many that their addresses fit no datagram.
const SHARED: usize = 90;

/// What answers, over records of its own.
pub struct Dns {
    answerer: Answerer,
    runtime: Runtime,
    askers: Vec<(SocketAddr, Point)>,
    _folder: TempDir,
}

impl Dns {
    /// Lays the records.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("attachments"), Durability::Runtime);
        for record in records() {
            store.replace(&record.id.record_name(), &record).unwrap();
        }
        let inside = inside().id.record_name();
        let directory = Directory::open(folder.path(), BOOT, || {}).unwrap();
        assert_eq!(directory.current().len(), SHARED + 2);
        // Nobody else to ask: what is not known here fails at once.
        let host = ResolvConf::new(folder.path().join("resolv.conf"));
        let forwarder = Forwarder::new(Arc::new(DnsConfig::default()), host);
        let at_gateway = |from: &str| {
            (SocketAddr::new(from.parse().unwrap(), 4000), Point::Gateway(GATEWAY.parse().unwrap()))
        };
        Self {
            answerer: Answerer::new(directory, forwarder, Arc::default()),
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
            askers: vec![
                at_gateway("10.1.0.2"),
                at_gateway(GATEWAY),
                at_gateway("192.0.2.66"),
                ("127.0.0.1:4000".parse().unwrap(), Point::Inside { record: inside }),
            ],
            _folder: folder,
        }
    }

    /// Asks this, as everybody; the codes of the answers.
    pub fn meet(&self, bytes: &[u8]) -> Vec<u16> {
        let mut codes = Vec::new();
        for (from, point) in &self.askers {
            for transport in [Transport::Udp, Transport::Tcp] {
                let arrival = Arrival { from: *from, point, transport };
                let index = self.answerer.directory().current();
                let outcome = self.answerer.answer(&index, bytes, &arrival);
                drop(index);
                let answer = match outcome {
                    Outcome::Answer(answer) => Some(answer),
                    Outcome::Ask(task) => self.runtime.block_on(self.answerer.ask(*task)),
                    Outcome::Nothing => None,
                };
                if let Some(answer) = answer {
                    codes.push(hold(bytes, &answer, transport));
                }
            }
        }
        codes
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self::new()
    }
}

/// What is promised of an answer; its code.
fn hold(bytes: &[u8], answer: &[u8], transport: Transport) -> u16 {
    assert!(bytes[2] & 0x80 == 0, "an answer was answered");
    assert_eq!(answer[..2], bytes[..2], "another id");
    let told = Message::from_vec(answer).expect("an answer that nobody can read");
    assert_eq!(told.metadata.message_type, MessageType::Response);
    let asked = Message::from_vec(bytes).ok();
    let plain = Message::query();
    let limit = limit_of(asked.as_ref().unwrap_or(&plain), transport);
    assert!(answer.len() <= limit, "{} bytes where {limit} are taken", answer.len());
    let code = u16::from(told.metadata.response_code);
    let Some(asked) = asked else { return code };
    assert_eq!(told.metadata.op_code, asked.metadata.op_code);
    if let [asked] = asked.queries.as_slice() {
        let [told] = told.queries.as_slice() else { panic!("without the question") };
        let as_sent = |query: &Query| (query.name().to_ascii(), query.query_type());
        assert_eq!(as_sent(told), as_sent(asked), "another question");
    }
    code
}

fn records() -> Vec<AttachmentRecord> {
    let mut all: Vec<AttachmentRecord> = (0..SHARED)
        .map(|n| record("web", n, &[&format!("c{n}"), "pool"], &format!("10.1.1.{n}/16")))
        .collect();
    let mut db = record("web", SHARED, &["db"], "10.1.0.2/16");
    db.addresses.push(Grant { address: "fd01::2/64".parse().unwrap(), gateway: None });
    db.ports = Some(PortsPart {
        phase: Phase::Ready,
        via: "clweb".into(),
        bindings: vec![Binding {
            host: None,
            port: 8080,
            protocol: Protocol::Tcp,
            to: "10.1.0.2".parse().unwrap(),
            to_port: 80,
            conditions: None,
        }],
        hairpin: false,
        masquerade_all: false,
    });
    all.push(db);
    all.push(inside());
    all
}

/// One that asks where it is, and whose questions stay here.
fn inside() -> AttachmentRecord {
    let mut record = record("lan", 0, &["inner"], "192.0.2.9/24");
    record.netns = Some(NetnsNote { path: "/run/netns/none".into(), cookie: None });
    let names = record.names.as_mut().unwrap();
    names.asks.clear();
    names.internal = true;
    record
}

fn record(network: &str, number: usize, names: &[&str], address: &str) -> AttachmentRecord {
    let id = AttachmentId {
        network: network.into(),
        owner: format!("{number:064x}"),
        slot: "eth0".into(),
    };
    let mut record = AttachmentRecord::new(id, BOOT);
    record.addresses = vec![Grant { address: address.parse().unwrap(), gateway: None }];
    record.names = Some(NamesPart {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        asks: vec![GATEWAY.parse().unwrap()],
        domain: Some("example.test".into()),
        ..NamesPart::default()
    });
    record
}
