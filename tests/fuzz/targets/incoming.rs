//! The call that an application is told of, for targets that write header lines.

use std::net::SocketAddr;
use std::time::Duration;

use offhook_sip::{Endpoint, EndpointConfig, Event, Flow, Incoming, Input, Output, Transport};

/// What comes of an INVITE with these lines; `None`: it is no call.
pub fn incoming(lines: &[u8]) -> Option<Box<Incoming>> {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let flow = Flow {
        transport: Transport::Udp,
        local: address("192.0.2.2:5060"),
        remote: address("192.0.2.1:5060"),
    };
    let head: &[u8] = b"INVITE sip:x@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKf\r\n\
        From: <sip:a@b>;tag=1\r\nTo: <sip:x@192.0.2.2>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
        Contact: <sip:a@192.0.2.1>\r\nMax-Forwards: 70\r\n";
    let text = [head, lines, b"Content-Length: 0\r\n\r\n"].concat();
    let mut endpoint = Endpoint::new(EndpointConfig::default(), [1, 2, 3, 4]);
    endpoint.handle(Duration::ZERO, Input::Packet { flow, bytes: &text });
    loop {
        match endpoint.poll() {
            Output::Event(Event::Incoming { invite, .. }) => return Some(invite),
            Output::Wait(_) => return None,
            Output::Event(_) | Output::Transmit { .. } | Output::Locate(_) => {}
        }
    }
}
