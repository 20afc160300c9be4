//! Bytes that are nearly right: a kept input with some edits. Without a fuzzer that learns from
//! coverage, random bytes alone get no further than a parser's first look.

use bolero::TypeGenerator;

/// A kept input, by number, and what becomes of it.
#[derive(Debug, Clone, TypeGenerator)]
pub struct Near {
    seed: u16,
    edits: [Edit; 4],
}

#[derive(Debug, Clone, Copy, TypeGenerator)]
enum Edit {
    /// As it is.
    Nothing,
    /// One bit the other way.
    Flip { at: u16, bit: u8 },
    /// Another byte.
    Set { at: u16, byte: u8 },
    /// Another byte before.
    Insert { at: u16, byte: u8 },
    /// The end is missing.
    End { at: u16 },
    /// Some are missing.
    Cut { at: u16, count: u8 },
    /// Some come twice.
    Repeat { at: u16, count: u8 },
    /// Some are another input's.
    Splice { at: u16, seed: u16, from: u16, count: u8 },
}

impl Near {
    /// The bytes, out of the kept inputs.
    pub fn of(&self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = kept(corpus, self.seed).to_vec();
        for edit in self.edits {
            edit.make(&mut bytes, corpus);
        }
        bytes
    }
}

impl Edit {
    fn make(self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let length = bytes.len();
        if length == 0 {
            return;
        }
        let place = |at: u16| usize::from(at) % length;
        let span =
            |at: u16, count: u8| place(at)..(place(at) + usize::from(count) % 32).min(length);
        match self {
            Self::Nothing => {}
            Self::Flip { at, bit } => bytes[place(at)] ^= 1 << (bit % 8),
            Self::Set { at, byte } => bytes[place(at)] = byte,
            Self::Insert { at, byte } => bytes.insert(place(at), byte),
            Self::End { at } => bytes.truncate(place(at)),
            Self::Cut { at, count } => drop(bytes.drain(span(at, count))),
            Self::Repeat { at, count } => {
                let some = bytes[span(at, count)].to_vec();
                bytes.splice(place(at)..place(at), some);
            }
            Self::Splice { at, seed, from, count } => {
                let other = kept(corpus, seed);
                let start = usize::from(from) % (other.len() + 1);
                let end = (start + usize::from(count)).min(other.len());
                bytes.splice(span(at, count), other[start..end].iter().copied());
            }
        }
    }
}

fn kept(corpus: &[Vec<u8>], seed: u16) -> &[u8] {
    &corpus[usize::from(seed) % corpus.len()]
}
