//! A question as it came: parsed, bounded, and nothing done about it yet.

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};

/// What answers may take without EDNS (RFC 1035, section 4.2.1).
const PLAIN_UDP: u16 = 512;
/// What fits any path in one packet (RFC 9715).
const LARGEST_UDP: u16 = 1232;

/// How a question came, and how much its answer may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// By datagram.
    Udp,
    /// By stream.
    Tcp,
}

/// A question that can be answered.
#[derive(Debug, Clone)]
pub struct Question {
    /// The message that it came in; one query.
    pub message: Message,
    /// The name in lower case without the dot at its end; the root is empty.
    pub name: String,
}

/// What a message is, if it is no question to answer.
#[derive(Debug, PartialEq)]
pub enum NotAQuestion {
    /// Nothing that may be answered: garbage, or an answer.
    Ignored,
    /// To be refused with this code.
    Refused(Box<Message>, ResponseCode),
}

impl Question {
    /// Parses a message.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAQuestion> {
        // Answers first: answering one could go round for ever.
        if bytes.get(2).is_none_or(|flags| flags & 0x80 != 0) {
            return Err(NotAQuestion::Ignored);
        }
        let Ok(message) = Message::from_vec(bytes) else {
            return Err(malformed(bytes));
        };
        if message.metadata.message_type != MessageType::Query {
            return Err(NotAQuestion::Ignored);
        }
        let refuse = |message, code| Err(NotAQuestion::Refused(Box::new(message), code));
        if message.metadata.op_code != OpCode::Query {
            return refuse(message, ResponseCode::NotImp);
        }
        if message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
            return refuse(message, ResponseCode::BADVERS);
        }
        let [query] = message.queries.as_slice() else {
            return refuse(message, ResponseCode::FormErr);
        };
        if query.query_class() != DNSClass::IN {
            return refuse(message, ResponseCode::Refused);
        }
        if matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
            return refuse(message, ResponseCode::Refused);
        }
        let name = lower_text(query.name());
        Ok(Self { message, name })
    }

    /// The query.
    pub fn query(&self) -> Option<&Query> {
        self.message.queries.first()
    }

    /// The type that is asked for.
    pub fn kind(&self) -> RecordType {
        self.query().map_or(RecordType::NULL, Query::query_type)
    }

    /// The longest answer in bytes that the asker takes by this transport.
    pub fn limit(&self, transport: Transport) -> usize {
        limit_of(&self.message, transport)
    }
}

/// The longest answer in bytes to a message.
pub fn limit_of(message: &Message, transport: Transport) -> usize {
    usize::from(match (transport, &message.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, None) => PLAIN_UDP,
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(PLAIN_UDP, LARGEST_UDP),
    })
}

/// A header can be answered even if the rest cannot be read.
fn malformed(bytes: &[u8]) -> NotAQuestion {
    match bytes {
        [high, low, flags, ..] if bytes.len() >= 12 => {
            let id = u16::from_be_bytes([*high, *low]);
            let op_code = OpCode::from_u8((flags >> 3) & 0x0f);
            let message = Message::new(id, MessageType::Query, op_code);
            NotAQuestion::Refused(Box::new(message), ResponseCode::FormErr)
        }
        _ => NotAQuestion::Ignored,
    }
}

/// Labels with dots between, in lower case. What is no letter, digit or the like is escaped, and
/// so never equal to a name of ours.
fn lower_text(name: &Name) -> String {
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        if !text.is_empty() {
            text.push('.');
        }
        for &byte in label {
            if byte.is_ascii_graphic() && byte != b'.' {
                text.push(char::from(byte.to_ascii_lowercase()));
            } else {
                text.push_str(&format!("\\{byte:03}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(name: &str) -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        message.to_vec().unwrap()
    }

    #[test]
    fn names_are_folded() {
        assert_eq!(Question::parse(&ask("wEb.Example.")).unwrap().name, "web.example");
        assert_eq!(Question::parse(&ask(".")).unwrap().name, "");
    }

    #[test]
    fn answers_are_never_answered() {
        let mut bytes = ask("web.");
        bytes[2] |= 0x80;
        assert_eq!(Question::parse(&bytes).unwrap_err(), NotAQuestion::Ignored);
    }

    #[test]
    fn what_is_no_question_is_refused_by_code() {
        let code = |bytes: &[u8]| match Question::parse(bytes).unwrap_err() {
            NotAQuestion::Refused(_, code) => code,
            NotAQuestion::Ignored => panic!("ignored"),
        };
        let mut two = Message::query();
        for name in ["a.", "b."] {
            two.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        }
        assert_eq!(code(&two.to_vec().unwrap()), ResponseCode::FormErr);
        let mut update = ask("web.");
        update[2] |= 5 << 3;
        assert_eq!(code(&update), ResponseCode::NotImp);
        let bytes = ask("web.");
        assert_eq!(code(&bytes[..bytes.len() - 3]), ResponseCode::FormErr);
        let mut chaos = ask("web.");
        let last = chaos.len() - 1;
        chaos[last] = 3;
        assert_eq!(code(&chaos), ResponseCode::Refused);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Question::parse(&bytes);
        }
    }
}
