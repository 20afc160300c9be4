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
    let mut framed = Vec::with_capacity(message.len() + 2);
    if !frame(&mut framed, message) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    to.write_all(&framed).await
}

/// Appends a message with its length; false for one that is too long to have one.
pub(super) fn frame(to: &mut Vec<u8>, message: &[u8]) -> bool {
    let Ok(length) = u16::try_from(message.len()) else { return false };
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(message);
    true
}

/// The first message, if it is there as a whole, and what comes after it.
pub(super) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}
