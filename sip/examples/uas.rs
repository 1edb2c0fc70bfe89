//! The endpoint alone on a UDP socket: answers every call with the same SDP and nothing else.
//!
//! `cargo run --release -p offhook-sip --example uas -- 127.0.0.1:5060`
//!
//! What an application has to do for the endpoint, in one loop; and what signalling
//! alone costs a call, without media, conversation and books (`tests/figures rate`).

#![expect(clippy::disallowed_methods, reason = "an application has a clock")]

use std::env;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use offhook_sip::{Command, Endpoint, EndpointConfig, Event, Flow, Input, Output, Transport};

const ANSWER: &[u8] = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\n\
t=0 0\r\nm=audio 9 RTP/AVP 0\r\n";

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let socket = UdpSocket::bind(address)?;
    let local = socket.local_addr()?;
    println!("listening on {local}");
    // Real ones come from the kernel: nobody may guess tags and branches.
    let mut endpoint = Endpoint::new(EndpointConfig::default(), [1, 2, 3, 4]);
    let start = Instant::now();
    let mut room = vec![0; 65_536];
    loop {
        let wait = drain(&mut endpoint, &socket, start)?;
        socket.set_read_timeout(wait)?;
        match socket.recv_from(&mut room) {
            Ok((length, remote)) => {
                let flow = Flow {
                    transport: Transport::Udp,
                    local,
                    remote,
                };
                let bytes = &room[..length];
                endpoint.handle(start.elapsed(), Input::Packet { flow, bytes });
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                endpoint.handle(start.elapsed(), Input::Wake);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Sends what there is to send, accepts who calls, and tells how long nothing is due.
fn drain(
    endpoint: &mut Endpoint,
    socket: &UdpSocket,
    start: Instant,
) -> io::Result<Option<Duration>> {
    loop {
        match endpoint.poll() {
            Output::Transmit { flow, bytes, .. } => drop(socket.send_to(&bytes, flow.remote)?),
            Output::Event(Event::Incoming { key, .. }) => {
                let accept = Command::Accept {
                    key,
                    sdp: ANSWER.to_vec(),
                    headers: Vec::new(),
                };
                endpoint.handle(start.elapsed(), Input::Command(accept));
            }
            Output::Event(_) | Output::Locate(_) => {}
            Output::Wait(until) => {
                // No timeout is forever; zero would be refused.
                let least = Duration::from_millis(1);
                return Ok(until.map(|at| at.saturating_sub(start.elapsed()).max(least)));
            }
        }
    }
}
