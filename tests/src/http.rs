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
/// `loses` the answer to the webhook of that id keeps it to itself, and hangs up.
pub fn pass_on(
    mut daemon: impl Read + Write,
    receiver: &str,
    loses: impl Fn(&str) -> bool,
) -> Option<()> {
    loop {
        let request = message(&mut daemon)?;
        let mut there = TcpStream::connect(receiver).ok()?;
        there.write_all(&request).ok()?;
        let answer = message(&mut there)?;
        if loses(&header(&request, "webhook-id").unwrap_or_default()) {
            return None;
        }
        daemon.write_all(&answer).ok()?;
        daemon.flush().ok()?;
    }
}

/// What one header line of a message says, in lower case.
fn header(message: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(message).to_lowercase();
    let mut lines = text.lines().take_while(|line| !line.is_empty());
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map(|it| it.trim().to_owned())
}

/// One message with the body that its Content-Length says.
fn message(stream: &mut impl Read) -> Option<Vec<u8>> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4_096]);
    loop {
        if let Some(head) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            let length = header(&bytes[..head], "content-length");
            let length: usize = length.map_or(0, |it| it.parse().unwrap_or(0));
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
                pass_on(StreamOwned::new(connection, stream), &receiver, |_| false)
            });
        }
    });
    port
}
