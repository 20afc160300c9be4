//! What plugin and daemon say to each other over a unix socket: one question and one answer per
//! connection, each a JSON document on a line. A plugin that closes the connection wants no answer
//! any more, and nothing leased.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use cleat_cni::{Dns, Error};
use cleat_engine::plan::{Grant, Grants, RouteGrant};
use cleat_engine::{AttachmentId, Dirs};
use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

use crate::errors::code;

/// Where a daemon by itself listens, as the reference's does.
pub const SOCKET_OF_DAEMON: &str = "/run/cni/dhcp.sock";
/// The largest document, in bytes.
pub const LARGEST: u64 = 1 << 20;
const NAME: &str = "dhcp.sock";

/// What a plugin asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Question {
    /// Lease addresses.
    Lease(Asked),
    /// Are they held?
    Check(AttachmentId),
    /// Give them back.
    Release(AttachmentId),
    /// Give back what a network's other attachments hold.
    Collect {
        /// The network.
        network: String,
        /// The attachments that are valid, by owner and slot.
        keep: Vec<(String, String)>,
    },
    /// Is anybody there?
    Status,
}

/// A lease as asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Whose it is to be.
    pub id: AttachmentId,
    /// The path of the namespace in which the interface is.
    pub netns: PathBuf,
    /// An IPv4 address.
    pub ipv4: bool,
    /// An IPv6 address.
    pub ipv6: bool,
    /// The IPv6 prefix on the link: an address in it is hoped for.
    pub prefix: Option<Ipv6Net>,
    /// The client identifier (option 61), its type first.
    pub client: Vec<u8>,
    /// Options to request, in place of the usual ones.
    pub request: Option<Vec<u8>>,
    /// Options to send.
    pub provide: Vec<(u8, Vec<u8>)>,
    /// The metric of the routes.
    pub priority: Option<u32>,
}

/// The daemon's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// These were leased.
    Leased(Leased),
    /// It is done, or it is so.
    Done,
    /// It could not be done.
    Refused {
        /// What kind of refusal.
        why: Refusal,
        /// For people.
        text: String,
    },
}

/// What was leased.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Leased {
    /// The addresses.
    pub addresses: Vec<Grant>,
    /// The routes.
    pub routes: Vec<RouteGrant>,
    /// Name servers and domains.
    pub dns: Dns,
}

impl Leased {
    /// Addresses and routes as the engine takes them.
    pub fn grants(&self) -> Grants {
        Grants { addresses: self.addresses.clone(), routes: self.routes.clone() }
    }
}

/// Why a daemon refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Refusal {
    /// No server answered, or none has an address.
    NoServer,
    /// The interface or its namespace cannot be used.
    Link,
    /// Nothing is held.
    NotHeld,
    /// The daemon itself failed.
    Daemon,
}

impl Refusal {
    fn code(self) -> u32 {
        match self {
            Self::NoServer => Error::TRY_AGAIN,
            Self::Link => Error::INVALID_NETNS,
            Self::NotHeld => code::DIFFERS,
            Self::Daemon => Error::IO,
        }
    }
}

/// The socket where a configuration names none: that of netd if there is one, else that of a
/// daemon by itself.
pub fn default_socket(dirs: &Dirs) -> PathBuf {
    let netd = dirs.run.join(NAME);
    if netd.exists() { netd } else { SOCKET_OF_DAEMON.into() }
}

/// Asks the daemon, and waits for as long as it takes. `None`: there is none.
///
/// # Errors
/// The daemon's refusal; code 5 where it says nothing that can be understood.
pub fn ask(socket: &Path, question: &Question) -> Result<Option<Answer>, Error> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::io(format!("the DHCP daemon at {}: {error}", socket.display()))
    };
    let mut stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(error) if is_absent(error.kind()) => return Ok(None),
        Err(error) => return Err(failed(&error)),
    };
    let mut line = serde_json::to_vec(question).map_err(|error| failed(&error))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(|error| failed(&error))?;
    let mut text = Vec::new();
    let mut reader = BufReader::new(stream.take(LARGEST));
    reader.read_until(b'\n', &mut text).map_err(|error| failed(&error))?;
    match serde_json::from_slice(&text) {
        Ok(Answer::Refused { why, text }) => Err(Error::new(why.code(), text)),
        Ok(answer) => Ok(Some(answer)),
        Err(_) => Err(failed(&"it gives no answer of cleat's; is it another program's daemon?")),
    }
}

fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}
