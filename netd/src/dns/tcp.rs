//! Questions by stream: several on one connection, answered as answers come (RFC 7766). All that
//! has come is read at once, and what can be answered out of memory is written at once.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener as AsyncListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::answerer::{Answerer, Arrival, Outcome, Point, Task};
use super::forward::Limits;
use super::framing::{frame, split};
use super::question::Transport;
use crate::error::{Error, Result};

/// A connection on which nothing is asked for so long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// Connections of one listener; more are closed at once.
const CONNECTIONS: usize = 512;
/// Connections of one client to a listener.
const CONNECTIONS_OF_ONE: usize = 64;
/// Questions of one connection that others are being asked.
const PIPELINED: usize = 64;
/// What is read at once.
const CHUNK: usize = 16 << 10;

/// Serves a listener until the task is aborted; connections that are open then go on until their
/// askers close them.
pub(super) fn serve(
    listener: TcpListener,
    point: Point,
    answerer: Arc<Answerer>,
) -> Result<JoinHandle<()>> {
    let listener =
        AsyncListener::from_std(listener).map_err(Error::socket("serve", "questions by TCP"))?;
    let limits = Limits::default();
    Ok(tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let place = limits.enter(from.ip(), CONNECTIONS_OF_ONE, CONNECTIONS);
                    // Without a place it is closed: one client takes nothing from the others.
                    let Some(place) = place else { continue };
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
    let (mut reader, writer) = stream.into_split();
    let writer = Arc::new(Mutex::new(writer));
    let pipeline = Arc::new(Semaphore::new(PIPELINED));
    let arrival = Arrival { from, point, transport: Transport::Tcp };
    let mut chunk = vec![0; CHUNK];
    let mut unread = Vec::new();
    // However it ends: the asker closed it, or asked nothing for long.
    while let Ok(Ok(count @ 1..)) = timeout(IDLE, reader.read(&mut chunk)).await {
        unread.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let batch = Batch::take(&mut unread, &answerer, &arrival);
        if !batch.answers.is_empty() && write(&writer, &batch.answers).await.is_err() {
            return;
        }
        for task in batch.tasks {
            let Ok(place) = pipeline.clone().acquire_owned().await else { return };
            let (answerer, writer) = (answerer.clone(), writer.clone());
            tokio::spawn(async move {
                let mut framed = Vec::new();
                if let Some(answer) = answerer.ask(task).await
                    && frame(&mut framed, &answer)
                {
                    let _ = write(&writer, &framed).await;
                }
                drop(place);
            });
        }
        if batch.ends {
            return;
        }
    }
}

/// What came of the messages that had come as a whole.
#[derive(Default)]
struct Batch {
    /// With their lengths, one after the other.
    answers: Vec<u8>,
    tasks: Vec<Task>,
    /// What came is no conversation.
    ends: bool,
}

impl Batch {
    fn take(unread: &mut Vec<u8>, answerer: &Answerer, arrival: &Arrival<'_>) -> Self {
        let mut batch = Self::default();
        let index = answerer.directory().current();
        let mut rest = unread.as_slice();
        while let Some((message, after)) = split(rest) {
            rest = after;
            match answerer.answer(&index, message, arrival) {
                Outcome::Answer(answer) => batch.ends |= !frame(&mut batch.answers, &answer),
                Outcome::Ask(task) => batch.tasks.push(*task),
                Outcome::Nothing => batch.ends = true,
            }
        }
        drop(index);
        let taken = unread.len() - rest.len();
        unread.drain(..taken);
        batch
    }
}

async fn write(writer: &Mutex<OwnedWriteHalf>, bytes: &[u8]) -> std::io::Result<()> {
    let mut writer = writer.lock().await;
    match timeout(IDLE, writer.write_all(bytes)).await {
        Ok(written) => written,
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}
