//! One question to one server: by UDP from a random port with a random id, and again by TCP where
//! the answer was cut. What comes from elsewhere or answers another question is not heard.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_net::DnsHandle;
use hickory_net::NetError;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::tcp::TcpClientStream;
use hickory_net::udp::UdpClientStream;
use hickory_net::xfer::{DnsRequestSender, FirstAnswer};
use hickory_proto::op::{DnsRequest, DnsRequestOptions, Edns, Message, Query, ResponseCode};
use hickory_proto::rr::Name;

const PORT: u16 = 53;
/// What fits any path in one packet (RFC 9715).
const PAYLOAD: u16 = 1232;
/// A lost datagram is sent again after this.
const RESEND: Duration = Duration::from_millis(600);

/// What is asked of other servers: the asker's question, and no more of what he said.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asked {
    /// The query, its name in lower case.
    pub query: Query,
    /// DNSSEC records are wanted (RFC 3225).
    pub dnssec_ok: bool,
    /// Answers that fail validation are wanted (RFC 4035, section 3.2.2).
    pub checking_disabled: bool,
}

impl Asked {
    fn message(&self) -> Message {
        let mut message = Message::query();
        message.metadata.id = rand::random();
        message.metadata.recursion_desired = true;
        message.metadata.checking_disabled = self.checking_disabled;
        message.add_query(self.query.clone());
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        edns.set_dnssec_ok(self.dnssec_ok);
        message.set_edns(edns);
        message
    }

    /// The name asked for.
    pub fn name(&self) -> &Name {
        self.query.name()
    }
}

/// Asks a server; an answer is whole.
pub(super) async fn ask(
    server: IpAddr,
    asked: &Asked,
    timeout: Duration,
) -> Result<Message, NetError> {
    let server = SocketAddr::new(server, PORT);
    let mut message = asked.message();
    let mut answer = by_udp(server, &message, timeout).await?;
    if answer.metadata.response_code == ResponseCode::FormErr && answer.edns.is_none() {
        // A server from before EDNS (RFC 6891, section 6.2.2).
        message.edns = None;
        answer = by_udp(server, &message, timeout).await?;
    }
    if !answer.metadata.truncation {
        return Ok(answer);
    }
    by_tcp(server, message, timeout).await
}

async fn by_udp(
    server: SocketAddr,
    message: &Message,
    timeout: Duration,
) -> Result<Message, NetError> {
    let mut options = DnsRequestOptions::default();
    options.retry_interval = RESEND;
    let mut stream = UdpClientStream::builder(server, TokioRuntimeProvider::default())
        .with_timeout(Some(timeout))
        .with_max_retries(2)
        .build();
    let answers = stream.send_message(DnsRequest::new(message.clone(), options));
    Ok(answers.first_answer().await?.into_message())
}

async fn by_tcp(
    server: SocketAddr,
    message: Message,
    timeout: Duration,
) -> Result<Message, NetError> {
    let provider = TokioRuntimeProvider::default();
    let exchange = TcpClientStream::exchange(server, None, timeout, None, provider).await?;
    let query = message.queries.first().cloned();
    let answers = exchange.send(DnsRequest::new(message, DnsRequestOptions::default()));
    let answer = answers.first_answer().await?.into_message();
    // By UDP the transport compares; here a server could mix up its answers.
    match query {
        Some(query) if answer.queries.first() == Some(&query) => Ok(answer),
        _ => Err(NetError::from("the answer is to another question")),
    }
}
