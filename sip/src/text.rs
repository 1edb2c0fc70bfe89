//! Small operations on header bytes: trimming, quoting, decimals, lists.
//!
//! Nothing here knows a header by name and nothing allocates except
//! [`decode`] on bytes that are not UTF-8. Called by every parser in the crate.

use std::borrow::Cow;

use memchr::{memchr, memchr3};

/// Which bytes may stand in a `token` (RFC 3261 §25.1).
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
            );
        byte += 1;
    }
    table
};

/// White space inside an unfolded header value.
pub(crate) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Cuts white space at both ends.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_blank(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_blank(*last)
    {
        bytes = rest;
    }
    bytes
}

/// A byte of `token`.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Whether the bytes are a non-empty `token`.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// A decimal number; `None` when empty, not all digits, or above `u64`.
pub(crate) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Text of header bytes: UTF-8 as it is, anything else read as Latin-1.
pub(crate) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()),
    }
}

/// Length of the quoted string that `bytes` starts with, quotes included;
/// `None` when it is never closed.
pub(crate) fn quoted_length(bytes: &[u8]) -> Option<usize> {
    let mut escaped = false;
    for (index, byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(index + 1),
            _ => {}
        }
    }
    None
}

/// The inside of a quoted string with its escapes resolved; other text as it is.
pub(crate) fn unquote(bytes: &[u8]) -> Cow<'_, str> {
    let Some(inner) = bytes
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
    else {
        return decode(bytes);
    };
    if !inner.contains(&b'\\') {
        return decode(inner);
    }
    let mut plain = Vec::with_capacity(inner.len());
    let mut escaped = false;
    for byte in inner {
        if !escaped && *byte == b'\\' {
            escaped = true;
        } else {
            plain.push(*byte);
            escaped = false;
        }
    }
    Cow::Owned(decode(&plain).into_owned())
}

/// Position of the first `wanted` outside quoted strings and `<…>`;
/// `Err` when a quote is never closed.
pub(crate) fn find_outside(bytes: &[u8], wanted: u8) -> Result<Option<usize>, Unbalanced> {
    // Most values have neither quotes nor brackets before it.
    let Some(mut index) = memchr3(wanted, b'"', b'<', bytes) else {
        return Ok(None);
    };
    let mut bracketed = false;
    while let Some(byte) = bytes.get(index) {
        match byte {
            byte if *byte == wanted && !bracketed => return Ok(Some(index)),
            b'"' if !bracketed => {
                let quoted = bytes.get(index..).unwrap_or_default();
                index += quoted_length(quoted).ok_or(Unbalanced)?;
                continue;
            }
            b'<' => bracketed = true,
            b'>' => bracketed = false,
            _ => {}
        }
        index += 1;
    }
    Ok(None)
}

/// A quoted string that has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unbalanced;

/// The elements of a comma-separated header value, trimmed.
pub(crate) fn elements(value: &[u8]) -> Elements<'_> {
    Elements { rest: Some(value) }
}

/// Iterator of [`elements`]; an unclosed quote makes the rest one `Err` item.
#[derive(Clone, Debug)]
pub(crate) struct Elements<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<&'a [u8], Unbalanced>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest?;
        match find_outside(rest, b',') {
            Ok(Some(comma)) => {
                self.rest = rest.get(comma + 1..);
                Some(Ok(trim(rest.get(..comma).unwrap_or_default())))
            }
            Ok(None) => {
                self.rest = None;
                Some(Ok(trim(rest)))
            }
            Err(unbalanced) => {
                self.rest = None;
                Some(Err(unbalanced))
            }
        }
    }
}

/// The bytes before and after the first `separator`, or all and `None`.
pub(crate) fn split_at_first(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match memchr(separator, bytes) {
        Some(at) => {
            let (head, tail) = bytes.split_at(at);
            (head, tail.get(1..))
        }
        None => (bytes, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quotes_and_brackets_do_not_split_a_list() {
        let list: Vec<_> = elements(br#""a, \"b" <sip:x,y@z>;p=1 , <sip:c@d>"#)
            .map(|element| element.expect("balanced"))
            .collect();
        assert_eq!(
            list,
            [
                br#""a, \"b" <sip:x,y@z>;p=1"#.as_slice(),
                b"<sip:c@d>".as_slice()
            ]
        );
    }

    #[test]
    fn an_unclosed_quote_is_an_error_and_ends_the_list() {
        let mut list = elements(b"a, \"b, c");
        assert_eq!(list.next(), Some(Ok(b"a".as_slice())));
        assert_eq!(list.next(), Some(Err(Unbalanced)));
        assert_eq!(list.next(), None);
    }

    #[test]
    fn decimals_above_64_bits_are_refused() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(decimal(b"18446744073709551616"), None);
        assert_eq!(decimal(b"-1"), None);
        assert_eq!(decimal(b""), None);
    }

    #[test]
    fn latin_1_becomes_text_and_escapes_are_resolved() {
        assert_eq!(decode(b"J\xf6rg"), "Jörg");
        assert_eq!(unquote(br#""a \"b\\""#), r#"a "b\"#);
    }
}
