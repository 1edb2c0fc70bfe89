//! A sink of secrets.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// A sink of secrets that keeps what it was sent, and answers with the next status.
#[derive(Debug)]
pub struct Vault {
    address: String,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Vault {
    /// Starts one; after the last of these it takes nothing more.
    ///
    /// # Panics
    /// When loopback has no port.
    pub fn start(statuses: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&taken);
        std::thread::spawn(move || {
            for status in statuses {
                let Ok((mut stream, _)) = listener.accept() else {
                    return;
                };
                let mut request = Vec::new();
                let mut bytes = [0; 4_096];
                while !request.ends_with(b"}") {
                    match stream.read(&mut bytes) {
                        Ok(read) if read > 0 => request.extend_from_slice(&bytes[..read]),
                        _ => break,
                    }
                }
                let request = String::from_utf8(request).expect("it is text");
                kept.lock().expect("nobody panics").push(request);
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { address, taken }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The requests that it was sent.
    ///
    /// # Panics
    /// When its thread did.
    pub fn taken(&self) -> Vec<String> {
        self.taken.lock().expect("nobody panics").clone()
    }
}
