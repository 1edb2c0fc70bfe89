//! Carries the secrets of callers from the media edge to their sinks: one signed
//! POST each, never repeated, and nothing of it kept.
//!
//! The keys are in one buffer that is written to the socket and erased; no HTTP
//! library holds a copy, no log, store or journal ever sees them. A try that may
//! have reached the sink is not tried again: what did not arrive is collected
//! again from the caller. Called by the decision thread, which it never holds up.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use offhook_core::ActionId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use zeroize::{Zeroize, Zeroizing};

use crate::clock;
use crate::media::Secret;
use crate::settings::{self, SinkAddress, Tls};
use crate::switchboard::Place;
use crate::tray::{Inbound, Tray};
use crate::upstream::signature;

/// Octets of a request: head, id and keys are far shorter.
const REQUEST: usize = 4_096;
/// Octets of stack that signing uses, with plenty to spare.
const STACK: usize = 32 * 1_024;
/// Octets of the answer that are read: its first line decides.
const ANSWER: usize = 1_024;

/// One sink and what signs for it.
struct Sink {
    settings: settings::Sink,
    secret: settings::Secret,
    /// Knows whom to trust.
    connector: TlsConnector,
    /// Why the last try failed.
    failing: Mutex<Option<String>>,
}

/// Carries secrets.
pub struct Courier {
    sinks: BTreeMap<String, Arc<Sink>>,
    runtime: Handle,
    tray: Tray,
}

impl Courier {
    /// For the sinks of the box, to whom we show the certificate of `tls`.
    ///
    /// # Errors
    /// The key of a sink is not to be had, or a certificate.
    pub fn new(
        sinks: &[settings::Sink],
        tls: Option<&Tls>,
        runtime: Handle,
        tray: Tray,
    ) -> io::Result<Self> {
        let known = |settings: &settings::Sink| {
            let secret = settings.secret.secret()?;
            let authorities = settings.authorities.as_deref();
            let client = Tls::client_to(tls, authorities).map_err(io::Error::other)?;
            let sink = Sink {
                settings: settings.clone(),
                secret,
                connector: TlsConnector::from(client),
                failing: Mutex::new(None),
            };
            Ok((settings.name.clone(), Arc::new(sink)))
        };
        Ok(Self {
            sinks: sinks.iter().map(known).collect::<io::Result<_>>()?,
            runtime,
            tray,
        })
    }

    /// Every sink, by name, and why the last try failed, if it did.
    pub fn failing(&self) -> impl Iterator<Item = (&str, Option<String>)> {
        let failing = |sink: &Sink| {
            let failing = sink.failing.lock();
            failing.unwrap_or_else(PoisonError::into_inner).clone()
        };
        let sinks = self.sinks.iter();
        sinks.map(move |(name, sink)| (name.as_str(), failing(sink)))
    }

    /// Sends a secret on its way, under this id; what came of it goes into the
    /// tray. False when there is no such sink.
    pub fn carry(&self, place: Place, sink: &str, id: ActionId, secret: Secret) -> bool {
        let Some(sink) = self.sinks.get(sink).map(Arc::clone) else {
            return false;
        };
        let tray = self.tray.clone();
        self.runtime.spawn(async move {
            let timeout = sink.settings.timeout;
            let carried = tokio::time::timeout(timeout, deliver(&sink, id, secret));
            let result = carried
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            if let Err(error) = &result {
                tracing::error!(message = "secret_not_taken", CALL_ID = %place.0,
                    sink = sink.settings.name, %error);
            }
            let failing = result.as_ref().err().map(ToString::to_string);
            *sink.failing.lock().unwrap_or_else(PoisonError::into_inner) = failing;
            let told = Inbound::HandedOver(place, result.is_ok());
            // The tray may be full for a moment: the conversation waits for this.
            let _ = tokio::task::spawn_blocking(move || tray.put(told)).await;
        });
        true
    }
}

/// One try.
async fn deliver(sink: &Sink, id: ActionId, secret: Secret) -> io::Result<()> {
    match &sink.settings.address {
        SinkAddress::Local(path) => {
            let stream = UnixStream::connect(path).await?;
            post(stream, "localhost", "/", sink, id, secret).await
        }
        SinkAddress::Net {
            tls,
            host,
            port,
            path,
        } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            if !tls {
                return post(stream, host, path, sink, id, secret).await;
            }
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            let stream = sink.connector.connect(name, stream).await?;
            post(stream, host, path, sink, id, secret).await
        }
    }
}

/// Writes the request and reads whether it was taken.
async fn post(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    path: &str,
    sink: &Sink,
    id: ActionId,
    secret: Secret,
) -> io::Result<()> {
    let request = request(host, path, sink, id, &secret);
    drop(secret);
    scrub_stack();
    let request = request?;
    stream.write_all(&request).await?;
    drop(request);
    stream.flush().await?;
    let mut answer = [0; ANSWER];
    let mut read = 0;
    while read < ANSWER && !answer[..read].contains(&b'\n') {
        match stream.read(&mut answer[read..]).await? {
            0 => break,
            more => read += more,
        }
    }
    match status(&answer[..read]) {
        Some(200..=299) => Ok(()),
        Some(status) => Err(io::Error::other(format!("the sink answered {status}"))),
        None => Err(io::Error::other("the sink did not answer in HTTP")),
    }
}

/// Head and body in one buffer that never grows, so that no copy is left behind.
fn request(
    host: &str,
    path: &str,
    sink: &Sink,
    id: ActionId,
    secret: &Secret,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut body = Zeroizing::new(Vec::with_capacity(REQUEST));
    write!(
        body,
        "{{\"id\":\"{id}\",\"conversation\":\"{}\",\"keys\":\"",
        id.conversation
    )?;
    body.extend_from_slice(secret);
    body.extend_from_slice(b"\"}");
    let (text, timestamp) = (id.to_string(), clock::wall().as_secs());
    let signed = signature::sign(std::slice::from_ref(&sink.secret), &text, timestamp, &body);
    let mut request = Zeroizing::new(Vec::with_capacity(REQUEST));
    write!(
        request,
        "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         user-agent: offhook/{}\r\nconnection: close\r\nidempotency-key: {text}\r\n\
         {}: {text}\r\n{}: {timestamp}\r\n{}: {signed}\r\ncontent-length: {}\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
        signature::ID,
        signature::TIMESTAMP,
        signature::SIGNATURE,
        body.len(),
    )?;
    if request.len() + body.len() > REQUEST {
        return Err(io::Error::other("the address of the sink is too long"));
    }
    request.extend_from_slice(&body);
    Ok(request)
}

/// Erases what the signing has left on the stack: the hash keeps its last block
/// there, and does not erase it itself.
#[inline(never)]
fn scrub_stack() {
    [0u8; STACK].zeroize();
}

/// The status of an answer (RFC 9112 §4).
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let rest = line.strip_prefix("HTTP/1.")?;
    rest.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_in_http_has_a_status() {
        let rows: [(&[u8], Option<u16>); 5] = [
            (b"HTTP/1.1 204 No Content\r\n", Some(204)),
            (b"HTTP/1.0 500\r\n", Some(500)),
            (b"HTTP/2 200\r\n", None),
            (b"", None),
            (b"\xff\xff", None),
        ];
        for (answer, expected) in rows {
            assert_eq!(status(answer), expected, "{answer:?}");
        }
    }
}
