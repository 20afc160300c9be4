//! Requests to netd over its socket (docs/netd-api.md).

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

use crate::context::{Context, file_error};
use crate::error::{Error, Result};

/// netd answers in milliseconds; names that it must ask others for, in three seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// A netd that may run.
pub(crate) struct Netd {
    socket: PathBuf,
    runtime: Runtime,
}

#[derive(Deserialize)]
struct Refusal {
    error: Refused,
}

#[derive(Deserialize)]
struct Refused {
    message: String,
}

impl Netd {
    pub(crate) fn new(context: &Context) -> Result<Self> {
        let socket = context.run_path("netd.sock");
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(file_error("prepare to ask at", &socket))?;
        Ok(Self { socket, runtime })
    }

    /// What there is at a path.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.document(request("GET", path, Bytes::new()))
    }

    /// Has something done.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.document(request("POST", path, body.to_string().into()))
    }

    /// Has something removed.
    pub(crate) fn delete(&self, path: &str) -> Result<Value> {
        self.document(request("DELETE", path, Bytes::new()))
    }

    /// Every line that comes, until netd stops; `each` says whether to go on.
    pub(crate) fn follow(&self, path: &str, mut each: impl FnMut(&str) -> bool) -> Result<()> {
        self.runtime.block_on(async {
            let mut answer = self.send(request("GET", path, Bytes::new())).await?;
            let mut rest: Vec<u8> = Vec::new();
            while let Some(frame) = answer.body_mut().frame().await {
                // A connection that breaks is a netd that was killed: all there is has come.
                let Ok(frame) = frame else { return Ok(()) };
                let Ok(data) = frame.into_data() else { continue };
                rest.extend_from_slice(&data);
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    if !each(String::from_utf8_lossy(&line).trim_end()) {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
    }

    fn document(&self, request: Request<Full<Bytes>>) -> Result<Value> {
        let answered = async {
            let answer = self.send(request).await?;
            let body = answer.into_body().collect().await.map_err(|e| self.broken(&e))?;
            serde_json::from_slice(&body.to_bytes()).map_err(|error| self.broken(&error))
        };
        self.runtime.block_on(async {
            match tokio::time::timeout(PATIENCE, answered).await {
                Ok(outcome) => outcome,
                Err(_) => Err(self.broken(&"no answer within 10 seconds")),
            }
        })
    }

    /// Sends a request; an answer that is an error is one.
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                    Error::NoNetd { socket: self.socket.clone() }
                }
                _ => file_error("connect to", &self.socket)(error),
            })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(&e))?;
        // It ends with the answer; what goes wrong with it, the answer shows.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|e| self.broken(&e))?;
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|e| self.broken(&e))?;
        Err(match serde_json::from_slice::<Refusal>(&body.to_bytes()) {
            Ok(refusal) => Error::Netd { message: refusal.error.message },
            Err(_) => self.broken(&status),
        })
    }

    fn broken(&self, problem: &dyn std::fmt::Display) -> Error {
        Error::Netd { message: format!("{}: {problem}", self.socket.display()) }
    }
}

#[allow(clippy::expect_used, reason = "all parts are our own constants, or escaped")]
fn request(method: &str, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "netd")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .expect("a request of valid parts")
}

/// A value as part of a query.
pub(crate) fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_query_cannot_carry_is_escaped() {
        assert_eq!(escaped("a-b_c.d~1"), "a-b_c.d~1");
        assert_eq!(escaped("a b&c=ä"), "a%20b%26c%3D%C3%A4");
    }
}
