//! Cuts a stream into messages (RFC 3261 §18.3) and keepalives (RFC 5626 §3.5.1).
//!
//! A connection feeds what it reads and takes whole messages out; a fault means
//! that nothing after it can be trusted, so the connection ends. Memory grows
//! with what one message really holds, up to the limit given.

use core::fmt;

use crate::text;

/// What a stream holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// One message, to its last byte.
    Message(Vec<u8>),
    /// Two line ends: the peer wants to know whether we are there. Answer with one.
    Ping,
    /// One line end: the answer to a ping of ours.
    Pong,
}

/// What the answer to a [`Frame::Ping`] is.
pub const PONG: &[u8] = b"\r\n";
/// What asks for one.
pub const PING: &[u8] = b"\r\n\r\n";

/// Why a stream can be read no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingFault {
    /// The first line is neither a request line nor a status line.
    NotSip,
    /// Longer than the limit.
    TooLong,
    /// No Content-Length: where the message ends cannot be known.
    NoContentLength,
    /// A Content-Length that is no number, or two of them.
    BadContentLength,
}

impl fmt::Display for FramingFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotSip => "not SIP",
            Self::TooLong => "message too long",
            Self::NoContentLength => "no Content-Length",
            Self::BadContentLength => "bad Content-Length",
        })
    }
}

impl core::error::Error for FramingFault {}

/// Longest first line: a URI is read up to 4 kB.
const START_MAX: usize = 6144;

/// Reads one direction of a stream.
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    limit: usize,
    /// No end of the header lines before this.
    scanned: usize,
    /// Length of the message, once its header lines are there.
    length: Option<usize>,
    /// The first line was looked at.
    begun: bool,
    /// A lone line end was reported; another one makes both a ping.
    half_ping: bool,
}

impl Framer {
    /// A stream from its beginning; no message may be longer than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            limit,
            scanned: 0,
            length: None,
            begun: false,
            half_ping: false,
        }
    }

    /// Takes what was read; ask [`Framer::take`] until it has nothing before
    /// the next call, so that no more than one message waits here.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether part of a message is here, so that the rest is awaited.
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next whole thing, if there is one.
    ///
    /// # Errors
    /// The stream is beyond reading; each further call says so again.
    pub fn take(&mut self) -> Result<Option<Frame>, FramingFault> {
        if !self.begun
            && let Some(frame) = self.line_ends()
        {
            return Ok(Some(frame));
        }
        if self.length.is_none() && !self.find_length()? {
            return if self.buffer.len() > self.limit {
                Err(FramingFault::TooLong)
            } else {
                Ok(None)
            };
        }
        let Some(length) = self.length.filter(|length| *length <= self.buffer.len()) else {
            return Ok(None);
        };
        Ok(Some(Frame::Message(self.cut(length))))
    }

    /// Line ends between messages.
    fn line_ends(&mut self) -> Option<Frame> {
        let (frame, length) = match *self.buffer.as_slice() {
            [b'\r', b'\n', ..] if core::mem::take(&mut self.half_ping) => (Frame::Ping, 2),
            [b'\r', b'\n', b'\r', b'\n', ..] => (Frame::Ping, 4),
            [b'\r', b'\n', b'\r'] => return None,
            [b'\r', b'\n'] => {
                self.half_ping = true;
                (Frame::Pong, 2)
            }
            [b'\r', b'\n', ..] => (Frame::Pong, 2),
            _ => return None,
        };
        self.buffer.drain(..length);
        Some(frame)
    }

    /// Looks for the end of the header lines and what they say of the body.
    fn find_length(&mut self) -> Result<bool, FramingFault> {
        if !self.begun
            && !self.buffer.is_empty()
            && self.buffer != b"\r"
            && self.buffer != b"\r\n\r"
        {
            self.begun = true;
            self.half_ping = false;
        }
        self.check_start()?;
        let Some(head) = self.find_head() else {
            return Ok(false);
        };
        if head > self.limit {
            return Err(FramingFault::TooLong);
        }
        let lines = self.buffer.get(..head).unwrap_or_default();
        let body = content_length(lines)?;
        let length = head.checked_add(body).ok_or(FramingFault::TooLong)?;
        if length > self.limit {
            return Err(FramingFault::TooLong);
        }
        self.length = Some(length);
        Ok(true)
    }

    /// What is no SIP is known by its first line, long before its end.
    fn check_start(&self) -> Result<(), FramingFault> {
        let start = self.buffer.get(..START_MAX).unwrap_or(&self.buffer);
        let end = start.iter().position(|byte| *byte == b'\n');
        match end.and_then(|end| start.get(..end)) {
            Some(line) if self.begun && !is_start_line(line) => Err(FramingFault::NotSip),
            None if start.len() == START_MAX => Err(FramingFault::TooLong),
            Some(_) | None => Ok(()),
        }
    }

    /// Where the body begins.
    fn find_head(&mut self) -> Option<usize> {
        // The blank line may have begun in what was searched before.
        let from = self.scanned.saturating_sub(3);
        let tail = self.buffer.get(from..)?;
        let found = tail.iter().enumerate().find_map(|(at, byte)| {
            let after = tail.get(at + 1..)?;
            match (byte, after) {
                (b'\n', [b'\r', b'\n', ..]) => Some(from + at + 3),
                (b'\n', [b'\n', ..]) => Some(from + at + 2),
                _ => None,
            }
        });
        self.scanned = self.buffer.len();
        found
    }

    fn cut(&mut self, length: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(length);
        let message = core::mem::replace(&mut self.buffer, rest);
        self.scanned = 0;
        self.length = None;
        self.begun = false;
        message
    }
}

fn is_start_line(line: &[u8]) -> bool {
    const VERSION: &[u8] = b"SIP/";
    let line = text::trim(line);
    let last = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let begins = |part: &[u8]| {
        part.get(..VERSION.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(VERSION))
    };
    begins(line) || begins(last)
}

/// The one Content-Length of the header lines; blanks before its colon and a
/// folded value are legal.
fn content_length(head: &[u8]) -> Result<usize, FramingFault> {
    let mut found = None;
    let mut lines = head.split(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let (name, value) = text::split_at_first(line, b':');
        let name = text::trim(name);
        let named = name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"l");
        let Some(value) = value.filter(|_| named && !line.starts_with(b" ")) else {
            continue;
        };
        let mut value = text::trim(value);
        if value.is_empty()
            && let Some(folded) =
                lines.next_if(|next| next.starts_with(b" ") || next.starts_with(b"\t"))
        {
            value = text::trim(folded);
        }
        let length = text::decimal(value).ok_or(FramingFault::BadContentLength)?;
        if found.replace(length).is_some() {
            return Err(FramingFault::BadContentLength);
        }
    }
    let length = found.ok_or(FramingFault::NoContentLength)?;
    usize::try_from(length).map_err(|_| FramingFault::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 4096;

    fn options(lines: &str, body: &str) -> String {
        format!(
            "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\n{lines}\r\n{body}"
        )
    }

    /// What comes out when the stream arrives in pieces of `size`.
    fn frames(stream: &[u8], size: usize) -> Result<Vec<Frame>, FramingFault> {
        let mut framer = Framer::new(LIMIT);
        let mut found = Vec::new();
        for piece in stream.chunks(size.max(1)) {
            framer.push(piece);
            while let Some(frame) = framer.take()? {
                found.push(frame);
            }
        }
        Ok(found)
    }

    fn messages(stream: &str, size: usize) -> Result<Vec<String>, FramingFault> {
        let text = |frame: &Frame| match frame {
            Frame::Message(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Frame::Ping | Frame::Pong => None,
        };
        Ok(frames(stream.as_bytes(), size)?
            .iter()
            .filter_map(text)
            .collect())
    }

    #[test]
    fn messages_are_the_same_however_the_stream_is_cut() {
        let all = [
            options("Content-Length: 0\r\n", ""),
            options("l:4\r\n", "v=0\n"),
            options("CONTENT-LENGTH \t: 3\r\nX: y\r\n", "\r\n\r"),
            options("Content-Length:\r\n  2\r\n", "ab"),
            "SIP/2.0 200 OK\r\nl: 0\r\n\r\n".to_owned(),
            options("Content-Length: 0\r\n", "").replace("\r\n", "\n"),
        ];
        let stream = format!("\r\n\r\n{}", all.join("\r\n"));
        for size in 1..=stream.len() {
            assert_eq!(
                messages(&stream, size).as_deref(),
                Ok(all.as_slice()),
                "{size}"
            );
        }
    }

    #[test]
    fn a_ping_is_told_from_a_pong_even_when_it_comes_in_pieces() {
        let table: &[(&[&[u8]], &[Frame])] = &[
            (&[b"\r\n\r\n"], &[Frame::Ping]),
            (&[b"\r\n"], &[Frame::Pong]),
            (&[b"\r\n", b"\r\n"], &[Frame::Pong, Frame::Ping]),
            (&[b"\r", b"\n\r\n"], &[Frame::Ping]),
            (&[b"\r\n\r", b"\n"], &[Frame::Ping]),
        ];
        for (pieces, expected) in table {
            let mut framer = Framer::new(LIMIT);
            let mut found = Vec::new();
            for piece in *pieces {
                framer.push(piece);
                while let Ok(Some(frame)) = framer.take() {
                    found.push(frame);
                }
            }
            assert_eq!(&found, expected, "{pieces:?}");
        }
    }

    #[test]
    fn a_stream_that_cannot_be_read_is_refused_with_its_reason() {
        let long = options(&format!("X: {}\r\n", "y".repeat(2 * LIMIT)), "");
        let table = [
            (
                "GET / HTTP/1.1\r\nHost: x\r\n".to_owned(),
                FramingFault::NotSip,
            ),
            ("\0\u{1}\u{2}\n".to_owned(), FramingFault::NotSip),
            (options("", ""), FramingFault::NoContentLength),
            (options("l: x\r\n", ""), FramingFault::BadContentLength),
            (options("l: -1\r\n", ""), FramingFault::BadContentLength),
            (
                options("l: 0\r\nl: 0\r\n", ""),
                FramingFault::BadContentLength,
            ),
            (options("l: 5000\r\n", ""), FramingFault::TooLong),
            (
                options("l: 18446744073709551615\r\n", ""),
                FramingFault::TooLong,
            ),
            (
                options("l: 18446744073709551616\r\n", ""),
                FramingFault::BadContentLength,
            ),
            (long, FramingFault::TooLong),
            ("x".repeat(2 * LIMIT), FramingFault::TooLong),
        ];
        for (stream, fault) in table {
            for size in [1, 7, 100_000] {
                assert_eq!(
                    messages(&stream, size),
                    Err(fault),
                    "{stream:.60} by {size}"
                );
            }
        }
    }

    #[test]
    fn a_byte_at_a_time_costs_no_more_than_the_message() {
        let mut framer = Framer::new(LIMIT);
        let stream = options(&format!("X: {}\r\n", "y".repeat(3000)), "");
        for byte in stream.as_bytes() {
            framer.push(&[*byte]);
            let _ = framer.take();
        }
        assert!(framer.buffer.capacity() <= 2 * LIMIT);
    }
}
