//! The client's side of the control socket: one connection per request, as
//! `curl --unix-socket` would make it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use axum::http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::words::Failure;

/// Bytes of an answer; a timeline of hours has a few hundred kilobytes.
const ANSWER_MAX: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody answers at the socket.
    Unreachable(PathBuf, io::Error),
    /// The daemon said no.
    Refused(StatusCode, String),
    /// What came is not what this version understands.
    Garbled(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(path, error) => {
                write!(f, "no daemon answers at {}: {error}", path.display())
            }
            Self::Refused(_, reason) => f.write_str(reason),
            Self::Garbled(what) => write!(f, "the daemon's answer is not understood: {what}"),
        }
    }
}

impl std::error::Error for ClientError {}

/// Talks to the daemon at one socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the daemon at that socket; nothing is opened yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks for a value.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, None).await
    }

    /// Orders something.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        order: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(order).map_err(garbled)?;
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Sends octets as they are.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        octets: Vec<u8>,
    ) -> Result<T, ClientError> {
        self.ask(Method::POST, path, Some(octets)).await
    }

    /// Reads octets as they come until there are no more or `each` says to stop.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn download(
        &self,
        path: &str,
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), ClientError> {
        let mut body = self.send(Method::GET, path, None).await?;
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(garbled)?.into_data()
                && !each(&data)
            {
                break;
            }
        }
        Ok(())
    }

    /// Ends something.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::DELETE, path, None).await
    }

    /// Reads a stream of lines until it ends or `each` says to stop.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn lines(
        &self,
        path: &str,
        mut each: impl FnMut(&str) -> bool,
    ) -> Result<(), ClientError> {
        let mut body = self.send(Method::GET, path, None).await?;
        let mut waiting: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(garbled)?.into_data() else {
                continue;
            };
            waiting.extend_from_slice(&data);
            while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = waiting.drain(..=end).collect();
                if !each(String::from_utf8_lossy(&line).trim_end()) {
                    return Ok(());
                }
            }
            if waiting.len() > ANSWER_MAX {
                return Err(garbled("a line without an end"));
            }
        }
        Ok(())
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, ClientError> {
        let body = self.send(method, path, body).await?;
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        let bytes = body.map_err(garbled)?.to_bytes();
        serde_json::from_slice(&bytes).map_err(garbled)
    }

    /// The body of a good answer.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Incoming, ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| ClientError::Unreachable(self.socket.clone(), error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(garbled)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "offhook")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(garbled)?;
        let response = sender.send_request(request).await.map_err(garbled)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let body = Limited::new(response.into_body(), ANSWER_MAX)
            .collect()
            .await;
        let bytes = body.map_err(garbled)?.to_bytes();
        let failure: Failure = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Failure::new(format!("the daemon answers {status}")));
        Err(ClientError::Refused(status, failure.error))
    }
}

fn garbled(what: impl fmt::Display) -> ClientError {
    ClientError::Garbled(what.to_string())
}

/// An id or part of one as a step of a path.
pub fn path_step(text: &str) -> String {
    use std::fmt::Write as _;
    let mut step = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            step.push(char::from(byte));
        } else {
            write!(step, "%{byte:02X}").expect("a String takes all");
        }
    }
    step
}
