//! The call of a trunk's test: how it rings, what was agreed, whether audio goes
//! both ways, keys, hold and resume, the range of ports, and how it ends.

use std::net::IpAddr;
use std::time::Duration;

use offhook_core::Number;
use offhook_dsp::g711::Law;
use offhook_sip::sdp::{Codec, Direction, LocalMedia, Negotiated, SdpSession};
use offhook_sip::{
    CallKey, Cause, Command, EndCause, Event, Failure, Incoming, Invite, StatusCode, TransferOrder,
    TransferOutcome, TransferTarget, Uri, Way,
};

mod range;

use super::probe::Probe;
use super::report::Report;
use super::sound::{Heard, Sound};
use super::{ACCOUNT, Tester};
use crate::clock;
use crate::settings::Refused;

/// A callee gets so much longer than a server.
const RING_FACTOR: u32 = 3;
/// How long is listened, before and after the key and after the resume.
const LISTEN: Duration = Duration::from_millis(1500);
/// More lost packets in a hundred are heard (ITU-T G.113 Appendix I).
const LOSS_MAX: f64 = 1.0;
/// Jitter that a buffer of 60 ms takes up.
const JITTER_MAX_MS: f64 = 30.0;

/// One call, and what was seen of it.
struct Call<'a, 'b> {
    tester: &'a Tester<'a>,
    report: &'a mut Report,
    probe: &'a mut Probe,
    session: &'b mut SdpSession,
    key: CallKey,
    statuses: Vec<u16>,
    early: Option<bool>,
    ended: Option<EndCause>,
    inbound: Option<(CallKey, Box<Incoming>)>,
}

pub(super) fn run(
    tester: &Tester<'_>,
    report: &mut Report,
    probe: &mut Probe,
    number: &str,
) -> Result<(), String> {
    let written = match written(tester, number) {
        Ok(written) => written,
        Err(reason) => {
            report.fail("call", reason, "nothing was called");
            return Ok(());
        }
    };
    let media = &tester.settings.media;
    let here = probe.wire.flow.local.ip();
    let bound = if media.address.is_unspecified() {
        here
    } else {
        media.address
    };
    let ports = (*media.ports.start(), *media.ports.end());
    let sound = match Sound::bind(bound, ports) {
        Ok(sound) => sound,
        Err(why) => {
            report.fail("rtp ports", why, "give [media] ports a range that is free");
            return Ok(());
        }
    };
    report.pass(
        "rtp ports",
        format!("{} of {}-{}", sound.local.port(), ports.0, ports.1),
    );
    let mut session = SdpSession::new(LocalMedia {
        session_id: 1,
        version: 1,
        address: media
            .told
            .and_then(|told| told.to(probe.wire.flow.remote.ip()))
            .unwrap_or(sound.local.ip()),
        port: sound.local.port(),
        codecs: vec![Codec::Pcmu, Codec::Pcma],
        telephone_event: true,
        comfort_noise: true,
        rtcp_mux: false,
        ptime_ms: 20,
        srtp: None,
    });
    probe.sound = Some(sound);
    let key = probe.endpoint.next_key();
    let invite = invite(tester, probe, key, &written, session.offer())?;
    probe.command(Command::Invite(Box::new(invite)));
    let mut call = Call {
        tester,
        report,
        probe,
        session: &mut session,
        key,
        statuses: Vec::new(),
        early: None,
        ended: None,
        inbound: None,
    };
    if let Some(answer) = call.ring() {
        call.talk(&answer);
    }
    call.inbound();
    Ok(())
}

/// A number as the trunk writes it, where it may be called.
fn written(tester: &Tester<'_>, number: &str) -> Result<String, String> {
    let numbering = &tester.trunk.numbering;
    let known = Number::parse(number).or_else(|| numbering.read(number));
    let judged = known.as_ref().map_or(number, Number::as_str);
    let refused = |refused: Refused| format!("{number} {}", refused.reason());
    tester.trunk.permit.judge(judged).map_err(refused)?;
    Ok(known.map_or(number.to_owned(), |number| numbering.write(&number)))
}

fn invite(
    tester: &Tester<'_>,
    probe: &Probe,
    key: CallKey,
    number: &str,
    offer: Vec<u8>,
) -> Result<Invite, String> {
    let flow = probe.wire.flow;
    let domain = match (&tester.trunk.account, &tester.trunk.proxy) {
        (Some(account), _) => account.domain.clone(),
        (None, Some(proxy)) => proxy.host_port(),
        (None, None) => flow.remote.to_string(),
    };
    let (trunk, local) = (tester.trunk, flow.local.to_string());
    let account = trunk.account.as_ref();
    let shown = trunk
        .presented
        .headers(&trunk.numbering, account, &local)
        .ok_or("caller_id makes no SIP URI")?;
    let uri = |text: &str| Uri::parse(text).map_err(|_| format!("`{text}` is no SIP URI"));
    let target = if number.starts_with("sip:") {
        uri(number)?
    } else {
        uri(&format!("sip:{}@{domain}", number.replace('#', "%23")))?
    };
    Ok(Invite {
        key,
        way: Way {
            flow,
            trunk: Some(ACCOUNT),
            target,
            from: shown.from,
            asserted: shown.asserted,
            private: shown.private,
        },
        further: Vec::new(),
        to_display: None,
        call_id: None,
        offer,
        headers: Vec::new(),
    })
}

/// What ended the wait for an answer.
enum Rang {
    Answered(Option<Vec<u8>>),
    Failed(Box<Failure>),
}

impl Call<'_, '_> {
    /// Waits for what is wanted of this call, and sees to all else.
    fn wait<T>(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> Option<T> {
        let end = clock::now() + limit;
        loop {
            let left = end.saturating_sub(clock::now());
            let event = self.probe.wait(left, Some)?;
            if let Some(found) = wanted(&event) {
                return Some(found);
            }
            self.see(event);
        }
    }

    fn see(&mut self, event: Event) {
        match event {
            Event::Progress { status, sdp, .. } => {
                self.statuses.push(status.code());
                if let Some(sdp) = sdp {
                    self.early.get_or_insert(false);
                    if let Ok(agreed) = self.session.accept_answer(&sdp) {
                        self.connect(&agreed);
                    }
                }
            }
            Event::Incoming { key, invite, .. } => self.take_in(key, invite),
            Event::Ended { key, cause } if key == self.key => self.ended = Some(cause),
            _ => {}
        }
    }

    /// Our own number came back to us: it is answered, and nothing is said there.
    fn take_in(&mut self, key: CallKey, invite: Box<Incoming>) {
        let mut session = SdpSession::new(LocalMedia {
            session_id: 2,
            ..self.session.local.clone()
        });
        let offer = invite.offer.as_deref();
        let answer = match offer.map(|offer| session.answer(offer)) {
            Some(Ok((sdp, _))) => sdp,
            None => session.offer(),
            Some(Err(_)) => {
                self.inbound = Some((key, invite));
                return self.probe.command(Command::Reject {
                    key,
                    status: StatusCode::NOT_ACCEPTABLE_HERE,
                    phrase: None,
                    retry_after: None,
                    headers: Vec::new(),
                });
            }
        };
        self.inbound = Some((key, invite));
        let headers = Vec::new();
        self.probe.command(Command::Accept {
            key,
            sdp: answer,
            headers,
        });
    }

    fn connect(&mut self, agreed: &Negotiated) {
        let law = match agreed.codec {
            Codec::Pcma => Law::A,
            _ => Law::Mu,
        };
        let event = agreed.telephone_event.map(|event| event.send);
        if let Some(sound) = &mut self.probe.sound {
            sound.connect(agreed.remote_rtp, law, agreed.send_payload_type, event);
        }
    }

    fn heard(&mut self) -> Heard {
        let sound = self.probe.sound.as_mut();
        sound.map(Sound::take).unwrap_or_default()
    }

    /// From the INVITE to the answer.
    fn ring(&mut self) -> Option<Negotiated> {
        let limit = self.tester.arguments.patience * RING_FACTOR;
        let key = self.key;
        let rang = self.wait(limit, |event| match event {
            Event::Answered { key: of, sdp } if *of == key => Some(Rang::Answered(sdp.clone())),
            Event::Failed { key: of, failure } if *of == key => Some(Rang::Failed(failure.clone())),
            _ => None,
        });
        let early = self.heard();
        self.ringing();
        let shown = self.probe.shown("INVITE");
        let sdp = match rang {
            Some(Rang::Answered(sdp)) => sdp,
            Some(Rang::Failed(failure)) => {
                self.report.fail("call", shown, advice_on(&failure));
                return None;
            }
            None => {
                self.report.fail(
                    "call",
                    shown,
                    "it does not answer: is the number one that takes calls?",
                );
                self.take_back();
                return None;
            }
        };
        self.report.pass("call", shown);
        self.early_media(&early);
        self.codecs(sdp)
    }

    fn ringing(&mut self) {
        let mut known = self.statuses.clone();
        known.dedup();
        let words: Vec<_> = known.iter().map(ToString::to_string).collect();
        match words.as_slice() {
            [] => self.report.skip("ringing", "no 18x came"),
            words => self.report.pass("ringing", words.join(", ")),
        }
        let reliable = self.probe.tape.iter().any(|message| {
            let requires = message.header("Require").unwrap_or_default();
            !message.sent && message.text.starts_with("SIP/2.0 1") && requires.contains("100rel")
        });
        if !reliable {
            return self
                .report
                .skip("prack", "no 1xx asked for it (Require: 100rel)");
        }
        let shown = self.probe.shown("PRACK");
        let good = shown.contains(" 200 ");
        let advice = "it asks for PRACK and does not take it: have the carrier switch 100rel off";
        self.report.judge("prack", good, shown, advice);
    }

    fn early_media(&mut self, heard: &Heard) {
        match (self.early, heard.packets) {
            (None, _) => self.report.skip("early media", "no 18x brought SDP"),
            (Some(_), 0) => self.report.fail(
                "early media",
                "183 with SDP, and no packet before the answer",
                "callers would hear nothing while it rings: ask the carrier, or open the RTP ports",
            ),
            (Some(_), packets) => {
                self.report.pass(
                    "early media",
                    format!("{packets} packets before the answer"),
                );
            }
        }
    }

    fn codecs(&mut self, sdp: Option<Vec<u8>>) -> Option<Negotiated> {
        let sdp = sdp.or_else(|| {
            let mut tape = self.probe.tape.iter().rev();
            let early = tape.find(|it| !it.sent && it.body().contains("m=audio"));
            early.map(|it| it.body().as_bytes().to_vec())
        });
        let line = sdp
            .as_deref()
            .map(|sdp| String::from_utf8_lossy(sdp).into_owned());
        let line = line
            .as_deref()
            .and_then(|text| text.lines().find(|line| line.starts_with("m=")));
        let line = line.unwrap_or("no m= line").to_owned();
        let agreed = sdp.map(|sdp| self.session.accept_answer(&sdp));
        match agreed {
            Some(Ok(agreed)) => {
                self.report
                    .pass("codecs", format!("{} by {line}", agreed.codec.name()));
                self.connect(&agreed);
                Some(agreed)
            }
            Some(Err(fault)) => {
                let advice =
                    "it answered with what we did not offer: have the carrier set PCMU or PCMA";
                self.report
                    .fail("codecs", format!("{line}: {fault}"), advice);
                self.hang_up();
                None
            }
            None => {
                self.report.fail(
                    "codecs",
                    "the 200 has no SDP",
                    "the carrier's answer is broken",
                );
                self.hang_up();
                None
            }
        }
    }

    fn talk(&mut self, agreed: &Negotiated) {
        self.contact();
        self.wait(LISTEN, |_| None::<()>);
        if let Some(sound) = &mut self.probe.sound {
            sound.press();
        }
        self.wait(LISTEN, |_| None::<()>);
        let heard = self.heard();
        self.audio(agreed, &heard);
        self.keys(agreed, &heard);
        if let Some(cause) = self.ended.take() {
            let shown = format!("{cause:?}");
            return self.report.fail(
                "stays up",
                shown,
                "the call was dropped after 3 s: did our ACK arrive (Contact, Record-Route)?",
            );
        }
        self.info();
        if self.hold(heard.packets > 0) {
            self.range();
        } else {
            self.report
                .skip("rtp range", "it needs re-INVITE, and audio after it");
        }
        self.abilities();
        self.hang_up();
    }

    /// Where requests inside the call would go.
    fn contact(&mut self) {
        let contact = self
            .probe
            .answer_to("INVITE")
            .and_then(|it| it.header("Contact"));
        let Some(contact) = contact.map(str::to_owned) else {
            return self.report.fail(
                "contact",
                "the 200 has no Contact",
                "BYE and re-INVITE have nowhere to go: the carrier must send one",
            );
        };
        let uri = contact.split(['<', '>']).nth(1).unwrap_or(&contact);
        let host = Uri::parse(uri).ok().map(|uri| uri.host().to_owned());
        let host = host.and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        let routed = self
            .probe
            .answer_to("INVITE")
            .and_then(|it| it.header("Record-Route"))
            .is_some();
        let remote = self.probe.wire.flow.remote.ip();
        let bad = host
            .is_some_and(|host| host.is_unspecified() || (is_private(host) && !is_private(remote)));
        let advice = "requests inside the call cannot reach that address: the carrier must write one that we reach, or Record-Route";
        self.report.judge(
            "contact",
            !bad || routed,
            format!("Contact: {contact}"),
            advice,
        );
    }

    fn audio(&mut self, agreed: &Negotiated, heard: &Heard) {
        let (told, remote) = (agreed.remote_rtp, self.probe.wire.flow.remote.ip());
        let local = self.session.local.port;
        if heard.packets == 0 {
            let mut advice = format!(
                "one-way audio: open and forward UDP {}-{} to us, and write [media] advertise behind NAT",
                self.tester.settings.media.ports.start(),
                self.tester.settings.media.ports.end()
            );
            if is_private(told.ip()) && !is_private(remote) {
                advice = format!(
                    "its SDP names the private address {}: the carrier must write its public one",
                    told.ip()
                );
            }
            self.report.fail(
                "audio",
                format!("no packet came to port {local}; SDP names {told}"),
                advice,
            );
            return self.report.skip("loss", "no packets");
        }
        let percent = |part: u32| 100 * part / heard.packets.max(1);
        let shown = format!(
            "{} packets, {} % sound, {} % our own tone",
            heard.packets,
            percent(heard.loud),
            percent(heard.echo)
        );
        if heard.odd_types * 2 > heard.packets {
            self.report.skip("audio", shown);
        } else if heard.loud == 0 {
            self.report.fail(
                "audio",
                shown,
                "packets come and hold silence: does the other side hear and play something?",
            );
        } else {
            self.report.pass("audio", shown);
        }
        let from = heard
            .from
            .map_or_else(|| "nowhere".to_owned(), |from| from.to_string());
        self.report.judge(
            "audio source",
            heard.from == Some(told),
            format!("packets from {from}, SDP names {told}"),
            "its SDP and its packets disagree: we follow the packets once they come, but a NAT on its side may drop ours",
        );
        let loss = heard.loss_percent();
        let shown = format!("{loss:.1} % lost, jitter {:.0} ms", heard.jitter_ms());
        let good = loss <= LOSS_MAX && heard.jitter_ms() <= JITTER_MAX_MS;
        self.report.judge(
            "loss",
            good,
            shown,
            "the line between loses or delays packets: ask for QoS, look for a full uplink",
        );
        if heard.odd_types > 0 {
            let shown = format!(
                "{} packets of a type that nobody agreed on",
                heard.odd_types
            );
            self.report.fail(
                "payload types",
                shown,
                "the carrier sends another codec than it answered with",
            );
        }
    }

    fn keys(&mut self, agreed: &Negotiated, heard: &Heard) {
        let Some(event) = agreed.telephone_event else {
            return self.report.fail(
                "keys",
                "the answer has no telephone-event",
                "keys would travel as tones only: have the carrier switch RFC 4733 (RFC 2833) on",
            );
        };
        let kind = event.send;
        if heard.keys > 0 {
            let shown = format!("5 sent as type {kind}, and it came back");
            return self.report.pass("keys", shown);
        }
        let is_echo = heard.echo * 2 > heard.packets;
        if is_echo {
            return self.report.fail(
                "keys",
                format!("agreed as type {kind}; 5 sent: our tone comes back, the key does not"),
                "something on the way drops telephone-event packets: have the carrier let RFC 4733 (RFC 2833) through unchanged",
            );
        }
        self.report.skip(
            "keys",
            format!(
                "not proven: agreed as type {kind}; 5 sent, and nothing came back, \
                 but neither did our tone: call an echo to prove it"
            ),
        );
    }

    fn info(&mut self) {
        let (key, kind) = (self.key, "application/dtmf-relay".to_owned());
        let body = b"Signal=5\r\nDuration=160\r\n".to_vec();
        self.probe.command(Command::Info { key, kind, body });
        self.wait(LISTEN, |_| None::<()>);
        let shown = self.probe.shown("INFO");
        if shown.contains(" 200 ") {
            self.report.pass("keys by INFO", shown);
        } else {
            self.report
                .skip("keys by INFO", format!("not taken: {shown}"));
        }
    }

    /// Hold and resume; `audio`: there was some before. Whether there is some after it.
    fn hold(&mut self, audio: bool) -> bool {
        let Some(held) = self.change(Direction::SendOnly) else {
            let shown = self.probe.shown("INVITE");
            let advice = "it does not take a re-INVITE: no hold, no transfer by hold; the carrier must allow it";
            self.report.fail("hold", shown, advice);
            return false;
        };
        let stopped = matches!(held, Direction::RecvOnly | Direction::Inactive);
        let advice =
            "it answers our hold as if nothing had happened (RFC 3264 §6.1): it may go on sending";
        self.report.judge(
            "hold",
            stopped,
            format!("a=sendonly answered by {held:?}"),
            advice,
        );
        self.heard();
        let back = self.change(Direction::SendRecv);
        self.wait(LISTEN, |_| None::<()>);
        let packets = self.heard().packets;
        let good = back.is_some() && (packets > 0 || !audio);
        let shown = format!("{}, {packets} packets after it", self.probe.shown("INVITE"));
        self.report.judge(
            "resume",
            good,
            shown,
            "after hold there is no audio any more: the carrier's re-INVITE handling is broken",
        );
        packets > 0
    }

    fn change(&mut self, direction: Direction) -> Option<Direction> {
        self.session.direction = direction;
        let (key, sdp) = (self.key, self.session.offer());
        self.probe.command(Command::Reinvite { key, sdp });
        let limit = self.tester.arguments.patience;
        let answer = self.wait(limit, |event| match event {
            Event::Changed { key: of, sdp } if *of == key => Some(sdp.clone()),
            Event::Unchanged { key: of, .. } | Event::Ended { key: of, .. } if *of == key => {
                Some(None)
            }
            _ => None,
        });
        let answer = answer??;
        let agreed = self.session.accept_answer(&answer).ok()?;
        self.connect(&agreed);
        // As it is written: what was agreed is what both allow.
        let text = String::from_utf8_lossy(&answer).into_owned();
        let written = |word: &str| text.lines().any(|line| line.trim() == word);
        Some(match () {
            () if written("a=recvonly") => Direction::RecvOnly,
            () if written("a=inactive") => Direction::Inactive,
            () if written("a=sendonly") => Direction::SendOnly,
            () => Direction::SendRecv,
        })
    }

    fn abilities(&mut self) {
        let first = |name: &str| {
            let answers = self.probe.tape.iter().filter(|it| !it.sent);
            answers
                .filter_map(|it| it.header(name))
                .next_back()
                .map(str::to_owned)
        };
        let (timer, allow) = (first("Session-Expires"), first("Allow"));
        match timer {
            Some(timer) => self
                .report
                .pass("timers", format!("Session-Expires: {timer}")),
            None => self
                .report
                .skip("timers", "no Session-Expires: calls are not watched over"),
        }
        if let Some(number) = &self.tester.arguments.transfer {
            return self.transfer(number);
        }
        match allow {
            Some(allow) if allow.contains("REFER") => {
                self.report.pass("transfer", format!("Allow: {allow}"));
            }
            Some(allow) => self.report.skip(
                "transfer",
                format!("no REFER in Allow: {allow}; transfers stay here"),
            ),
            None => self
                .report
                .skip("transfer", "no Allow line; transfers stay here"),
        }
    }

    /// Has the trunk send us on, and sees whether we get there.
    fn transfer(&mut self, number: &str) {
        let to = match written(self.tester, number) {
            Ok(user) => TransferTarget::User(user.replace('#', "%23")),
            Err(reason) => return self.report.fail("transfer", reason, "nobody was asked"),
        };
        let key = self.key;
        let order = Box::new(TransferOrder { key, to });
        self.probe.command(Command::Transfer(order));
        let limit = self.tester.arguments.patience * RING_FACTOR;
        let outcome = self.wait(limit, |event| match event {
            Event::TransferEnded { key: of, outcome } if *of == key => Some(outcome.clone()),
            _ => None,
        });
        let shown = self.probe.shown("REFER");
        let advice = match outcome {
            Some(TransferOutcome::Completed) => {
                return self
                    .report
                    .pass("transfer", format!("{shown}; NOTIFY: 200"));
            }
            Some(TransferOutcome::HungUp) => {
                return self.report.pass("transfer", format!("{shown}; then BYE"));
            }
            Some(TransferOutcome::Failed(status)) => {
                let shown = format!("{shown}; NOTIFY: {status}");
                let advice = "it takes REFER and does not reach that number: does it take it from inside? Else write `way = \"bridge\"` in [stage.transfer]";
                return self.report.fail("transfer", shown, advice);
            }
            Some(TransferOutcome::Refused(_) | TransferOutcome::NotAsked) => {
                "it sends nobody on: write `way = \"bridge\"` in [stage.transfer], or have REFER switched on"
            }
            Some(TransferOutcome::Unreported) | None => {
                "it takes REFER and never says how it went (no NOTIFY): transfers would be given up late; write `way = \"bridge\"`"
            }
        };
        self.report.fail("transfer", shown, advice);
    }

    /// Gives up before the answer; nobody judges how.
    fn take_back(&mut self) {
        let key = self.key;
        self.probe.command(Command::Hangup { key, reason: None });
        self.wait(LISTEN, |_| None::<()>);
    }

    fn hang_up(&mut self) {
        let key = self.key;
        if self.ended.is_some() {
            return self.report.skip("hang up", "it hung up itself");
        }
        self.probe.command(Command::Hangup { key, reason: None });
        let over = self.wait(self.tester.arguments.patience, |event| match event {
            Event::Released { key: of } if *of == key => Some(()),
            _ => None,
        });
        let method = if self.probe.answer_to("BYE").is_some() {
            "BYE"
        } else {
            "CANCEL"
        };
        let shown = self.probe.shown(method);
        let good = over.is_some() && shown.contains(" 200 ");
        self.report.judge(
            "hang up",
            good,
            shown,
            "it does not take our BYE: calls would stay up, and cost, on its side",
        );
    }

    /// What came in meanwhile, if the number was our own.
    fn inbound(&mut self) {
        let Some((key, invite)) = self.inbound.take() else {
            if self.tester.arguments.inbound.is_some() {
                return;
            }
            self.report.skip(
                "inbound",
                "no call came back: call a number of ours to see one, or wait for one with --inbound SECONDS",
            );
            return self.report.skip(
                "caller id",
                "seen by the one who is called: call a number of ours",
            );
        };
        self.probe.command(Command::Hangup { key, reason: None });
        let called = invite.request_uri.as_str();
        self.report
            .pass("inbound", format!("a call to {called} came in"));
        let asserted = invite.asserted_identity.first().unwrap_or(&invite.from);
        let shown = asserted.uri.user().unwrap_or_default();
        let ours = self
            .tester
            .trunk
            .account
            .as_ref()
            .map(|account| account.user.clone());
        let digits = |text: &str| {
            text.chars()
                .filter(char::is_ascii_digit)
                .collect::<String>()
        };
        let (told, expected) = (digits(&shown), digits(ours.as_deref().unwrap_or("offhook")));
        let same = !told.is_empty() && (told.ends_with(&expected) || expected.ends_with(&told));
        let advice = "callees see another number than ours: ask the carrier to let our caller id through (P-Asserted-Identity)";
        let good = same || expected.is_empty();
        self.report
            .judge("caller id", good, format!("shown as {shown}"), advice);
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
        }
    }
}

fn advice_on(failure: &Failure) -> String {
    let advice = match failure.cause() {
        Cause::Forbidden if matches!(failure.status.code(), 401 | 407) => {
            "the password for calls is wrong or missing: check `user` and `password_file`"
        }
        Cause::Forbidden => {
            "it does not let us call: is our caller id (`user`) one of its numbers, and our address known to it?"
        }
        Cause::Unallocated | Cause::InvalidNumber | Cause::NoRoute | Cause::NumberChanged => {
            "it does not know the number so: check `country` and `outbound`, does it want +E.164 or the national form?"
        }
        Cause::IncompatibleMedia => "no codec in common: have the carrier allow PCMU or PCMA",
        Cause::Congestion => "it has no line for us: how many channels are booked?",
        Cause::Busy
        | Cause::Declined
        | Cause::NoAnswer
        | Cause::NotReachable
        | Cause::NormalClearing => {
            "the called party does not take the call: test with another number"
        }
        Cause::Timeout => {
            "nobody answered the INVITE: OPTIONS pass and calls do not, so ask the carrier; a long INVITE may be lost (MTU)"
        }
        Cause::Moved => {
            "it sends the call elsewhere (Contact above): the daemon follows where `allow` lets it"
        }
        Cause::OutOfOrder
        | Cause::TemporaryFailure
        | Cause::NotImplemented
        | Cause::Protocol
        | Cause::Loop
        | Cause::Unspecified => "the carrier failed: show it this line and its Reason",
    };
    match &failure.reason {
        Some(reason) => format!("{advice} (Reason: {reason})"),
        None => advice.to_owned(),
    }
}
