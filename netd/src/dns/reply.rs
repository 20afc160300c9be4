//! Answers in wire form: what is known, with the asker's own question in it, as long as he takes.

use std::net::IpAddr;

use cleat_front::DOMAIN;
use hickory_proto::op::{Edns, Message, MessageType, Metadata, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record};
use rand::seq::SliceRandom;

use super::question::Question;
use super::zone::Known;

/// How long an answer may be kept, in seconds: long enough for a burst, short enough for a
/// container that comes back with another address.
pub(super) const TTL: u32 = 5;
/// How long the absence of a name may be kept, in seconds.
pub(super) const NEGATIVE_TTL: u32 = 1;
/// What we take ourselves.
const OUR_PAYLOAD: u16 = 1232;

/// The answer to a question out of what is known; `None` where somebody else has to say.
pub(super) fn of_known(question: &Question, known: Known, limit: usize) -> Option<Vec<u8>> {
    let mut message = response(&question.message, ResponseCode::NoError);
    message.metadata.authoritative = true;
    let name = question.query()?.name().clone();
    let record = |data: RData| Record::from_rdata(name.clone(), TTL, data);
    match known {
        Known::NotHere => return None,
        Known::Addresses(mut addresses) => {
            addresses.shuffle(&mut rand::rng());
            message.answers = addresses.into_iter().map(|a| record(address(a))).collect();
        }
        Known::Pointer(target) => {
            message.answers = vec![record(RData::PTR(PTR(absolute(&target)?)))];
        }
        Known::Services(mut services) => {
            services.shuffle(&mut rand::rng());
            for (port, target) in services {
                let srv = SRV::new(0, 0, port, absolute(&target)?);
                message.answers.push(record(RData::SRV(srv)));
            }
        }
        Known::NoData => message.authorities.extend(authority(&question.name)),
        Known::NoName => {
            message.metadata.response_code = ResponseCode::NXDomain;
            message.authorities.extend(authority(&question.name));
        }
    }
    fit(message, limit)
}

/// An answer that is a code alone.
pub(super) fn of_code(request: &Message, code: ResponseCode) -> Option<Vec<u8>> {
    let mut message = response(request, code);
    if code == ResponseCode::FormErr && message.queries.len() != 1 {
        message.queries.clear();
    }
    if u16::from(code) > 15 {
        // Its high bits travel in the OPT record.
        let high = code.high();
        message.edns.get_or_insert_default().set_rcode_high(high);
    }
    message.to_vec().ok()
}

/// An upstream's answer for this asker: his id and his question, his own EDNS.
pub(super) fn of_upstream(
    question: &Question,
    mut answer: Message,
    limit: usize,
) -> Option<Vec<u8>> {
    let asked = &question.message.metadata;
    answer.metadata.id = asked.id;
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.recursion_desired = asked.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.metadata.checking_disabled = asked.checking_disabled;
    answer.metadata.authoritative = false;
    answer.metadata.truncation = false;
    answer.queries.clone_from(&question.message.queries);
    let dnssec = answer.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
    answer.edns = own_edns(&question.message);
    if let Some(edns) = &mut answer.edns {
        edns.set_dnssec_ok(dnssec);
        edns.set_rcode_high(answer.metadata.response_code.high());
    }
    fit(answer, limit)
}

fn response(request: &Message, code: ResponseCode) -> Message {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.recursion_available = true;
    metadata.checking_disabled = false;
    metadata.response_code = code;
    let mut message = Message::response(metadata.id, metadata.op_code);
    message.metadata = metadata;
    message.queries.clone_from(&request.queries);
    message.edns = own_edns(request);
    message
}

/// Who asks with EDNS is answered with EDNS (RFC 6891, section 6.1.1).
fn own_edns(request: &Message) -> Option<Edns> {
    let asked = request.edns.as_ref()?;
    let mut edns = Edns::new();
    edns.set_max_payload(OUR_PAYLOAD);
    edns.set_dnssec_ok(asked.flags().dnssec_ok);
    Some(edns)
}

/// In wire form and at most this long: what does not fit is left out, and the asker told to come
/// by TCP (RFC 2181, section 9).
fn fit(mut message: Message, limit: usize) -> Option<Vec<u8>> {
    let mut bytes = message.to_vec().ok()?;
    while bytes.len() > limit {
        message.metadata.truncation = true;
        let over = bytes.len() - limit;
        if !message.additionals.is_empty() {
            message.additionals.clear();
        } else if let Some(left) = message.answers.len().checked_sub(1) {
            // Records of one answer are of one size, more or less.
            let each = (bytes.len() / message.answers.len()).max(1);
            message.answers.truncate(left.saturating_sub(over / each));
        } else if !message.authorities.is_empty() {
            message.authorities.clear();
        } else {
            return None;
        }
        bytes = message.to_vec().ok()?;
    }
    Some(bytes)
}

fn address(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    }
}

fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// By what a negative answer is known to be one, and for how long (RFC 2308, section 3). A name
/// of a single label stands in no zone of ours but the root.
fn authority(name: &str) -> Option<Record> {
    let inside = name == DOMAIN || name.strip_suffix(DOMAIN).is_some_and(|n| n.ends_with('.'));
    let zone = if inside { absolute(DOMAIN)? } else { Name::root() };
    let server = absolute(&format!("ns.{DOMAIN}"))?;
    let person = absolute(&format!("hostmaster.{DOMAIN}"))?;
    let soa = SOA::new(server, person, 1, 3600, 600, 86400, NEGATIVE_TTL);
    Some(Record::from_rdata(zone, NEGATIVE_TTL, RData::SOA(soa)))
}
