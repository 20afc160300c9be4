//! One call, its request on standard input: the same handlers, no daemon.

use std::io::{Read, Write};
use std::process::ExitCode;

use crate::calls::{Calls, Reply};
use crate::protocol::Request;

/// More than any request has.
pub(crate) const LONGEST: u64 = 1 << 20;

/// Reads, does, prints; fails if the answer is an error.
pub fn run(calls: &Calls, method: &str) -> ExitCode {
    let mut body = Vec::new();
    let read = std::io::stdin().take(LONGEST).read_to_end(&mut body);
    let reply = match read {
        Err(e) => Reply::Failed(format!("read standard input: {e}")),
        Ok(_) => match Request::parse(method, &body) {
            Ok(request) => calls.answer(&request),
            Err(error) => Reply::Failed(error.to_string()),
        },
    };
    let code = if reply.is_done() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let mut document = reply.into_document();
    document.push(b'\n');
    let _ = std::io::stdout().write_all(&document);
    code
}
