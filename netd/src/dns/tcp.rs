//! Questions by stream: several on one connection, answered as answers come (RFC 7766).

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener as AsyncListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::answerer::{Answerer, Outcome, Point};
use super::framing::{read_message, write_message};
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
    while let Ok(Ok(())) = timeout(IDLE, read_message(&mut reader, &mut bytes)).await {
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

async fn write(writer: &Mutex<OwnedWriteHalf>, answer: &[u8]) -> std::io::Result<()> {
    let mut writer = writer.lock().await;
    match timeout(IDLE, write_message(&mut *writer, answer)).await {
        Ok(written) => written,
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}
