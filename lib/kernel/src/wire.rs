//! Netlink's wire form: messages, attributes, nests. Knows no family; checks every length it
//! reads. All integers are in host order unless a name says `be`.

const NLMSG_HEADER: usize = 16;
const ALIGN: usize = 4;

/// The kernel allocates `NLA_F_NESTED` as the top bit of an attribute's kind.
pub const NESTED: u16 = 1 << 15;

/// `NLM_F_*` flags of a message header (include/uapi/linux/netlink.h).
pub mod flags {
    /// It is a request.
    pub const REQUEST: u16 = 0x1;
    /// Answer with an acknowledgement.
    pub const ACK: u16 = 0x4;
    /// Echo the resulting notification to the sender.
    pub const ECHO: u16 = 0x8;
    /// The dump was interrupted by a change.
    pub const DUMP_INTR: u16 = 0x10;
    /// Give the whole table.
    pub const DUMP: u16 = 0x300;
    /// Replace an existing object.
    pub const REPLACE: u16 = 0x100;
    /// Fail if the object exists.
    pub const EXCL: u16 = 0x200;
    /// Make the object.
    pub const CREATE: u16 = 0x400;
    /// Add to the end of a list.
    pub const APPEND: u16 = 0x800;
}

/// A run of messages under construction, in one buffer, to go in one send.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Batch {
    /// An empty run.
    pub fn new() -> Self {
        Self { bytes: Vec::with_capacity(1024), starts: Vec::with_capacity(8) }
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// No message yet.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// How many bytes they take.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The messages so far, as [`messages`] reads them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Begins a message: netlink header and the family's own fixed header. `REQUEST` is added.
    /// Attributes follow through the returned builder; the message ends when it is dropped.
    pub fn message(&mut self, kind: u16, flags: u16, fixed: &[u8]) -> Message<'_> {
        let start = self.bytes.len();
        self.starts.push(start);
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | flags::REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(fixed);
        pad(&mut self.bytes);
        Message { bytes: &mut self.bytes, start }
    }

    /// Numbers the messages from `first`, asks for the acknowledgement, and gives the bytes to
    /// send.
    pub(crate) fn seal(&mut self, first: u32, ack: Ack) -> &[u8] {
        let flagged = match ack {
            Ack::Last => self.starts.len().checked_sub(1),
            Ack::At(index) => Some(index),
            Ack::AsFlagged => None,
        };
        for (n, &start) in self.starts.iter().enumerate() {
            let seq = first.wrapping_add(n as u32);
            put(&mut self.bytes, start + 8, &seq.to_ne_bytes());
            if flagged == Some(n)
                && let Some(old) = self.bytes.get(start + 6..start + 8).and_then(u16_of)
            {
                put(&mut self.bytes, start + 6, &(old | flags::ACK).to_ne_bytes());
            }
        }
        &self.bytes
    }
}

/// Which messages of a batch the kernel is asked to acknowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// The last, as a barrier: errors of the others arrive before it.
    Last,
    /// This one: nf_tables ends a batch with a message that it does not acknowledge.
    At(usize),
    /// Only those whose flags say so.
    AsFlagged,
}

/// One message under construction.
#[derive(Debug)]
pub struct Message<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
}

impl Message<'_> {
    /// An attribute of raw bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let len = (value.len() + 4) as u16;
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        pad(self.bytes);
        self
    }

    /// An attribute without a value.
    pub fn flag(&mut self, kind: u16) -> &mut Self {
        self.bytes(kind, &[])
    }

    /// A byte.
    pub fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.bytes(kind, &[value])
    }

    /// A 16-bit integer in host order.
    pub fn u16(&mut self, kind: u16, value: u16) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// A 32-bit integer in host order.
    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// A 32-bit integer in network order.
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A 64-bit integer in network order.
    pub fn be64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A string with its terminating zero.
    pub fn str(&mut self, kind: u16, value: &str) -> &mut Self {
        let len = (value.len() + 5) as u16;
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        pad(self.bytes);
        self
    }

    /// A nest, flagged as one.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Message<'_>)) -> &mut Self {
        self.nest_unflagged(kind | NESTED, fill)
    }

    /// A nest without `NLA_F_NESTED`, as rtnetlink's older attributes are sent.
    pub fn nest_unflagged(&mut self, kind: u16, fill: impl FnOnce(&mut Message<'_>)) -> &mut Self {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(&mut Message { bytes: self.bytes, start: usize::MAX });
        let len = (self.bytes.len() - at) as u16;
        put(self.bytes, at, &len.to_ne_bytes());
        self
    }

    /// Raw bytes that are not an attribute, as the fixed header inside `VETH_INFO_PEER`.
    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(value);
        pad(self.bytes);
        self
    }

    /// How long the message is so far, to split long lists at 64 KiB.
    pub fn size(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        // A nest's builder has no header of its own.
        if self.start != usize::MAX {
            let len = (self.bytes.len() - self.start) as u32;
            put(self.bytes, self.start, &len.to_ne_bytes());
        }
    }
}

/// A message that was received.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub seq: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// The messages of one datagram. Stops at the first that does not fit.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let len = bytes.get(..4).and_then(u32_of)? as usize;
        let payload = bytes.get(NLMSG_HEADER..len)?;
        let message = Received {
            kind: bytes.get(4..6).and_then(u16_of)?,
            flags: bytes.get(6..8).and_then(u16_of)?,
            seq: bytes.get(8..12).and_then(u32_of)?,
            payload,
        };
        bytes = bytes.get(aligned(len)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in a run of bytes, kinds without their flag bits. Stops at the first that
/// does not fit.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = bytes.get(..2).and_then(u16_of)? as usize;
        let kind = bytes.get(2..4).and_then(u16_of)? & 0x3fff;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(aligned(len)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of a kind.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

/// A 16-bit integer in host order.
pub fn u16_of(bytes: &[u8]) -> Option<u16> {
    bytes.get(..2)?.try_into().ok().map(u16::from_ne_bytes)
}

/// A 32-bit integer in host order.
pub fn u32_of(bytes: &[u8]) -> Option<u32> {
    bytes.get(..4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// A 32-bit integer in network order.
pub fn be32_of(bytes: &[u8]) -> Option<u32> {
    bytes.get(..4)?.try_into().ok().map(u32::from_be_bytes)
}

/// A 64-bit integer in network order.
pub fn be64_of(bytes: &[u8]) -> Option<u64> {
    bytes.get(..8)?.try_into().ok().map(u64::from_be_bytes)
}

/// A string up to its terminating zero; bytes that are not UTF-8 are replaced.
pub fn str_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

fn aligned(len: usize) -> usize {
    len.div_ceil(ALIGN) * ALIGN
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(aligned(bytes.len()), 0);
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_can_be_read() {
        let mut batch = Batch::new();
        batch.message(16, flags::CREATE, &[7; 5]).u32(3, 42).nest(4, |n| {
            n.str(1, "eth0").u8(2, 9);
        });
        batch.message(17, 0, &[]).flag(1);
        let bytes = batch.seal(5, Ack::Last).to_vec();
        let read: Vec<_> = messages(&bytes).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].kind, read[0].seq, read[1].seq), (16, 5, 6));
        assert_eq!(read[0].flags, flags::CREATE | flags::REQUEST);
        assert_eq!(read[1].flags, flags::ACK | flags::REQUEST);
        let attrs = &read[0].payload[8..];
        assert_eq!(find(attrs, 3).and_then(u32_of), Some(42));
        let nest = find(attrs, 4).unwrap();
        assert_eq!(find(nest, 1).map(str_of).as_deref(), Some("eth0"));
        assert_eq!(find(nest, 2), Some(&[9][..]));
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        assert_eq!(attributes(&[200, 0, 1, 0, 1]).count(), 0);
        assert_eq!(attributes(&[0, 0, 1, 0, 1]).count(), 0);
        assert_eq!(messages(&[255; 40]).count(), 0);
        assert_eq!(messages(&[0; 40]).count(), 0);
    }
}
