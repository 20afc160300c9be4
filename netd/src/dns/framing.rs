//! Messages on a stream: two bytes of length, then the message (RFC 1035, section 4.2.2).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Reads the next message in place of what `message` holds.
pub(super) async fn read_message(
    from: &mut (impl AsyncRead + Unpin),
    message: &mut Vec<u8>,
) -> io::Result<()> {
    let length = from.read_u16().await?;
    message.resize(usize::from(length), 0);
    from.read_exact(message).await.map(drop)
}

/// Writes a message at once, so that it goes in one segment.
pub(super) async fn write_message(
    to: &mut (impl AsyncWrite + Unpin),
    message: &[u8],
) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    to.write_all(&framed).await
}
