//! Offers and answers as tables.

use super::*;

fn local() -> LocalMedia {
    LocalMedia {
        session_id: 7,
        version: 1,
        address: "192.0.2.1".parse().expect("address"),
        port: 20_000,
        codecs: vec![Codec::Pcmu, Codec::Pcma],
        telephone_event: true,
        comfort_noise: true,
        rtcp_mux: true,
        ptime_ms: 20,
        srtp: None,
    }
}

/// An offer from its `c=` address and media lines.
fn offer_of(address: &str, media: &str) -> Vec<u8> {
    format!(
        "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n{}\r\n",
        media.replace('|', "\r\n")
    )
    .into_bytes()
}

fn lines(bytes: &[u8], prefix: &str) -> Vec<String> {
    let text = String::from_utf8(bytes.to_vec()).expect("ascii");
    let found = text.lines().filter(|line| line.starts_with(prefix));
    found.map(str::to_owned).collect()
}

#[test]
fn our_offer_is_answered_by_ourselves() {
    let peer = LocalMedia {
        address: "192.0.2.9".parse().expect("address"),
        port: 30_000,
        codecs: vec![Codec::Pcma],
        ..local()
    };
    let (answer, theirs) = answer(&offer(&local()), &peer).expect("common codec");
    let ours = accept_answer(&answer, &local()).expect("answer");
    assert_eq!((ours.codec, ours.send_payload_type), (Codec::Pcma, 8));
    assert_eq!(ours.remote_rtp, "192.0.2.9:30000".parse().expect("address"));
    assert!(ours.rtcp_mux && theirs.rtcp_mux);
    assert_eq!(ours.remote_rtcp, ours.remote_rtp);
    assert_eq!(theirs.remote_rtcp, theirs.remote_rtp);
    assert_eq!(
        ours.telephone_event,
        Some(TelephoneEvent {
            send: 101,
            clock_rate: 8000,
            receive: [Some(101), None]
        })
    );
    assert!(ours.comfort_noise && theirs.comfort_noise);
    assert_eq!(ours.receive.len(), 2);
}

#[test]
fn rtcp_shares_the_port_of_rtp_where_both_say_so_and_can_tell_them_apart() {
    let apart = |local: LocalMedia| LocalMedia {
        rtcp_mux: false,
        ..local
    };
    let table = [
        ("m=audio 4000 RTP/AVP 0|a=rtcp-mux", local(), Some(4000)),
        (
            "m=audio 4000 RTP/AVP 0|a=rtcp-mux|a=rtcp:4100",
            local(),
            Some(4000),
        ),
        ("m=audio 4000 RTP/AVP 0", local(), None),
        ("m=audio 4000 RTP/AVP 0|a=rtcp-mux", apart(local()), None),
        // 72 with a marker reads as a sender report (RFC 5761 §4).
        ("m=audio 4000 RTP/AVP 0 72|a=rtcp-mux", local(), None),
    ];
    for (media, local, shared) in table {
        let offer = offer_of("198.51.100.1", media);
        let (bytes, negotiated) = answer(&offer, &local).expect("a codec in common");
        assert_eq!(negotiated.rtcp_mux, shared.is_some(), "{media}");
        assert_eq!(
            negotiated.remote_rtcp.port(),
            shared.unwrap_or(4001),
            "{media}"
        );
        let said = lines(&bytes, "a=rtcp-mux").len();
        assert_eq!(said, usize::from(shared.is_some()), "{media}");
    }
    assert_eq!(lines(&offer(&local()), "a=rtcp-mux").len(), 1);
    assert!(lines(&offer(&apart(local())), "a=rtcp-mux").is_empty());
}

#[test]
fn holds_are_answered_as_rfc_3264_says() {
    let table = [
        ("198.51.100.1", "", "sendrecv", Direction::SendRecv),
        (
            "198.51.100.1",
            "|a=sendonly",
            "recvonly",
            Direction::RecvOnly,
        ),
        (
            "198.51.100.1",
            "|a=recvonly",
            "sendonly",
            Direction::SendOnly,
        ),
        (
            "198.51.100.1",
            "|a=inactive",
            "inactive",
            Direction::Inactive,
        ),
        ("0.0.0.0", "", "recvonly", Direction::RecvOnly),
        ("0.0.0.0", "|a=sendonly", "recvonly", Direction::RecvOnly),
        ("0.0.0.0", "|a=recvonly", "inactive", Direction::Inactive),
    ];
    for (address, attribute, written, direction) in table {
        let media = format!("m=audio 4000 RTP/AVP 0{attribute}");
        let (bytes, negotiated) =
            answer(&offer_of(address, &media), &local()).expect("can be answered");
        assert_eq!(negotiated.direction, direction, "{address} {attribute}");
        assert_eq!(
            lines(&bytes, &format!("a={written}")).len(),
            1,
            "{attribute}"
        );
    }
}

#[test]
fn a_direction_of_the_session_holds_for_media_without_one() {
    let offer = String::from_utf8(offer_of("198.51.100.1", "m=audio 4000 RTP/AVP 0"))
        .expect("ascii")
        .replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n");
    let (_, negotiated) = answer(offer.as_bytes(), &local()).expect("can be answered");
    assert_eq!(negotiated.direction, Direction::RecvOnly);
}

#[test]
fn every_media_line_is_answered_in_its_place() {
    let offer = offer_of(
        "198.51.100.1",
        "m=video 5000 RTP/AVP 31|a=rtpmap:31 H261/90000|m=audio 4000 RTP/AVP 8 0|\
         m=audio 4002 RTP/AVP 0|m=application 6000 udp wb",
    );
    let (bytes, negotiated) = answer(&offer, &local()).expect("has audio");
    assert_eq!(
        lines(&bytes, "m="),
        [
            "m=video 0 RTP/AVP 31",
            "m=audio 20000 RTP/AVP 8 0",
            "m=audio 0 RTP/AVP 0",
            "m=application 0 udp wb",
        ]
    );
    assert_eq!(negotiated.codec, Codec::Pcma);
}

#[test]
fn dynamic_payload_types_and_rtcp_addresses_are_followed() {
    let offer = offer_of(
        "198.51.100.1",
        "m=audio 4000 RTP/AVP 97 98 99|a=rtpmap:97 opus/48000/2|a=rtpmap:98 pcma/8000|\
         a=rtpmap:99 telephone-event/8000|a=rtcp:4100 IN IP4 198.51.100.2|a=ptime:30",
    );
    let (bytes, negotiated) = answer(&offer, &local()).expect("has PCMA");
    assert_eq!(
        (negotiated.codec, negotiated.send_payload_type),
        (Codec::Pcma, 98)
    );
    let event = negotiated.telephone_event.expect("offered");
    assert_eq!((event.send, event.receive), (99, [Some(99), None]));
    assert_eq!(
        negotiated.remote_rtcp,
        "198.51.100.2:4100".parse().expect("address")
    );
    assert_eq!(negotiated.ptime_ms, 30);
    assert_eq!(lines(&bytes, "m="), ["m=audio 20000 RTP/AVP 98 99"]);
    assert!(!negotiated.comfort_noise);
}

#[test]
fn offers_that_lead_nowhere_are_refused_by_name() {
    let table = [
        (
            "198.51.100.1",
            "m=audio 4000 RTP/AVP 97|a=rtpmap:97 opus/48000/2",
            SdpFault::NoCommonCodec,
        ),
        (
            "198.51.100.1",
            "m=audio 4000 RTP/SAVP 0",
            SdpFault::Encrypted,
        ),
        ("198.51.100.1", "m=audio 0 RTP/AVP 0", SdpFault::NoAudio),
        (
            "198.51.100.1",
            "m=audio 4000 RTP/AVP 0|c=IN IP6 2001:db8::1",
            SdpFault::Address,
        ),
        ("host.example", "m=audio 4000 RTP/AVP 0", SdpFault::Address),
        ("224.2.1.1/127", "m=audio 4000 RTP/AVP 0", SdpFault::Address),
    ];
    for (address, media, fault) in table {
        let found = answer(&offer_of(address, media), &local());
        assert_eq!(found.err(), Some(fault), "{media}");
    }
    assert!(matches!(
        answer(b"hello", &local()),
        Err(SdpFault::Syntax(_))
    ));
}

#[test]
fn a_fault_is_a_warning_with_the_code_of_rfc_3261() {
    let table = [
        (
            SdpFault::NoAudio,
            "304 box \"SDP has no audio stream in RTP/AVP\"",
        ),
        (
            SdpFault::NoCommonCodec,
            "305 box \"SDP has no codec of ours\"",
        ),
        (
            SdpFault::InTheClear,
            "399 box \"SDP has no a=crypto, and SRTP is required\"",
        ),
        (
            SdpFault::Syntax("a \"b\\\r\nc".to_owned()),
            "399 box \"SDP cannot be read: a 'b'  c\"",
        ),
    ];
    for (fault, warning) in table {
        assert_eq!(fault.warning("box"), warning);
    }
}

#[test]
fn addresses_of_ipv6_are_read_and_written() {
    let local = LocalMedia {
        address: "2001:db8::1".parse().expect("address"),
        ..local()
    };
    let offer = b"v=0\r\no=- 1 1 IN IP6 2001:db8::2\r\ns=-\r\nc=IN IP6 2001:db8::2\r\nt=0 0\r\n\
                  m=audio 4000 RTP/AVP 0\r\n";
    let (bytes, negotiated) = answer(offer, &local).expect("can be answered");
    assert_eq!(lines(&bytes, "c="), ["c=IN IP6 2001:db8::1"]);
    assert_eq!(
        negotiated.remote_rtp,
        "[2001:db8::2]:4000".parse().expect("address")
    );
}

#[test]
fn the_version_goes_up_exactly_when_the_text_changes() {
    let mut session = SdpSession::new(local());
    let talk = offer_of("198.51.100.1", "m=audio 4000 RTP/AVP 0");
    let hold = offer_of("198.51.100.1", "m=audio 4000 RTP/AVP 0|a=sendonly");
    let versions: Vec<_> = [&talk, &talk, &hold, &hold, &talk]
        .into_iter()
        .map(|offer| {
            let (bytes, _) = session.answer(offer).expect("can be answered");
            lines(&bytes, "o=").concat()
        })
        .collect();
    let expected = [1, 1, 2, 2, 3].map(|version| format!("o=- 7 {version} IN IP4 192.0.2.1"));
    assert_eq!(versions, expected);
}

#[test]
fn an_answer_with_port_0_or_another_number_of_streams_is_refused() {
    let refused = offer_of("198.51.100.1", "m=audio 0 RTP/AVP 0");
    let two = offer_of("198.51.100.1", "m=audio 1 RTP/AVP 0|m=audio 1 RTP/AVP 0");
    assert_eq!(accept_answer(&refused, &local()), Err(SdpFault::Refused));
    assert_eq!(accept_answer(&two, &local()), Err(SdpFault::MediaCount));
}

#[test]
fn latin_1_in_a_session_name_is_tolerated() {
    let mut offer = offer_of("198.51.100.1", "m=audio 4000 RTP/AVP 0");
    let at = offer
        .windows(3)
        .position(|window| window == b"s=-")
        .expect("has one");
    offer.splice(at + 2..at + 3, *b"\xe9");
    assert!(answer(&offer, &local()).is_ok());
}

#[test]
fn a_description_cut_inside_its_last_line_end_is_answered_cleanly() {
    let mut offer = offer_of(
        "198.51.100.1",
        "m=audio 4000 RTP/AVP 0|m=audio 4002 RTP/AVP 3",
    );
    offer.pop();
    let (bytes, _) = answer(&offer, &local()).expect("can be answered");
    assert_eq!(lines(&bytes, "m=").len(), 2);
    assert!(parse(&bytes).is_ok());
    offer.splice(20..20, *b"\r");
    assert!(matches!(answer(&offer, &local()), Err(SdpFault::Syntax(_))));
}

#[test]
fn a_hold_of_ours_is_offered_answered_and_never_widened_by_the_peer() {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    // Our wish, the peer's direction, what our answer says, what we then do.
    let table = [
        (SendRecv, "sendrecv", SendRecv),
        (SendRecv, "sendonly", RecvOnly),
        (SendRecv, "recvonly", SendOnly),
        (SendRecv, "inactive", Inactive),
        (SendOnly, "sendrecv", SendOnly),
        (SendOnly, "recvonly", SendOnly),
        (SendOnly, "sendonly", Inactive),
        (SendOnly, "inactive", Inactive),
        (Inactive, "sendrecv", Inactive),
    ];
    for (wish, theirs, ours) in table {
        let mut session = SdpSession::new(local());
        session.direction = wish;
        let line = format!("m=audio 4000 RTP/AVP 0|a={theirs}");
        let offer = offer_of("198.51.100.1", &line);
        let (answer, agreed) = session.answer(&offer).expect("a common codec");
        assert_eq!(agreed.direction, ours, "{wish:?} {theirs}");
        let text = String::from_utf8(answer).expect("ascii");
        assert!(text.contains(&format!("a={}\r\n", ours.as_str())), "{text}");
        let agreed = session.accept_answer(&offer).expect("an answer as well");
        assert_eq!(agreed.direction, ours);
    }
}

#[test]
fn hold_and_resume_are_offers_with_a_new_version_each() {
    let mut session = SdpSession::new(local());
    let mut said = Vec::new();
    for direction in [
        Direction::SendRecv,
        Direction::SendOnly,
        Direction::SendRecv,
    ] {
        session.direction = direction;
        let text = String::from_utf8(session.offer()).expect("ascii");
        let version = text.lines().find_map(|line| line.strip_prefix("o=- "));
        let version = version
            .and_then(|rest| rest.split(' ').nth(1))
            .unwrap_or_default();
        said.push(format!("{version} {}", text.contains("a=sendonly")));
    }
    assert_eq!(said, ["1 false", "2 true", "3 false"]);
}

fn every_codec() -> LocalMedia {
    LocalMedia {
        codecs: Codec::ALL.to_vec(),
        ..local()
    }
}

#[test]
fn an_offer_lists_codecs_in_the_order_of_the_trunk_each_with_its_clock() {
    let ours = LocalMedia {
        codecs: vec![Codec::Opus, Codec::G722, Codec::Pcma],
        ..local()
    };
    let bytes = offer(&ours);
    assert_eq!(
        lines(&bytes, "m="),
        ["m=audio 20000 RTP/AVP 107 9 8 13 101 102"]
    );
    assert_eq!(
        lines(&bytes, "a=rtpmap"),
        [
            "a=rtpmap:107 opus/48000/2",
            "a=rtpmap:9 G722/8000",
            "a=rtpmap:8 PCMA/8000",
            "a=rtpmap:13 CN/8000",
            "a=rtpmap:101 telephone-event/8000",
            "a=rtpmap:102 telephone-event/48000",
        ]
    );
    assert_eq!(lines(&bytes, "a=fmtp:107"), ["a=fmtp:107 useinbandfec=1"]);
}

#[test]
fn each_side_sends_under_the_payload_types_of_the_other() {
    // They call Opus 96 and wide events 97 in their offer; an answer of theirs may
    // number anew.
    let offer_of_theirs = offer_of(
        "198.51.100.1",
        "m=audio 4000 RTP/AVP 96 0 97 98|a=rtpmap:96 opus/48000/2|\
         a=rtpmap:97 telephone-event/48000|a=rtpmap:98 telephone-event/8000|a=ptime:60|a=maxptime:40",
    );
    let (bytes, agreed) = answer(&offer_of_theirs, &every_codec()).expect("common codecs");
    assert_eq!((agreed.codec, agreed.send_payload_type), (Codec::Opus, 96));
    assert_eq!((agreed.ptime_ms, agreed.longest_ms), (40, 40));
    let event = agreed.telephone_event.expect("both have them");
    assert_eq!((event.send, event.clock_rate), (97, 48_000));
    assert_eq!(event.receive, [Some(98), Some(97)]);
    assert_eq!(lines(&bytes, "m="), ["m=audio 20000 RTP/AVP 96 0 98 97"]);
    let theirs = offer_of(
        "198.51.100.1",
        "m=audio 4000 RTP/AVP 120 121|a=rtpmap:120 opus/48000/2|a=rtpmap:121 telephone-event/48000",
    );
    let agreed = accept_answer(&theirs, &every_codec()).expect("common codec");
    assert_eq!((agreed.codec, agreed.send_payload_type), (Codec::Opus, 120));
    let event = agreed.telephone_event.expect("both have them");
    assert_eq!((event.send, event.receive), (121, [Some(101), Some(102)]));
    assert!(agreed.receive.contains(&ReceivePayload {
        payload_type: 107,
        codec: Codec::Opus
    }));
}

#[test]
fn events_of_the_wrong_clock_are_better_than_none() {
    let theirs = offer_of(
        "198.51.100.1",
        "m=audio 4000 RTP/AVP 96 101|a=rtpmap:96 opus/48000/2|a=rtpmap:101 telephone-event/8000",
    );
    let (_, agreed) = answer(&theirs, &every_codec()).expect("common codec");
    let event = agreed.telephone_event.expect("there are some");
    assert_eq!((event.send, event.clock_rate), (101, 8_000));
}

#[test]
fn a_fax_by_t38_is_refused_and_sound_beside_it_kept() {
    let t38 = "m=image 4000 udptl t38|a=T38FaxVersion:0";
    let alone = answer(&offer_of("198.51.100.1", t38), &every_codec());
    let fault = alone.expect_err("no sound");
    assert_eq!(fault.status(), StatusCode::NOT_ACCEPTABLE_HERE);
    let both = format!("m=audio 4002 RTP/AVP 8|{t38}");
    let (bytes, _) = answer(&offer_of("198.51.100.1", &both), &every_codec()).expect("sound");
    assert_eq!(
        lines(&bytes, "m="),
        ["m=audio 20000 RTP/AVP 8", "m=image 0 udptl t38"]
    );
}

fn secure(required: bool, seed: u8) -> LocalMedia {
    LocalMedia {
        srtp: Some(LocalSrtp::new(required, &[seed; SRTP_RANDOM])),
        ..local()
    }
}

#[test]
fn srtp_is_agreed_on_by_both_or_refused_but_never_left_where_it_is_required() {
    let (off, prefer, require) = (local(), secure(false, 1), secure(true, 2));
    let peers = [
        ("off", local()),
        ("prefer", secure(false, 3)),
        ("require", secure(true, 4)),
    ];
    for (ours, offerer, outcomes) in [
        ("off", &off, ["plain", "plain", "refused"]),
        ("prefer", &prefer, ["plain", "srtp", "srtp"]),
        ("require", &require, ["refused", "srtp", "srtp"]),
    ] {
        for ((theirs, answerer), outcome) in peers.iter().zip(outcomes) {
            let name = format!("{ours} offers, {theirs} answers");
            match answer(&offer(offerer), answerer) {
                Err(fault) => {
                    assert_eq!(outcome, "refused", "{name}");
                    assert_eq!(fault.status(), StatusCode::NOT_ACCEPTABLE_HERE);
                }
                Ok((bytes, they)) => {
                    let we = accept_answer(&bytes, offerer).expect(&name);
                    assert_eq!(we.srtp.is_some(), outcome == "srtp", "{name}");
                    let crossed = they.srtp.map(|keys| (keys.theirs, keys.ours));
                    assert_eq!(we.srtp.map(|keys| (keys.ours, keys.theirs)), crossed);
                }
            }
        }
    }
}

#[test]
fn keys_are_read_as_others_write_them() {
    let key = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
    for (line, taken) in [
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}"), true),
        (
            format!("1 AES_CM_128_HMAC_SHA1_32 inline:{key}|2^20 WSH=64"),
            true,
        ),
        (
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}|2^20|1:4"),
            false,
        ),
        (
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key} UNENCRYPTED_SRTP"),
            false,
        ),
        (format!("1 F8_128_HMAC_SHA1_80 inline:{key}"), false),
        (
            "1 AES_CM_128_HMAC_SHA1_80 inline:c2hvcnQ=".to_owned(),
            false,
        ),
        (
            "1 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0OD1F1aWQgcHJvIHF1bw==".to_owned(),
            true,
        ),
    ] {
        // Bars are line ends in `offer_of`.
        let media = format!(
            "m=audio 4000 RTP/SAVP 0|a=crypto:{}",
            line.replace('|', "~")
        );
        let offer = String::from_utf8(offer_of("198.51.100.1", &media)).expect("ascii");
        let offer = offer.replace('~', "|").into_bytes();
        let agreed = answer(&offer, &secure(false, 1));
        assert_eq!(agreed.is_ok(), taken, "{line}");
        if let Ok((bytes, _)) = agreed {
            assert_eq!(lines(&bytes, "m="), ["m=audio 20000 RTP/SAVP 0"]);
            assert_eq!(lines(&bytes, "a=crypto:1 ").len(), 1);
        }
    }
}

#[test]
fn an_answer_under_another_tag_than_its_suites_is_refused() {
    let (bytes, _) = answer(&offer(&secure(true, 1)), &secure(true, 2)).expect("both can");
    let text = String::from_utf8(bytes).expect("ascii");
    let crossed = text.replace("a=crypto:1 ", "a=crypto:2 ");
    let found = accept_answer(crossed.as_bytes(), &secure(true, 1));
    assert_eq!(found, Err(SdpFault::Encrypted));
}

#[test]
fn a_later_offer_has_all_lines_of_the_session_and_an_answer_as_many() {
    let theirs = offer_of(
        "198.51.100.1",
        "m=image 4000 udptl t38|a=T38FaxVersion:0|m=audio 4002 RTP/AVP 8|m=video 4004 RTP/AVP 31",
    );
    let mut session = SdpSession::new(local());
    session.answer(&theirs).expect("sound");
    let again = session.offer();
    assert_eq!(
        lines(&again, "m="),
        [
            "m=image 0 udptl t38",
            "m=audio 20000 RTP/AVP 8 0 13 101",
            "m=video 0 RTP/AVP 31",
        ]
    );
    let all = "m=image 0 udptl t38|m=audio 4002 RTP/AVP 8|m=video 0 RTP/AVP 31";
    let agreed = session.accept_answer(&offer_of("198.51.100.1", all));
    assert_eq!(agreed.map(|it| it.codec), Ok(Codec::Pcma));
    for (less, fault) in [
        ("m=audio 4002 RTP/AVP 8", SdpFault::MediaCount),
        (
            "m=audio 4002 RTP/AVP 8|m=image 0 udptl t38|m=video 0 RTP/AVP 31",
            SdpFault::Refused,
        ),
    ] {
        let found = session.accept_answer(&offer_of("198.51.100.1", less));
        assert_eq!(found, Err(fault), "{less}");
    }
    // A new offer of theirs counts anew.
    session
        .answer(&offer_of("198.51.100.1", all))
        .expect("sound");
    assert_eq!(lines(&session.offer(), "m=").len(), 3);
}

#[test]
fn a_later_offer_keeps_the_profile_and_the_key_in_use() {
    for profile in ["RTP/AVP", "RTP/SAVP", "RTP/SAVPF"] {
        for required in [false, true] {
            let theirs = String::from_utf8(offer(&secure(true, 9))).expect("ascii");
            let theirs = theirs.replace("RTP/SAVP", profile).into_bytes();
            let mut session = SdpSession::new(secure(required, 1));
            let (answer, agreed) = session.answer(&theirs).expect("both can");
            let again = session.offer();
            let line = &lines(&again, "m=")[0];
            assert!(line.contains(&format!(" {profile} ")), "{line}");
            let used = &lines(&answer, "a=crypto:1 ")[0];
            assert_eq!(&lines(&again, "a=crypto:1 ")[0], used);
            let later = session
                .accept_answer(&theirs_for(&theirs))
                .expect("the same");
            assert_eq!(later.srtp, agreed.srtp, "{profile} {required}");
        }
    }
}

/// An answer with the first of the keys alone.
fn theirs_for(offer: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(offer.to_vec()).expect("ascii");
    let others = |line: &&str| !line.starts_with("a=crypto:2") && !line.starts_with("a=crypto:3");
    let kept: Vec<&str> = text.lines().filter(others).collect();
    kept.join("\r\n").into_bytes()
}

#[test]
fn a_later_offer_calls_nothing_by_another_number() {
    // They call events what we would call Opus.
    let theirs = offer_of(
        "198.51.100.1",
        "m=audio 4000 RTP/AVP 98 0 107|a=rtpmap:98 G722/8000|a=rtpmap:107 telephone-event/8000",
    );
    let mut session = SdpSession::new(every_codec());
    session.answer(&theirs).expect("common codecs");
    let again = session.offer();
    assert_eq!(
        lines(&again, "m="),
        ["m=audio 20000 RTP/AVP 98 0 8 96 13 107 102"]
    );
    let maps = lines(&again, "a=rtpmap:");
    for map in [
        "98 G722/8000",
        "96 opus/48000/2",
        "107 telephone-event/8000",
    ] {
        assert!(
            maps.contains(&format!("a=rtpmap:{map}")),
            "{map} in {maps:?}"
        );
    }
    // What comes carries the numbers of this offer.
    let answer = offer_of(
        "198.51.100.1",
        "m=audio 4000 RTP/AVP 120 107|a=rtpmap:120 opus/48000/2|a=rtpmap:107 telephone-event/8000",
    );
    let agreed = session.accept_answer(&answer).expect("Opus");
    assert_eq!((agreed.codec, agreed.send_payload_type), (Codec::Opus, 120));
    let heard = |codec| agreed.receive.iter().find(|it| it.codec == codec);
    assert_eq!(heard(Codec::Opus).map(|it| it.payload_type), Some(96));
    assert_eq!(heard(Codec::G722).map(|it| it.payload_type), Some(98));
    let event = agreed.telephone_event.expect("both have them");
    assert_eq!((event.send, event.receive), (107, [Some(107), Some(102)]));
}
