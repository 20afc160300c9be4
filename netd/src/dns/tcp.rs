//! Questions by stream: two bytes of length before each message (RFC 1035, section 4.2.2), several
//! on one connection, answered as answers come (RFC 7766).

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener as AsyncListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;

use super::answerer::{Answerer, Outcome, Point};
use super::question::Transport;
use crate::error::{Error, Result};

/// A connection on which nothing is asked for so long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// Connections of one listener; more wait in the kernel's queue.
const CONNECTIONS: usize = 512;
/// Questions of one connection that may be under way at once.
const PIPELINED: usize = 64;

/// Serves a listener until the task is aborted; connections that are open then go on until their
/// askers close them.
pub(super) fn serve(
    listener: TcpListener,
    point: Point,
    answerer: Arc<Answerer>,
) -> Result<JoinHandle<()>> {
    let listener =
        AsyncListener::from_std(listener).map_err(Error::socket("serve", "questions by TCP"))?;
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    Ok(tokio::spawn(async move {
        loop {
            let Ok(place) = room.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, from)) => {
                    let (answerer, point) = (answerer.clone(), point.clone());
                    tokio::spawn(async move {
                        converse(stream, from, &point, answerer).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: what is open goes on, and closes.
                    tracing::warn!("a connection could not be taken: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }))
}

async fn converse(stream: TcpStream, from: SocketAddr, point: &Point, answerer: Arc<Answerer>) {
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let writer = Arc::new(Mutex::new(writer));
    let pipeline = Arc::new(Semaphore::new(PIPELINED));
    let mut bytes = Vec::new();
    // However it ends: the asker closed it, or asked nothing for long.
    while let Ok(Ok(length)) = tokio::time::timeout(IDLE, reader.read_u16()).await {
        bytes.resize(usize::from(length), 0);
        match tokio::time::timeout(IDLE, reader.read_exact(&mut bytes)).await {
            Ok(Ok(_)) => {}
            _ => return,
        }
        match answerer.answer(&bytes, from, point, Transport::Tcp) {
            Outcome::Answer(answer) => {
                if write(&writer, &answer).await.is_err() {
                    return;
                }
            }
            Outcome::Nothing => return,
            Outcome::Ask(task) => {
                let Ok(place) = pipeline.clone().acquire_owned().await else { return };
                let (answerer, writer) = (answerer.clone(), writer.clone());
                tokio::spawn(async move {
                    if let Some(answer) = answerer.ask(*task).await {
                        let _ = write(&writer, &answer).await;
                    }
                    drop(place);
                });
            }
        }
    }
}

/// In one write, so that it goes in one segment.
async fn write(writer: &Mutex<OwnedWriteHalf>, answer: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
    let mut bytes = Vec::with_capacity(answer.len() + 2);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(answer);
    let mut writer = writer.lock().await;
    match tokio::time::timeout(IDLE, writer.write_all(&bytes)).await {
        Ok(written) => written,
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}
