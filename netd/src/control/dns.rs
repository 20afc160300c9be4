//! `POST /v1/dns/flush`, `POST /v1/dns/query` and `GET /v1/upstreams`: the cache, what a client
//! would be answered, and the servers that others' names are asked of.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType};
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use super::{Outcome, State};
use crate::dns::answerer::{Answerer, Arrival, Outcome as Answered, Point};
use crate::dns::forward::Upstream;
use crate::dns::question::Transport;
use crate::names::{Entry, Index};

#[derive(Serialize)]
pub(super) struct Flushed {
    flushed: usize,
}

pub(super) async fn flush(shared: State) -> Outcome<Flushed> {
    let flushed = shared.answerer.forwarder().flush();
    shared.events.tell("names.flushed", "cache", format!("{flushed} answers forgotten"));
    Ok(Json(Flushed { flushed }))
}

pub(super) async fn upstreams(shared: State) -> Outcome<Vec<Upstream>> {
    Ok(Json(shared.answerer.forwarder().upstreams()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    name: String,
    /// Such as `AAAA`.
    #[serde(rename = "type", default = "a")]
    kind: String,
    /// An address, a name, or a container's id or the start of it.
    client: Option<String>,
}

fn a() -> String {
    "A".to_owned()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    /// Who was taken to ask; the host itself, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    /// As in RFC 1035 and IANA's registry, such as `NXDOMAIN`.
    code: String,
    authoritative: bool,
    answers: Vec<AnswerRecord>,
    authorities: Vec<AnswerRecord>,
}

#[derive(Serialize)]
struct AnswerRecord {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    ttl: u32,
    data: String,
}

pub(super) async fn query(
    shared: State,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Outcome<Answer> {
    let Json(asked) = asked?;
    let mut name = Name::from_ascii(&asked.name)
        .map_err(|error| Refusal::invalid(format!("name {:?}: {error}", asked.name)))?;
    name.set_fqdn(true);
    let kind: RecordType = asked.kind.to_ascii_uppercase().parse().map_err(|_| {
        Refusal::invalid(format!("type {:?}: no record type, such as AAAA", asked.kind))
    })?;
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    let bytes = message.to_vec().map_err(|error| Refusal::invalid(error.to_string()))?;
    let answerer = &shared.answerer;
    let askers = askers(&answerer.directory().current(), asked.client.as_deref())?;
    let mut answer = None;
    for (from, point) in askers {
        let found = ask(answerer, &bytes, from, &point).await?;
        let is_none = found.metadata.response_code == ResponseCode::NXDomain;
        answer = Some((from, found));
        if !is_none {
            break;
        }
    }
    let (from, found) = answer.ok_or_else(|| Refusal::unknown("no network here has names"))?;
    let client = asked.client.map(|_| from);
    Ok(Json(describe(&found, client)))
}

/// Who asks where: the client; or the host itself at each of its gateways, of which the first
/// that knows the name counts.
fn askers(index: &Index, client: Option<&str>) -> Result<Vec<(IpAddr, Point)>, Refusal> {
    let Some(client) = client else {
        return Ok(index.asks().map(|gateway| (gateway, Point::Gateway(gateway))).collect());
    };
    let address = client.parse::<IpAddr>().ok();
    let is_meant = |entry: &Entry| {
        // Nobody of another node asks here.
        if entry.node().is_some() {
            return false;
        }
        let named = entry.names().any(|name| name == client);
        let is_id = client.len() >= 4 && entry.owner().starts_with(client);
        address.map_or(named || is_id, |address| entry.addresses.contains(&address))
    };
    let meant: Vec<&Arc<Entry>> = index.entries().filter(|entry| is_meant(entry)).collect();
    let mut owners: Vec<&str> = meant.iter().map(|entry| entry.owner()).collect();
    owners.sort_unstable();
    owners.dedup();
    match (meant.first(), owners.as_slice()) {
        (Some(entry), [_]) => asker(entry, address).map(|asker| vec![asker]),
        (Some(_), several) => Err(Refusal::invalid(format!(
            "client {client:?}: means several containers: {}",
            several.join(", ")
        ))),
        (None, _) => Err(Refusal::unknown(format!(
            "client {client:?}: no address, name or id of a container with names"
        ))),
    }
}

fn asker(entry: &Entry, address: Option<IpAddr>) -> Result<(IpAddr, Point), Refusal> {
    let from = address.or(entry.addresses.first().copied());
    let Some(from) = from else {
        return Err(Refusal::unknown(format!("container {}: it has no address", entry.owner())));
    };
    let asks = &entry.membership.asks;
    let gateway = asks.iter().find(|asked| asked.is_ipv4() == from.is_ipv4()).or(asks.first());
    let point = match gateway {
        Some(gateway) => Point::Gateway(*gateway),
        None => Point::Inside { record: entry.record().to_owned() },
    };
    Ok((from, point))
}

async fn ask(
    answerer: &Answerer,
    bytes: &[u8],
    from: IpAddr,
    point: &Point,
) -> Result<Message, Refusal> {
    let arrival = Arrival { from: SocketAddr::new(from, 0), point, transport: Transport::Tcp };
    let outcome = answerer.answer(&answerer.directory().current(), bytes, &arrival);
    let answer = match outcome {
        Answered::Answer(answer) => Some(answer),
        Answered::Ask(task) => answerer.ask(*task).await,
        Answered::Nothing => None,
    };
    let answer = answer.ok_or_else(|| Refusal::internal("the question was not answered"))?;
    Message::from_vec(&answer).map_err(|error| Refusal::internal(error.to_string()))
}

fn describe(found: &Message, client: Option<IpAddr>) -> Answer {
    let query = found.queries.first();
    Answer {
        name: query.map(|query| query.name().to_string()).unwrap_or_default(),
        kind: query.map(|query| query.query_type().to_string()).unwrap_or_default(),
        client,
        code: code(found.metadata.response_code),
        authoritative: found.metadata.authoritative,
        answers: found.answers.iter().map(record).collect(),
        authorities: found.authorities.iter().map(record).collect(),
    }
}

fn code(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        other => format!("RCODE{}", u16::from(other)),
    }
}

fn record(record: &Record) -> AnswerRecord {
    AnswerRecord {
        name: record.name.to_string(),
        kind: record.record_type().to_string(),
        ttl: record.ttl,
        data: record.data.to_string(),
    }
}
