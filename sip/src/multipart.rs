//! Bodies in several parts (RFC 2046 §5.1, RFC 5621): finds the SDP beside which a
//! carrier has put what only the telephone network reads (ISUP, a location). It
//! reads nothing else of them. Called for `multipart/…` by [`crate::message`].

use crate::headers::Params;
use crate::text;

/// Parts that are looked at.
const PARTS_MAX: usize = 16;
/// Longest boundary (RFC 2046 §5.1.1).
const BOUNDARY_MAX: usize = 70;

/// The part of `body` that is SDP, where `kind` is `multipart/…` with its boundary.
pub(crate) fn sdp_part<'v>(kind: &[u8], body: &'v [u8]) -> Option<&'v [u8]> {
    let (kind, params) = text::split_at_first(kind, b';');
    let whole = text::trim(kind).get(..10)?;
    if !whole.eq_ignore_ascii_case(b"multipart/") {
        return None;
    }
    let boundary = Params::parse(params?)?.value(b"boundary")?;
    let boundary = text::unquote(boundary);
    let fits = !boundary.is_empty() && boundary.len() <= BOUNDARY_MAX;
    let delimiter = fits.then(|| [b"--", boundary.as_bytes()].concat())?;
    let mut rest = after_delimiter(body, &delimiter)?.1;
    for _ in 0..PARTS_MAX {
        // Two dashes after the boundary end it all.
        if rest.starts_with(b"--") {
            return None;
        }
        let (part, next) = after_delimiter(rest, &delimiter)?;
        if let Some(sdp) = sdp_of(part) {
            return Some(sdp);
        }
        rest = next;
    }
    None
}

/// What stands before the next line that begins with the delimiter, and what
/// follows the delimiter there.
fn after_delimiter<'v>(bytes: &'v [u8], delimiter: &[u8]) -> Option<(&'v [u8], &'v [u8])> {
    let mut from = 0;
    loop {
        let line = bytes.get(from..)?;
        if let Some(rest) = line.strip_prefix(delimiter) {
            return Some((bytes.get(..from)?, rest));
        }
        from += line.iter().position(|byte| *byte == b'\n')? + 1;
    }
}

/// The content of a part, without the line end before the delimiter, if it is SDP.
fn sdp_of(part: &[u8]) -> Option<&[u8]> {
    let mut rest = part;
    let mut is_sdp = false;
    // What is left of the delimiter's own line comes first.
    for first in [true].into_iter().chain(core::iter::repeat(false)) {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = text::trim(rest.get(..end)?);
        rest = rest.get(end + 1..)?;
        if line.is_empty() && !first {
            break;
        }
        let (name, value) = text::split_at_first(line, b':');
        if text::trim(name).eq_ignore_ascii_case(b"Content-Type") {
            let (kind, _) = text::split_at_first(value?, b';');
            is_sdp = text::trim(kind).eq_ignore_ascii_case(b"application/sdp");
        }
    }
    let content = rest.strip_suffix(b"\n").unwrap_or(rest);
    let content = content.strip_suffix(b"\r").unwrap_or(content);
    (is_sdp && !content.is_empty()).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &[u8] = b"multipart/mixed; boundary=\"a b\"";
    const BODY: &[u8] = b"preamble\r\n--a b\r\nContent-Type: application/ISUP;version=nxv3\r\n\
        Content-Disposition: signal;handling=optional\r\n\r\n\x01\x00\x49\r\n--a b\r\n\
        content-type : application/sdp\r\n\r\nv=0\r\no=- 1 1 IN IP4 192.0.2.1\r\n\r\n--a b--\r\n";

    #[test]
    fn the_sdp_is_found_beside_what_the_network_says() {
        let sdp = sdp_part(KIND, BODY).expect("there is one");
        assert_eq!(sdp, b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\n");
    }

    #[test]
    fn what_is_not_whole_has_no_sdp() {
        for kind in [
            "multipart/mixed",
            "multipart/mixed;boundary=",
            "text/plain;boundary=\"a b\"",
        ] {
            assert_eq!(sdp_part(kind.as_bytes(), BODY), None, "{kind}");
        }
        for cut in 0..BODY.len() - 9 {
            assert_eq!(sdp_part(KIND, &BODY[..cut]), None, "cut at {cut}");
        }
        let many = b"--a b\r\n\r\nx\r\n".repeat(PARTS_MAX + 1);
        assert_eq!(
            sdp_part(KIND, &[&many, BODY].concat()),
            None,
            "one of too many parts"
        );
    }
}
