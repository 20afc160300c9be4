//! From a message to its answer, whatever it came by: who asks, what is known here, what others
//! have to be asked.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use smallvec::SmallVec;

use super::forward::{Forwarded, Forwarder};
use super::question::{NotAQuestion, Question, Transport, limit_of};
use super::reply;
use super::zone::{self, Asker, Known, Seen};
use crate::metrics::{Answered, Metrics};
use crate::names::{Directory, Entries, Entry, Index, Membership};

/// The network of containers that share the host's namespace.
const HOST_NETWORK: &str = "host";

/// Where questions come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Point {
    /// At an address of the host's: who asks is told by where he asks from.
    Gateway(IpAddr),
    /// Inside a container: who asks is told by where he asks.
    Inside {
        /// The name of the attachment's record.
        record: String,
    },
}

/// How a message came.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// Where it came in.
    pub point: &'a Point,
    /// By what.
    pub transport: Transport,
}

/// What is to be done about a message.
pub enum Outcome {
    /// To be answered with these bytes.
    Answer(Vec<u8>),
    /// Others have to be asked.
    Ask(Box<Task>),
    /// Nothing.
    Nothing,
}

/// A question that others have to be asked.
pub struct Task {
    question: Question,
    limit: usize,
    own: Own,
    client: IpAddr,
    since: Instant,
}

/// Answers questions.
pub struct Answerer {
    directory: Arc<Directory>,
    forwarder: Forwarder,
    metrics: Arc<Metrics>,
    /// The host's own addresses, for containers that cannot reach it at a gateway.
    host: RwLock<Vec<IpAddr>>,
}

impl Answerer {
    /// Answers out of a directory, and by a forwarder.
    pub fn new(directory: Arc<Directory>, forwarder: Forwarder, metrics: Arc<Metrics>) -> Self {
        Self { directory, forwarder, metrics, host: RwLock::default() }
    }

    /// The names.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Who asks other servers.
    pub fn forwarder(&self) -> &Forwarder {
        &self.forwarder
    }

    /// What was counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The host's own addresses.
    pub fn set_host(&self, addresses: Vec<IpAddr>) {
        *self.host.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// What is to be done about a message, as far as that is known without asking others. The
    /// index is of a time after the message had come; several messages may share it.
    pub fn answer(&self, index: &Index, bytes: &[u8], arrival: &Arrival<'_>) -> Outcome {
        let Arrival { from, point, transport } = *arrival;
        let since = Instant::now();
        let question = match Question::parse(bytes) {
            Ok(question) => question,
            Err(NotAQuestion::Ignored) => {
                self.metrics.answered(Answered::Ignored, since.elapsed());
                return Outcome::Nothing;
            }
            Err(NotAQuestion::Refused(message, code)) => {
                return self.coded(&message, code, since);
            }
        };
        let Some((asker, own)) = self.asker(index, from.ip(), point) else {
            return self.coded(&question.message, ResponseCode::Refused, since);
        };
        let limit = question.limit(transport);
        let known = zone::look_up(index, &asker, &question.name, question.kind());
        let may_leave = own.may_leave && self.may_be_asked_elsewhere(&question, &known);
        let known = match known {
            Known::NoName | Known::NotHere if may_leave => Known::NotHere,
            // Nothing leaves: what is not here is not at all.
            Known::NotHere => Known::NoName,
            known => known,
        };
        if known == Known::NotHere {
            return self.elsewhere(question, limit, own, from.ip(), since);
        }
        own.count(false);
        let how = if known == Known::NoName { Answered::NoName } else { Answered::Local };
        let answer = reply::of_known(&question, known, limit);
        self.done(how, since, answer)
    }

    /// Asks others; the answer is for the one who asked.
    pub async fn ask(&self, task: Task) -> Option<Vec<u8>> {
        let Task { question, limit, own, client, since } = task;
        let Some(_place) = self.forwarder.enter(client) else {
            own.count(true);
            self.metrics.answered(Answered::Refused, since.elapsed());
            return reply::of_code(&question.message, ResponseCode::Refused);
        };
        let key = self.forwarder.key(&question, &own.servers)?;
        let Forwarded { answer, coalesced } = self.forwarder.ask(key).await;
        if coalesced {
            self.metrics.coalesced.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        let how = if answer.is_some() { Answered::Forwarded } else { Answered::Failed };
        self.metrics.answered(how, since.elapsed());
        own.count(answer.is_none());
        of_other(&question, answer, limit)
    }

    /// A name that is not one of ours goes on; one of ours that there is not does not, but for
    /// single labels where that is configured, and what validators ask of the top of the tree.
    fn may_be_asked_elsewhere(&self, question: &Question, known: &Known) -> bool {
        match known {
            Known::NotHere => true,
            Known::NoName if !question.name.contains('.') => {
                let of_zones = matches!(
                    question.kind(),
                    RecordType::DS | RecordType::DNSKEY | RecordType::NS | RecordType::SOA
                );
                of_zones || self.forwarder.config().forward_single_labels
            }
            _ => false,
        }
    }

    fn elsewhere(
        &self,
        question: Question,
        limit: usize,
        own: Own,
        client: IpAddr,
        since: Instant,
    ) -> Outcome {
        let key = self.forwarder.key(&question, &own.servers);
        if let Some(kept) = key.and_then(|key| self.forwarder.kept(&key)) {
            own.count(kept.is_none());
            let answer = of_other(&question, kept, limit);
            return self.done(Answered::Cached, since, answer);
        }
        Outcome::Ask(Box::new(Task { question, limit, own, client, since }))
    }

    fn coded(&self, message: &Message, code: ResponseCode, since: Instant) -> Outcome {
        let answer = reply::of_code(message, code);
        let fits = |bytes: &Vec<u8>| bytes.len() <= limit_of(message, Transport::Udp);
        self.done(Answered::Refused, since, answer.filter(fits))
    }

    fn done(&self, how: Answered, since: Instant, answer: Option<Vec<u8>>) -> Outcome {
        self.metrics.answered(how, since.elapsed());
        answer.map_or(Outcome::Nothing, Outcome::Answer)
    }

    /// Who asks; `None` for strangers.
    fn asker(&self, index: &Index, source: IpAddr, point: &Point) -> Option<(Asker, Own)> {
        let entry = match point {
            Point::Inside { record } => index.of_record(record)?,
            Point::Gateway(asked) => match index.asker(source, *asked) {
                Some(entry) => entry,
                // The host itself sees the network that it asks at, and who shares its own.
                None if source == *asked => {
                    let network = index.network_at(*asked)?.clone();
                    let seen = |network| Seen { network, domain: None };
                    let networks = [network, HOST_NETWORK.into()].map(seen).into_iter().collect();
                    let host = vec![*asked];
                    return Some((
                        Asker { networks, host },
                        Own { may_leave: true, servers: vec![], asker: None },
                    ));
                }
                None => return None,
            },
        };
        let mut all: Entries = index.of_same_owner(entry).cloned().collect();
        all.sort_by(|one, other| one.network().cmp(other.network()));
        let mut networks = SmallVec::new();
        for other in &all {
            let Membership { network, domain, .. } = &*other.membership;
            let seen = Seen { network: network.clone(), domain: domain.clone() };
            if !networks.contains(&seen) {
                networks.push(seen);
            }
        }
        let host = match &*entry.membership.asks {
            [] => self.host.read().unwrap_or_else(PoisonError::into_inner).clone(),
            gateways => gateways.to_vec(),
        };
        let may_leave = all.iter().any(|other| !other.membership.internal);
        let servers = servers(entry, &all);
        let asker = Some(entry.clone());
        Some((Asker { networks, host }, Own { may_leave, servers, asker }))
    }
}

/// What an asker's own networks say of questions that go elsewhere.
struct Own {
    may_leave: bool,
    servers: Vec<IpAddr>,
    /// Who asks, to be counted; not the host.
    asker: Option<Arc<Entry>>,
}

impl Own {
    fn count(&self, failed: bool) {
        if let Some(asker) = &self.asker {
            asker.asked.count(failed);
        }
    }
}

/// Of the network that is asked at, or else of the first other one, by name, that names some.
fn servers(entry: &Entry, all: &[Arc<Entry>]) -> Vec<IpAddr> {
    let own = std::iter::once(entry).chain(all.iter().map(Arc::as_ref));
    own.map(|entry| &*entry.membership.servers)
        .find(|servers| !servers.is_empty())
        .map(<[IpAddr]>::to_vec)
        .unwrap_or_default()
}

fn of_other(question: &Question, answer: Option<Message>, limit: usize) -> Option<Vec<u8>> {
    match answer {
        Some(answer) => reply::of_upstream(question, answer, limit),
        None => reply::of_code(&question.message, ResponseCode::ServFail),
    }
}
