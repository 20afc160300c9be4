//! One question to one server: by UDP from a random port with a random id, and again by TCP where
//! the answer was cut. What comes from elsewhere or answers another question is not heard.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_net::NetError;
use hickory_net::udp::UdpClientStream;
use hickory_net::xfer::{DnsRequestSender, FirstAnswer};
use hickory_proto::op::{
    DnsRequest, DnsRequestOptions, Edns, Message, MessageType, Query, ResponseCode,
};
use tokio::net::TcpStream;

use super::connected::Connecting;
use crate::dns::framing::{read_message, write_message};

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
    by_tcp(server, &message, timeout).await
}

async fn by_udp(
    server: SocketAddr,
    message: &Message,
    timeout: Duration,
) -> Result<Message, NetError> {
    let mut options = DnsRequestOptions::default();
    options.retry_interval = RESEND;
    let mut stream = UdpClientStream::builder(server, Connecting::default())
        .with_timeout(Some(timeout))
        .with_max_retries(2)
        .build();
    let answers = stream.send_message(DnsRequest::new(message.clone(), options));
    Ok(answers.first_answer().await?.into_message())
}

/// On a connection of its own, of which there is no more than one answer to wait for.
async fn by_tcp(
    server: SocketAddr,
    message: &Message,
    timeout: Duration,
) -> Result<Message, NetError> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        write_message(&mut stream, &message.to_vec()?).await?;
        let mut bytes = Vec::new();
        read_message(&mut stream, &mut bytes).await?;
        let answer = Message::from_vec(&bytes)?;
        let is_ours = answer.metadata.id == message.metadata.id
            && answer.metadata.message_type == MessageType::Response
            && answer.queries == message.queries;
        if is_ours { Ok(answer) } else { Err(NetError::from("the answer is to another question")) }
    };
    tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(NetError::Timeout))
}
