//! What a leg has beside its line: who it sends to, what it says and collects,
//! its keys, tape and counters.
//!
//! The leg passes each frame of the line here while it is heard; what follows is
//! noted as a need, which the leg acts on when the line is free again. Like the
//! leg it holds no socket, ring or clock, and does not allocate, free or block.

use std::net::SocketAddr;
use std::time::Duration;

use offhook_dsp::{EventKind, FRAME, Source, ToneKind};
use offhook_sip::rtp::srtp::{GROWTH, MasterKey, Opener, Sealer};
use offhook_sip::rtp::{Content, Latch, Verdict, View};

use super::codec::{self, Slower};
use super::keys::Keypad;
use super::leg::Birth;
use super::line::Heard;
use super::mouth::Mouth;
use super::outlet::Outlet;
use super::reporter::Reporter;
use super::ring::Mark;
use super::safe::ends_in_check_digit;
use super::sender::{Packet, SAMPLES_MAX, Sender};
use super::words::{ReportKind, Stream};

/// The last key of a secret is not heard of for 500 ms, in samples: nobody presses
/// one much longer.
const HUSH: u64 = 4_000;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub malformed: u32,
    pub foreign: u32,
    pub forged: u32,
    pub unheard: u32,
    pub flooded: u32,
    pub unsent: u32,
    pub tape_gaps: u32,
    pub heard_gaps: u32,
    pub straight: u32,
}

/// What a frame was found to need, once it has been heard.
#[derive(Clone, Copy)]
pub(super) enum Need {
    Onset { start: u64, over_prompt: bool },
    Tone { key: u8 },
}

/// The recording that runs, and the frame of the line with which it began.
#[derive(Clone, Copy)]
pub(super) struct Tape {
    pub recording: u32,
    pub from: u64,
}

/// All of a leg but the line: what frames are passed to while it is heard.
pub(super) struct Desk {
    pub reporter: Reporter,
    pub mouth: Mouth,
    pub keypad: Keypad,
    pub sender: Sender,
    pub latch: Option<Latch>,
    /// SRTP both ways, each with the key it was made of.
    pub sealer: Option<(MasterKey, Sealer)>,
    pub opener: Option<(MasterKey, Opener)>,
    pub stream: Option<Stream>,
    /// The next stream goes to somebody who has heard nothing of ours.
    pub anew: bool,
    pub counters: Counters,
    pub tape: Option<Tape>,
    pub speaking: bool,
    pub needs: heapless::Vec<Need, 8>,
    /// Nobody hears the line until this sample: what sounds is the end of a secret.
    pub hushed_until: u64,
    pub echo: heapless::Vec<i16, SAMPLES_MAX>,
    /// Our timestamp of the line's sample 0.
    pub echo_base: u32,
    /// Of the peer's clock, where it is faster than the line's.
    pub slower: Slower,
    /// How much faster, by the last packet of sound.
    pub ratio: u32,
}

impl Desk {
    /// Of a leg that knows no peer yet.
    pub(super) fn new(birth: Birth) -> Self {
        Self {
            reporter: Reporter::new(birth.slot),
            mouth: Mouth::new(birth.seed),
            keypad: Keypad::default(),
            sender: Sender::new(birth.template, birth.sequence, birth.timestamp),
            latch: None,
            sealer: None,
            opener: None,
            stream: None,
            anew: false,
            counters: Counters::default(),
            tape: None,
            speaking: false,
            needs: heapless::Vec::new(),
            hushed_until: 0,
            echo: heapless::Vec::new(),
            echo_base: birth.timestamp,
            slower: Slower::default(),
            ratio: 1,
        }
    }

    /// Keys that were agreed on before stay in use, with what they have counted. A new one
    /// of ours counts from the beginning, for the same peer too.
    pub(super) fn encrypt(&mut self, stream: &Stream) {
        let Some(keys) = &stream.srtp else {
            (self.sealer, self.opener) = (None, None);
            return;
        };
        if self
            .sealer
            .as_ref()
            .is_none_or(|(key, _)| *key != keys.ours)
        {
            if self.stream.is_some() {
                self.sender.begin_anew();
            }
            self.sealer = Some((keys.ours, Sealer::new(&keys.ours)));
        }
        if self
            .opener
            .as_ref()
            .is_none_or(|(key, _)| *key != keys.theirs)
        {
            self.opener = Some((keys.theirs, Opener::new(&keys.theirs)));
        }
    }

    /// What a datagram carries, decrypted where that was agreed on.
    pub(super) fn open<'a>(&mut self, bytes: &'a mut [u8]) -> Option<&'a [u8]> {
        let Some((_, opener)) = &mut self.opener else {
            return Some(bytes);
        };
        match opener.open(bytes) {
            Ok(length) => Some(&bytes[..length]),
            Err(_) => {
                self.counters.forged = self.counters.forged.saturating_add(1);
                None
            }
        }
    }

    /// Sends a packet, unless it is empty; encrypted where that was agreed on.
    pub(super) fn send(&mut self, target: SocketAddr, packet: &mut Packet, out: &mut impl Outlet) {
        if packet.is_empty() {
            return;
        }
        let mut sealed = true;
        if let Some((_, sealer)) = &mut self.sealer {
            let length = packet.len();
            let room = packet.resize_default(length + GROWTH).is_ok();
            let end = room.then(|| sealer.seal(packet, length)).flatten();
            sealed = end.is_some();
            packet.truncate(end.unwrap_or(0));
        }
        self.counters.unsent += u32::from(!sealed || !out.send(target, packet));
    }

    /// RTCP, where it was agreed that it shares our port: what would be marker and
    /// payload type is its packet type (RFC 5761 §4).
    pub(super) fn is_control(&self, bytes: &[u8]) -> bool {
        let shares = self.stream.as_ref().is_some_and(|stream| stream.rtcp_mux);
        shares && matches!(bytes, [_, 192..=223, ..])
    }

    /// It comes from where the peer's sound comes from; what does not is counted.
    pub(super) fn is_from_peer(&mut self, from: SocketAddr) -> bool {
        let known = self.latch.as_ref().map(Latch::target) == Some(from);
        self.counters.foreign += u32::from(!known);
        known
    }

    /// Whether a packet is the peer's and we listen.
    pub(super) fn admit(
        &mut self,
        now: Duration,
        from: SocketAddr,
        packet: &View<'_>,
        sample: u64,
        out: &mut impl Outlet,
    ) -> bool {
        let (Some(latch), Some(stream)) = (&mut self.latch, &self.stream) else {
            self.counters.foreign += 1;
            return false;
        };
        match latch.judge(now, from, packet) {
            Verdict::Foreign => {
                self.counters.foreign += 1;
                return false;
            }
            Verdict::Heard => {}
            Verdict::Latched => {
                let kind = ReportKind::Latched(latch.target());
                self.reporter.report(out, now, sample, kind);
            }
        }
        if !stream.direction.receives() {
            self.counters.unheard += 1;
            return false;
        }
        true
    }

    /// What a packet carries by its payload type; `None` if that was not agreed on.
    pub(super) fn content(&self, packet: &View<'_>) -> Option<Content> {
        let stream = self.stream.as_ref()?;
        let payload_type = packet.payload_type();
        let mut known = stream.receive.iter();
        if let Some((_, codec)) = known.find(|(known, _)| *known == payload_type) {
            let samples = codec::samples(*codec, packet.payload())?;
            return Some(Content::Audio { samples });
        }
        if stream.events.contains(&Some(payload_type)) {
            return Some(Content::Event);
        }
        (Some(payload_type) == stream.comfort_noise).then_some(Content::ComfortNoise)
    }

    /// Nothing of ours is being said or pressed.
    pub(super) fn is_free(&self) -> bool {
        self.mouth.is_silent() && self.sender.is_free()
    }

    /// Where packets go, if any may.
    pub(super) fn target(&self) -> Option<SocketAddr> {
        let stream = self.stream.as_ref()?;
        let nowhere = stream.remote_rtp.ip().is_unspecified() || stream.remote_rtp.port() == 0;
        let target = self.latch.as_ref()?.target();
        (stream.direction.sends() && !nowhere).then_some(target)
    }

    /// One frame was heard.
    pub(super) fn hear(&mut self, now: Duration, heard: &Heard<'_>, out: &mut impl Outlet) {
        for event in heard.events {
            if self.takes_note(&event.kind) {
                self.reporter
                    .report(out, now, heard.at, ReportKind::Ear(*event));
            }
        }
        self.pass_on(heard, out);
        let returned = self.mouth.echoes() && heard.source == Source::Received;
        if !returned || self.echo.is_full() {
            self.send_echo(heard.at - FRAME as u64, out);
        }
        if returned {
            let kept = self.echo.extend_from_slice(heard.near).is_ok();
            debug_assert!(kept, "room was just made");
        }
    }

    /// Notes what an event asks of the leg; gives whether the event itself is reported.
    fn takes_note(&mut self, kind: &EventKind) -> bool {
        let need = match *kind {
            EventKind::SpeechStart { start } => {
                self.speaking = true;
                Need::Onset {
                    start,
                    over_prompt: false,
                }
            }
            EventKind::BargeIn { start } => Need::Onset {
                start,
                over_prompt: true,
            },
            EventKind::Dtmf { digit, .. } => Need::Tone { key: digit },
            EventKind::SpeechEnd { .. } => {
                self.speaking = false;
                return true;
            }
            EventKind::Tone { kind, .. } => {
                return kind != ToneKind::Dtmf || !self.keypad.is_secret();
            }
            EventKind::SpeechPause { .. }
            | EventKind::BargeInRetracted
            | EventKind::Answer { .. }
            | EventKind::AnswerCorrected { .. }
            | EventKind::Beep { .. }
            | EventKind::GreetingEnd { .. }
            | EventKind::TurnEnd { .. }
            | EventKind::Manner(_)
            | EventKind::Silence { .. } => return true,
        };
        let full = self.needs.push(need).is_err();
        self.reporter.lost_ever += u32::from(full);
        !matches!(need, Need::Tone { .. })
    }

    /// What comes up to this sample may belong to a secret.
    pub(super) fn is_hushed(&self, sample: u64) -> bool {
        self.keypad.is_secret() || sample <= self.hushed_until
    }

    /// To the tape, to the joined leg and to whoever listens. A secret is neither kept nor passed on,
    /// however it is told.
    fn pass_on(&mut self, heard: &Heard<'_>, out: &mut impl Outlet) {
        let silence = [0; FRAME];
        let (near, high) = if self.is_hushed(heard.at) {
            (&silence, &silence)
        } else {
            (heard.near, heard.high)
        };
        out.pass(near, high);
        let number = heard.at / FRAME as u64 - 1;
        self.counters.heard_gaps += u32::from(!out.heard(number as u32, near));
        let Some(tape) = self.tape else { return };
        let mark = Mark {
            recording: tape.recording,
            frame: number.saturating_sub(tape.from) as u32,
        };
        let ours = if self.mouth.echoes() { near } else { heard.far };
        self.counters.tape_gaps += u32::from(!out.tape(mark, near, ours));
    }

    /// Returns what was heard up to line position `until`.
    pub(super) fn send_echo(&mut self, until: u64, out: &mut impl Outlet) {
        if self.echo.is_empty() {
            return;
        }
        if let Some(target) = self.target() {
            let position = until - self.echo.len() as u64;
            let timestamp = self.sender.timestamp_after(self.echo_base, position);
            let mut packet = Packet::new();
            self.sender.echo(&self.echo, timestamp, &mut packet);
            self.send(target, &mut packet, out);
        }
        self.echo.clear();
    }

    pub(super) fn answer_command(
        &mut self,
        now: Duration,
        sample: u64,
        turn: u32,
        done: bool,
        out: &mut impl Outlet,
    ) {
        if !done {
            self.reporter
                .report(out, now, sample, ReportKind::Stale { turn });
        }
        self.drain_mouth(now, sample, out);
    }

    pub(super) fn report_digit(
        &mut self,
        now: Duration,
        sample: u64,
        key: Option<u8>,
        out: &mut impl Outlet,
    ) {
        let Some(key) = key else { return };
        let digit = ReportKind::Digit(self.keypad.mask(key));
        self.reporter.report(out, now, sample, digit);
        let mut sealed = None;
        let complete = self.keypad.press(key, |secret| {
            out.seal(secret);
            let keys = secret.len() as u8;
            let check_digit = ends_in_check_digit(secret);
            sealed = Some(ReportKind::Sealed { keys, check_digit });
        });
        if let (true, Some(sealed)) = (complete, sealed) {
            self.reporter.report(out, now, sample, sealed);
        }
    }

    /// Keys are collected anew. The sound of a secret's last key goes on for a while.
    pub(super) fn collect(
        &mut self,
        sample: u64,
        secret: Option<(u8, Option<u8>)>,
        out: &mut impl Outlet,
    ) {
        if self.keypad.is_secret() {
            self.hushed_until = sample + HUSH;
            out.seal(&[]);
        }
        self.keypad.collect(secret);
    }

    pub(super) fn drain_mouth(&mut self, now: Duration, sample: u64, out: &mut impl Outlet) {
        while let Some(kind) = self.mouth.pop_report() {
            self.reporter.report(out, now, sample, kind);
        }
        while let Some(script) = self.mouth.pop_freed() {
            out.free(script);
        }
        if let Some(speech) = self.mouth.take_ended_stream() {
            out.end_voice(speech);
        }
    }
}
