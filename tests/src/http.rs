//! HTTP as far as the tests stand between the daemon and a receiver: messages passed on
//! whole, behind TLS where the test wants it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Passes requests on to a receiver, and its answers back, until either is gone. Who
/// `loses` an answer keeps it to itself, and hangs up.
pub fn pass_on(
    mut daemon: impl Read + Write,
    receiver: &str,
    loses: impl Fn() -> bool,
) -> Option<()> {
    loop {
        let request = message(&mut daemon)?;
        let mut there = TcpStream::connect(receiver).ok()?;
        there.write_all(&request).ok()?;
        let answer = message(&mut there)?;
        if loses() {
            return None;
        }
        daemon.write_all(&answer).ok()?;
        daemon.flush().ok()?;
    }
}

/// One message with the body that its Content-Length says.
fn message(stream: &mut impl Read) -> Option<Vec<u8>> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4_096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some(head) = text.find("\r\n\r\n") {
            let length = text[..head]
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |it| it.trim().parse().unwrap_or(0));
            if bytes.len() >= head + 4 + length {
                return Some(bytes);
            }
        }
        match stream.read(&mut piece) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&piece[..read]),
            _ => return None,
        }
    }
}

/// Stands before a receiver and speaks TLS with this certificate; its port.
///
/// # Panics
/// When the certificate or the key is none, or loopback has no port.
pub fn tls_front((certificate, key): &(String, String), receiver: String) -> u16 {
    let chain = CertificateDer::pem_file_iter(certificate).expect("a certificate");
    let chain = chain.collect::<Result<_, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they belong together");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, receiver) = (Arc::clone(&config), receiver.clone());
            thread::spawn(move || {
                let connection = ServerConnection::new(config).ok()?;
                pass_on(StreamOwned::new(connection, stream), &receiver, || false)
            });
        }
    });
    port
}
