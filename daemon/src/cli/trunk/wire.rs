//! The way of a trunk's test: a UDP socket, or a stream that is read in short turns.
//! Or, to be called, a socket that anybody may send to.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use offhook_sip::framing::{Frame, Framer};
use offhook_sip::{Flow, Transport};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::super::agent::tell_errors;
use crate::clock;
use crate::settings::Tls;

/// A stream that is not there by then is not there.
const PATIENCE: Duration = Duration::from_secs(5);
/// An alert that follows the handshake is here by then.
const OBJECTION: Duration = Duration::from_millis(300);
/// How long one look for something to read takes at most.
const TURN: Duration = Duration::from_millis(4);
const MESSAGE_MAX: usize = 65_535;

trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

enum Link {
    Datagrams(UdpSocket),
    /// Anybody's: the flow is that of what came last.
    Open(UdpSocket),
    Stream(Box<dyn Duplex>, Box<Framer>),
}

/// The connection.
pub(super) struct Wire {
    link: Link,
    pub(super) flow: Flow,
    /// A peer that closed, or a machine that said that nobody listens.
    pub(super) gone: Option<String>,
    /// TLS version and cipher, of a TLS stream.
    pub(super) secured: Option<String>,
}

/// With TLS 1.3 a server judges our certificate when we take the handshake for done
/// (RFC 8446 §4.4.2.4): its alert comes at once, or not at all.
fn hear_objection(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> Result<(), String> {
    let end = clock::now() + OBJECTION;
    while clock::now() < end {
        match stream.read(&mut [0; 1]) {
            Ok(0) => return Err("TLS: the peer closed the connection".to_owned()),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(error.to_string());
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(format!("TLS: {error}"));
            }
            Err(_) => {}
        }
    }
    Ok(())
}

impl Wire {
    /// Opens it.
    ///
    /// # Errors
    /// Nobody is there, or the certificate proves nothing, in the words of TLS.
    pub(super) fn open(
        transport: Transport,
        local: IpAddr,
        remote: SocketAddr,
        name: &str,
        tls: Option<&Tls>,
    ) -> Result<Self, String> {
        let told = |error: io::Error| error.to_string();
        if transport == Transport::Udp {
            let socket = UdpSocket::bind((local, 0)).map_err(told)?;
            tell_errors(&socket);
            socket.set_read_timeout(Some(TURN)).map_err(told)?;
            let local = socket.local_addr().map_err(told)?;
            return Ok(Self::new(Link::Datagrams(socket), transport, local, remote));
        }
        let stream = TcpStream::connect_timeout(&remote, PATIENCE).map_err(told)?;
        let local = stream.local_addr().map_err(told)?;
        stream.set_nodelay(true).map_err(told)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(told)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
        let framer = Box::new(Framer::new(MESSAGE_MAX));
        if transport == Transport::Tcp {
            stream.set_read_timeout(Some(TURN)).map_err(told)?;
            let link = Link::Stream(Box::new(stream), framer);
            return Ok(Self::new(link, transport, local, remote));
        }
        let config = Tls::client(tls).map_err(|error| error.to_string())?;
        let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
        let connection = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(told)?;
        }
        stream.sock.set_read_timeout(Some(TURN)).map_err(told)?;
        hear_objection(&mut stream)?;
        let version = stream.conn.protocol_version();
        let cipher = stream.conn.negotiated_cipher_suite();
        let secured = format!(
            "{} {}",
            version.map_or("TLS", |version| version.as_str().unwrap_or("TLS")),
            cipher.map_or("", |suite| suite.suite().as_str().unwrap_or(""))
        );
        let link = Link::Stream(Box::new(stream), framer);
        let mut wire = Self::new(link, transport, local, remote);
        wire.secured = Some(secured);
        Ok(wire)
    }

    /// Waits where anybody may send.
    ///
    /// # Errors
    /// Somebody else does.
    pub(super) fn listen(address: SocketAddr) -> Result<Self, String> {
        let told = |error: io::Error| error.to_string();
        let socket = UdpSocket::bind(address).map_err(told)?;
        socket.set_read_timeout(Some(TURN)).map_err(told)?;
        let local = socket.local_addr().map_err(told)?;
        Ok(Self::new(Link::Open(socket), Transport::Udp, local, local))
    }

    fn new(link: Link, transport: Transport, local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            link,
            flow: Flow {
                transport,
                local,
                remote,
            },
            gone: None,
            secured: None,
        }
    }

    /// A stream has one far end.
    pub(super) fn send(&mut self, remote: SocketAddr, bytes: &[u8]) {
        let sent = match &mut self.link {
            Link::Datagrams(socket) | Link::Open(socket) => socket.send_to(bytes, remote).map(drop),
            Link::Stream(stream, _) => stream.write_all(bytes).and_then(|()| stream.flush()),
        };
        if let Err(error) = sent {
            self.gone.get_or_insert(error.to_string());
        }
    }

    /// The next message and where it came from, if one comes within a turn.
    pub(super) fn next(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let far = self.flow.remote;
        let mut buffer = vec![0; MESSAGE_MAX];
        let read = match &mut self.link {
            Link::Datagrams(socket) => socket.recv_from(&mut buffer),
            Link::Open(socket) => socket.recv_from(&mut buffer).inspect(|(_, from)| {
                self.flow.remote = *from;
            }),
            Link::Stream(stream, framer) => {
                if let Ok(Some(Frame::Message(bytes))) = framer.take() {
                    return Some((far, bytes));
                }
                stream.read(&mut buffer).map(|length| (length, far))
            }
        };
        match (read, &mut self.link) {
            (Ok((length, from)), Link::Datagrams(_) | Link::Open(_)) => {
                buffer.truncate(length);
                Some((from, buffer))
            }
            (Ok((0, _)), Link::Stream(..)) => {
                self.gone
                    .get_or_insert("the peer closed the connection".to_owned());
                None
            }
            (Ok((length, _)), Link::Stream(_, framer)) => {
                framer.push(&buffer[..length]);
                match framer.take() {
                    Ok(Some(Frame::Message(bytes))) => Some((far, bytes)),
                    _ => None,
                }
            }
            (Err(error), _) => {
                let waits = matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                );
                if !waits {
                    self.gone.get_or_insert(error.to_string());
                }
                None
            }
        }
    }
}
