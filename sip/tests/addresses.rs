//! Where things go and what we say where we are: ports of a Via, local and advertised
//! addresses, routes. One test for each that other stacks got wrong.

mod support;

use offhook_sip::{Advertise, Command, EndpointConfig, Flow, Transport, host_port};
use support::*;

#[test]
fn without_rport_the_answer_goes_to_the_port_of_the_via() {
    let mut driven = Driven::new();
    let text = request("OPTIONS", 1, "1", "", "", b"").replace(";rport", "");
    let source = flow("192.0.2.1:5060", "198.51.100.7:40000");
    driven.packet_on(source, text.as_bytes());
    let text = request("OPTIONS", 2, "2", "", "", b"");
    driven.packet_on(source, text.as_bytes());
    let ports: Vec<_> = driven
        .sent
        .iter()
        .map(|(_, flow, _)| flow.remote.port())
        .collect();
    assert_eq!(ports, [5060, 40_000]);
    assert!(header(&driven.sent[1].2, "Via").ends_with(";rport=40000;received=198.51.100.7"));
}

#[test]
fn requests_in_a_dialog_leave_by_the_address_it_came_in_on() {
    let mut driven = Driven::new();
    let second = flow("192.0.2.2:5062", "198.51.100.7:5060");
    driven.packet_on(second, invite("1").as_bytes());
    let key = driven.incoming_key();
    accept(&mut driven, key);
    let ok = driven.take_sent().remove(0);
    assert_eq!(header(&ok, "Contact"), "<sip:offhook@192.0.2.2:5062>");
    let ours = tag(header(&ok, "To")).to_owned();
    driven.packet_on(second, request("ACK", 1, "2", &ours, "", b"").as_bytes());
    driven.command(Command::Hangup { key, reason: None });
    let (_, flow, bye) = driven.sent.pop().expect("BYE");
    assert_eq!(flow.local, second.local);
    assert!(header(&bye, "Via").starts_with("SIP/2.0/UDP 192.0.2.2:5062;branch="));
}

#[test]
fn an_advertised_address_replaces_the_sockets_own_where_it_is_needed() {
    // Who listens, whether peers nearby are told too, what a peer at 192.0.2.2 sees.
    let rows = [
        ("192.0.2.1:5060", false, "sip.example.com:15060"),
        ("0.0.0.0:5060", false, "sip.example.com:15060"),
        ("0.0.0.0:5061", true, "192.0.2.1:5060"),
        ("192.0.2.7:5060", true, "192.0.2.1:5060"),
    ];
    for (local, nearby, expected) in rows {
        let mut driven = Driven::with(EndpointConfig {
            advertise: vec![Advertise {
                transport: Transport::Udp,
                local: local.parse().expect("address"),
                host_port: "sip.example.com:15060".into(),
                nearby,
            }],
            ..EndpointConfig::default()
        });
        driven.dial();
        let invite = driven.take_sent().remove(0);
        let contact = format!("<sip:offhook@{expected}>");
        assert_eq!(header(&invite, "Contact"), contact, "{local}");
        assert!(header(&invite, "Via").contains(&format!(" {expected};")));
    }
}

#[test]
fn a_peer_nearby_is_told_the_sockets_own_address() {
    let entry = |nearby| Advertise {
        transport: Transport::Udp,
        local: "0.0.0.0:5060".parse().expect("address"),
        host_port: "203.0.113.10:5060".into(),
        nearby,
    };
    let seen = |remote: &str, nearby| {
        let flow = Flow {
            transport: Transport::Udp,
            local: "192.168.1.1:5060".parse().expect("address"),
            remote: remote.parse().expect("address"),
        };
        host_port(&[entry(nearby)], &flow)
    };
    assert_eq!(seen("192.168.1.9:5060", false), "192.168.1.1:5060");
    assert_eq!(seen("192.168.1.9:5060", true), "203.0.113.10:5060");
    assert_eq!(seen("198.51.100.9:5060", false), "203.0.113.10:5060");
}

#[test]
fn routes_are_kept_reversed_and_strict_routers_obeyed() {
    let mut driven = Driven::new();
    let key = driven.dial();
    let invite = driven.take_sent().remove(0);
    let lines = format!("{CONTACT}Record-Route: <sip:198.51.100.9;lr>, <sip:198.51.100.8>\r\n");
    driven.packet(&response(&invite, "200 OK", "far", &lines, ANSWER));
    let (_, flow, ack) = driven.sent.pop().expect("ACK");
    assert_eq!(first_line(&ack), "ACK sip:198.51.100.8 SIP/2.0");
    assert_eq!(flow.remote, "198.51.100.8:5060".parse().expect("address"));
    let routes: Vec<_> = ack
        .lines()
        .filter(|line| line.starts_with("Route: "))
        .collect();
    assert_eq!(
        routes,
        [
            "Route: <sip:198.51.100.9;lr>",
            "Route: <sip:bob@198.51.100.7:5060>"
        ]
    );
    driven.command(Command::Hangup { key, reason: None });
    assert_eq!(driven.take_lines(), ["BYE sip:198.51.100.8 SIP/2.0"]);
}

#[test]
fn a_record_route_is_copied_into_answers_that_make_a_dialog() {
    let mut driven = Driven::new();
    let lines = "Record-Route: <sip:p1;lr>\r\nRecord-Route: <sip:198.51.100.9:5070;lr>\r\n";
    driven.packet(&request("INVITE", 1, "1", "", lines, OFFER));
    let key = driven.incoming_key();
    accept(&mut driven, key);
    let ok = driven.take_sent().remove(0);
    assert!(ok.contains(lines));
    let ours = tag(header(&ok, "To")).to_owned();
    driven.packet(&request("ACK", 1, "2", &ours, "", b""));
    driven.command(Command::Hangup { key, reason: None });
    let (_, flow, bye) = driven.sent.pop().expect("BYE");
    // The first route is a name: the way back is where the call came from.
    assert_eq!(flow.remote, peer_flow().remote);
    assert_eq!(header(&bye, "Route"), "<sip:p1;lr>");
}

#[test]
fn a_response_with_two_vias_is_not_for_us() {
    let mut driven = Driven::new();
    driven.dial();
    let invite = driven.take_sent().remove(0);
    let two = response(
        &invite,
        "200 OK",
        "far",
        "Via: SIP/2.0/UDP other\r\n",
        ANSWER,
    );
    driven.packet(&two);
    assert_eq!(driven.take_events(), []);
    assert_eq!(driven.endpoint.counters().stray_responses, 1);
}

#[test]
fn a_call_by_sips_names_us_by_sips_where_tls_carries_it() {
    let contact = |transport, secure: bool, outgoing: bool| {
        let mut driven = Driven::new();
        let path = Flow {
            transport,
            ..peer_flow()
        };
        let scheme = if secure { "sips:" } else { "sip:" };
        if outgoing {
            let key = driven.endpoint.next_key();
            let way = offhook_sip::Way {
                flow: path,
                trunk: None,
                target: uri(&format!("{scheme}bob@198.51.100.7")),
                from: offhook_sip::Party {
                    display: None,
                    uri: uri("sip:offhook@192.0.2.1"),
                },
                asserted: None,
                private: false,
            };
            driven.command(Command::Invite(Box::new(offhook_sip::Invite {
                key,
                way,
                further: Vec::new(),
                to_display: None,
                call_id: None,
                offer: OFFER.to_vec(),
                headers: Vec::new(),
            })));
        } else {
            let text = invite("1").replace("INVITE sip:", &format!("INVITE {scheme}"));
            driven.packet_on(path, text.as_bytes());
            let key = driven.incoming_key();
            accept(&mut driven, key);
        }
        let message = driven.take_sent().pop().expect("a message");
        header(&message, "Contact").to_owned()
    };
    for outgoing in [false, true] {
        let seen = |transport, secure| contact(transport, secure, outgoing);
        let sips = "<sips:offhook@192.0.2.1:5060>";
        assert_eq!(seen(Transport::Tls, true), sips, "{outgoing}");
        let plain = "<sip:offhook@192.0.2.1:5060;transport=tls>";
        assert_eq!(seen(Transport::Tls, false), plain, "{outgoing}");
        let plain = "<sip:offhook@192.0.2.1:5060;transport=tcp>";
        assert_eq!(seen(Transport::Tcp, true), plain, "{outgoing}");
    }
}
