//! The socket that plugins ask at.

use std::sync::Arc;

use cleat_front::dhcp::{Answer, LARGEST, Question, Refusal};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};

use super::{Dhcp, keep};
use crate::error::Result;

/// Answers, and keeps the leases, until it is dropped.
pub(crate) async fn serve(dhcp: Arc<Dhcp>, listener: UnixListener) -> Result<()> {
    tokio::try_join!(keep::keep(dhcp.clone()), accept(dhcp, listener)).map(drop)
}

async fn accept(dhcp: Arc<Dhcp>, listener: UnixListener) -> Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let dhcp = dhcp.clone();
                tokio::spawn(async move { answer(&dhcp, stream).await });
            }
            // Out of descriptors, which may pass.
            Err(error) => {
                tracing::warn!("DHCP: accept: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(dhcp: &Dhcp, stream: UnixStream) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader.take(LARGEST));
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line).await.is_err() || line.is_empty() {
        return;
    }
    let question: Question = match serde_json::from_slice(&line) {
        Ok(question) => question,
        Err(error) => {
            let text = format!("the question cannot be read: {error}");
            let _ =
                writer.write_all(&document(&Answer::Refused { why: Refusal::Daemon, text })).await;
            return;
        }
    };
    let leased = match &question {
        Question::Lease(asked) => Some(asked.id.clone()),
        _ => None,
    };
    let answer = tokio::select! {
        answer = answer_to(dhcp, question) => answer,
        () = hung_up(&mut reader) => return,
    };
    let written = writer.write_all(&document(&answer)).await;
    // Nobody knows of it, so nobody would give it back.
    if let (Err(_), Some(id)) = (written, leased) {
        dhcp.release(&id).await;
    }
}

async fn answer_to(dhcp: &Dhcp, question: Question) -> Answer {
    let outcome = match question {
        Question::Lease(asked) => dhcp.lease(asked).await.map(Answer::Leased),
        Question::Check(id) => dhcp.check(&id).map(|()| Answer::Done),
        Question::Release(id) => {
            dhcp.release(&id).await;
            Ok(Answer::Done)
        }
        Question::Collect { network, keep } => {
            dhcp.collect(&network, &keep).await;
            Ok(Answer::Done)
        }
        Question::Status => Ok(Answer::Done),
    };
    outcome.unwrap_or_else(|(why, text)| Answer::Refused { why, text })
}

/// A plugin that was ended asks for nothing any more.
async fn hung_up(reader: &mut BufReader<tokio::io::Take<OwnedReadHalf>>) {
    let mut more = [0; 16];
    while reader.read(&mut more).await.is_ok_and(|count| count > 0) {}
}

fn document(answer: &Answer) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}
