//! What user space stores beside kernel objects, in libnftnl's form: type, length, value. The
//! kernel keeps it unread; `nft list` prints comments from it and learns the byte order.

use crate::key::Type;
use crate::set::Set;

/// `NFTNL_UDATA_RULE_COMMENT`, `NFTNL_UDATA_SET_ELEM_COMMENT`.
const COMMENT: u8 = 0;
/// `NFTNL_UDATA_SET_KEYBYTEORDER`.
const KEY_ORDER: u8 = 0;
/// `NFTNL_UDATA_SET_DATABYTEORDER`.
const DATA_ORDER: u8 = 1;
/// `NFTNL_UDATA_SET_COMMENT`.
const SET_COMMENT: u8 = 7;
/// nft reads no longer one back (`NFTNL_UDATA_COMMENT_MAXLEN` with its zero).
const LONGEST: usize = 127;

/// A rule's or an element's userdata.
pub(crate) fn of_comment(comment: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_text(&mut bytes, COMMENT, comment);
    bytes
}

/// The comment in a rule's or an element's userdata.
pub(crate) fn comment(mut bytes: &[u8]) -> Option<String> {
    while let [kind, len, rest @ ..] = bytes {
        let value = rest.get(..usize::from(*len))?;
        if *kind == COMMENT {
            return Some(cleat_kernel::wire::str_of(value));
        }
        bytes = rest.get(usize::from(*len)..)?;
    }
    None
}

/// A set's userdata.
pub(crate) fn of_set(set: &Set) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_order(&mut bytes, KEY_ORDER, &set.key);
    if let Some(data) = set.data.as_deref().filter(|_| !set.is_verdict_map()) {
        put_order(&mut bytes, DATA_ORDER, data);
    }
    if let Some(comment) = &set.comment {
        put_text(&mut bytes, SET_COMMENT, comment);
    }
    bytes
}

/// nft's `BYTEORDER_HOST_ENDIAN` and `BYTEORDER_BIG_ENDIAN`; a concatenation has none of its own.
fn put_order(bytes: &mut Vec<u8>, kind: u8, types: &[Type]) {
    let order: u32 = match types {
        [Type::Mark | Type::IfName] => 1,
        [_] => 2,
        _ => 0,
    };
    bytes.extend_from_slice(&[kind, 4]);
    bytes.extend_from_slice(&order.to_ne_bytes());
}

fn put_text(bytes: &mut Vec<u8>, kind: u8, text: &str) {
    let end = (0..=LONGEST.min(text.len())).rev().find(|n| text.is_char_boundary(*n));
    let kept = text.get(..end.unwrap_or(0)).unwrap_or_default();
    bytes.extend_from_slice(&[kind, kept.len() as u8 + 1]);
    bytes.extend_from_slice(kept.as_bytes());
    bytes.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_comment_is_cut_at_a_character() {
        let long = format!("{}é", "x".repeat(126));
        assert_eq!(comment(&of_comment(&long)).unwrap(), "x".repeat(126));
        assert_eq!(of_comment("ab"), [0, 3, b'a', b'b', 0]);
    }

    #[test]
    fn other_entries_before_a_comment_are_passed_over() {
        assert_eq!(comment(&[9, 2, 1, 1, 0, 2, b'x', 0]).as_deref(), Some("x"));
        assert_eq!(comment(&[9, 2, 1, 1]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = comment(&bytes);
        }
    }
}
