//! A user agent for one call: the daemon's endpoint and media, and a plan
//! instead of a conversation. `dial` makes it call, `answer` makes it wait.
//!
//! One thread owns all of it and sleeps on one bell, which the SIP socket's
//! reader and the media thread ring.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use offhook_dsp::EventKind;
use offhook_sip::sdp::{LocalMedia, Negotiated, SdpSession};
use offhook_sip::{
    CallKey, Command, EndCause, Endpoint, EndpointConfig, Event, Failure, Flow, Incoming, Input,
    Invite, Output, Party, ReinviteAnswer, StatusCode, TransferOrder, TransferTarget, Uri, Way,
};
use serde_json::{Value, json};

use super::hosts::Hosts;
use crate::bell::Bell;
use crate::clock;
use crate::media::system::random;
use crate::media::{self, Digit, Media, Opened, Order, Report, ReportKind, Script, Summary};
use crate::translate;
use crate::trunks::own_address;

mod plan;
mod wire;

pub(super) use plan::{Plan, Teller};
pub(super) use wire::tell_errors;
use wire::{Arrival, Wire};

/// Once the file is over, so much quiet means that the other side waits for us.
const QUIET: Duration = Duration::from_secs(3);
/// What is left to be said in signalling gets so long: three repetitions of a BYE.
const FAREWELL: Duration = Duration::from_secs(4);
/// The bell rings for all but Ctrl-C.
const LOOK: Duration = Duration::from_millis(200);
/// RTP of user agents: outside the daemon's default range.
const PORTS_FIRST: u16 = 30_000;
/// Pairs of ports tried, from a random place on.
const PAIRS: u16 = 100;
/// Places to begin at, so that agents seldom take a port just left by another.
const PLACES: u64 = 48;
/// Our only prompt.
const PLAY: u32 = 1;
const PTIME_MS: u8 = 20;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The call was answered.
    Talked,
    /// Refused, busy, cancelled, not answered.
    NotAnswered,
    /// Nobody is there at all.
    Unreachable,
}

/// How to treat an incoming call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    /// Ring for so long.
    pub(super) ring: Duration,
    /// Refuse with this status.
    pub(super) refuse: Option<u16>,
}

/// Where the call stands.
#[derive(Debug)]
enum Phase {
    /// For a call to come in.
    Waiting(Line),
    /// One came in.
    Ringing {
        key: CallKey,
        offer: Option<Vec<u8>>,
        answer_at: Duration,
    },
    /// Our answer carried an offer; theirs is awaited.
    AwaitingTheirAnswer { key: CallKey },
    /// We call.
    Calling { key: CallKey, progress: bool },
    /// It is up.
    Talking(Talk),
    /// It is over.
    Over(Ending),
}

/// An answered call.
#[derive(Debug)]
struct Talk {
    key: CallKey,
    since: Duration,
    /// Keys still to be pressed begin here.
    next_key: usize,
    /// The file is over.
    played: bool,
    speaking: bool,
    quiet_since: Duration,
    hanging_up: bool,
}

/// A user agent with its one leg.
pub(super) struct Agent {
    endpoint: Endpoint,
    wire: Wire,
    hosts: Hosts,
    bell: Bell,
    media: Media,
    leg: Opened,
    session: SdpSession,
    plan: Plan,
    teller: Teller,
    phase: Phase,
    /// When the INVITE came or went.
    born: Duration,
    turn: u32,
    tape: Option<PathBuf>,
    summary: Option<Summary>,
    released: bool,
    /// What is left is dropped then.
    give_up_at: Option<Duration>,
}

impl Agent {
    /// An agent that waits at an address.
    pub(super) fn listening(at: SocketAddr, plan: Plan, teller: Teller) -> Result<Self, String> {
        Self::new(at, plan, teller)
    }

    fn new(address: SocketAddr, plan: Plan, teller: Teller) -> Result<Self, String> {
        let context = |error: std::io::Error| format!("{address}: {error}");
        let bell = Bell::new().map_err(context)?;
        let wire = Wire::bind(address, bell.clone()).map_err(context)?;
        let seed = random().map_err(context)?;
        let settings = media_settings(address.ip(), &plan).map_err(context)?;
        let mut media = Media::start(settings, bell.clone()).map_err(context)?;
        let leg = media.open(None).map_err(|full| full.to_string())?;
        let session = SdpSession::new(LocalMedia {
            session_id: seed[0] >> 1,
            version: 1,
            address: leg.rtp.ip(),
            port: leg.rtp.port(),
            codecs: plan.codecs.clone(),
            telephone_event: true,
            comfort_noise: true,
            rtcp_mux: true,
            ptime_ms: PTIME_MS,
            srtp: plan.srtp.clone(),
        });
        Ok(Self {
            endpoint: Endpoint::new(EndpointConfig::default(), seed),
            wire,
            hosts: Hosts::new(plan.name_servers.clone(), Some(bell.clone())),
            bell,
            media,
            leg,
            session,
            plan,
            teller,
            phase: Phase::Over(Ending::NotAnswered),
            born: clock::now(),
            turn: 0,
            tape: None,
            summary: None,
            released: false,
            give_up_at: None,
        })
    }

    /// Calls from a socket that reaches the target, and comes back when the call is over.
    pub(super) fn call(
        uri: &str,
        (caller, display): (&str, Option<&str>),
        plan: Plan,
        teller: Teller,
    ) -> Result<Ending, String> {
        let target = wire::target(uri)?;
        let remote = wire::resolve(&target, &plan.name_servers)?;
        let local = own_address(remote.ip()).ok_or_else(|| format!("no way to {remote}"))?;
        let mut agent = Self::new(SocketAddr::new(local, 0), plan, teller)?;
        let flow = agent.wire.flow(remote);
        agent.be_reached_at(&flow);
        let from = format!("sip:{caller}@{}", flow.local);
        let from = Uri::parse(&from).map_err(|_| format!("`{caller}` is no user of a SIP URI"))?;
        let key = agent.endpoint.next_key();
        agent.phase = Phase::Calling {
            key,
            progress: false,
        };
        agent.tell("calling", target.as_str(), json!({"to": target.as_str()}));
        let invite = Invite {
            key,
            way: Way {
                flow,
                trunk: None,
                target,
                from: Party {
                    display: display.map(str::to_owned),
                    uri: from,
                },
                asserted: None,
                private: false,
            },
            further: Vec::new(),
            to_display: None,
            call_id: None,
            offer: agent.session.offer(),
            headers: Vec::new(),
        };
        agent.command(Command::Invite(Box::new(invite)));
        agent.run()
    }

    /// Waits for a call, and comes back when it is over.
    pub(super) fn wait(mut self, line: Line) -> Result<Ending, String> {
        self.phase = Phase::Waiting(line);
        let address = self.wire.address();
        let data = json!({"address": address.to_string(), "port": address.port()});
        self.tell("listening", &format!("udp:{address}"), data);
        self.run()
    }

    fn run(mut self) -> Result<Ending, String> {
        wire::catch_interrupts();
        loop {
            self.drain_reports();
            self.on_time();
            self.drain_endpoint();
            if let Some(ending) = self.finished() {
                return self.finish(ending);
            }
            self.sleep();
            while let Some(arrival) = self.wire.next() {
                self.on_arrival(&arrival);
            }
            while let Some(located) = self.hosts.next() {
                self.endpoint.handle(clock::now(), located);
            }
            self.endpoint.handle(clock::now(), Input::Wake);
        }
    }

    fn sleep(&mut self) {
        let now = clock::now();
        let Output::Wait(endpoint) = self.endpoint.poll() else {
            unreachable!("the endpoint was drained, and nothing was handed in since");
        };
        let talk = match &self.phase {
            Phase::Ringing { answer_at, .. } => Some(*answer_at),
            Phase::Talking(talk) => self.next_of(talk),
            Phase::Waiting(_)
            | Phase::AwaitingTheirAnswer { .. }
            | Phase::Calling { .. }
            | Phase::Over(_) => None,
        };
        let next = endpoint.into_iter().chain(talk).min();
        let wait = next.map_or(LOOK, |next| next.saturating_sub(now).min(LOOK));
        self.bell.sleep(Some(wait));
    }

    /// When the plan has to be looked at next.
    fn next_of(&self, talk: &Talk) -> Option<Duration> {
        let key = self
            .plan
            .keys
            .get(talk.next_key)
            .map(|(_, at)| talk.since + *at);
        let end = self.plan.hang_up_after.map(|after| talk.since + after);
        let transfer = self.plan.transfer.as_ref();
        let transfer = transfer.map(|(_, at)| talk.since + *at);
        key.into_iter().chain(end).chain(transfer).min()
    }

    fn on_arrival(&mut self, arrival: &Arrival) {
        match arrival {
            Arrival::Datagram(flow, bytes) => {
                let packet = Input::Packet { flow: *flow, bytes };
                self.endpoint.handle(clock::now(), packet);
                self.drain_endpoint();
            }
            Arrival::NobodyListens => {
                if let Phase::Calling {
                    progress: false, ..
                } = self.phase
                {
                    self.tell("unreachable", "nobody listens there", Value::Null);
                    self.over(Ending::Unreachable);
                    self.give_up_at = Some(clock::now());
                }
            }
        }
    }

    fn command(&mut self, command: Command) {
        self.endpoint.handle(clock::now(), Input::Command(command));
    }

    fn drain_endpoint(&mut self) {
        loop {
            match self.endpoint.poll() {
                Output::Transmit { flow, bytes, .. } => self.wire.send(&flow, &bytes),
                Output::Event(event) => self.on_event(event),
                Output::Locate(name) => self.hosts.ask(name),
                Output::Wait(_) => return,
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Incoming { key, flow, invite } => self.on_incoming(key, &flow, *invite),
            Event::Cancelled { .. } => {
                self.tell("cancelled", "the caller gave up", Value::Null);
                self.over(Ending::NotAnswered);
            }
            Event::Confirmed { sdp, .. } => self.on_confirmed(sdp.as_deref()),
            Event::Progress { status, sdp, .. } => self.on_progress(status, sdp.as_deref()),
            Event::Answered { key, sdp } => {
                self.connect_to_answer(sdp.as_deref());
                self.talk(key);
            }
            Event::Failed { failure, .. } => self.on_failed(&failure),
            Event::Reinvite { key, offer } => self.on_reinvite(key, offer.as_deref()),
            Event::ReinviteConfirmed { sdp, .. } => self.connect_to_answer(sdp.as_deref()),
            Event::Ended { cause, .. } => self.on_ended(&cause),
            Event::Released { .. } => self.released = true,
            Event::EarlyAnswer { sdp, .. } => self.on_confirmed(Some(&sdp)),
            Event::TransferEnded { outcome, .. } => {
                let text = format!("{outcome:?}");
                self.tell("transferred", &text, json!({"outcome": text}));
            }
            Event::Changed { .. }
            | Event::Rerouted { .. }
            | Event::Redirected { .. }
            | Event::Unchanged { .. }
            | Event::Info { .. }
            | Event::TransferProgress { .. }
            | Event::TransferAsked { .. }
            | Event::ReinviteCancelled { .. }
            | Event::Trunk { .. }
            | Event::Message { .. } => {}
        }
    }

    fn on_incoming(&mut self, key: CallKey, flow: &Flow, invite: Incoming) {
        let Phase::Waiting(line) = self.phase else {
            return self.reject(key, status(486));
        };
        self.born = clock::now();
        self.be_reached_at(flow);
        let (from, to) = (invite.from.uri.as_str(), invite.request_uri.as_str());
        let data = json!({"from": from, "to": to});
        self.tell("incoming", &format!("{from} to {to}"), data);
        self.phase = Phase::Ringing {
            key,
            offer: invite.offer,
            answer_at: self.born + line.ring,
        };
        if let Some(code) = line.refuse {
            self.tell("refused", &code.to_string(), json!({"status": code}));
            self.over(Ending::NotAnswered);
            return self.reject(key, status(code));
        }
        if !line.ring.is_zero() {
            self.command(Command::Ring {
                key,
                status: status(180),
                sdp: None,
                headers: Vec::new(),
            });
        }
    }

    fn reject(&mut self, key: CallKey, status: StatusCode) {
        self.command(Command::Reject {
            key,
            status,
            phrase: None,
            retry_after: None,
            headers: Vec::new(),
        });
    }

    fn accept(&mut self, key: CallKey, offer: Option<&[u8]>) {
        let answer = match offer {
            Some(offer) => self.session.answer(offer),
            None => {
                let sdp = self.session.offer();
                self.phase = Phase::AwaitingTheirAnswer { key };
                return self.command(accept(key, sdp));
            }
        };
        match answer {
            Ok((sdp, agreed)) => {
                self.connect(&agreed);
                self.command(accept(key, sdp));
                self.talk(key);
            }
            Err(fault) => {
                self.tell("refused", &fault.to_string(), Value::Null);
                self.over(Ending::NotAnswered);
                self.reject(key, fault.status());
            }
        }
    }

    fn on_confirmed(&mut self, answer: Option<&[u8]>) {
        if let Phase::AwaitingTheirAnswer { key } = self.phase {
            self.connect_to_answer(answer);
            self.talk(key);
        }
    }

    fn on_progress(&mut self, status: StatusCode, answer: Option<&[u8]>) {
        if let Phase::Calling { progress, .. } = &mut self.phase {
            *progress = true;
        }
        let event = if status.code() == 180 {
            "ringing"
        } else {
            "progress"
        };
        let media = if answer.is_some() {
            ", early media"
        } else {
            ""
        };
        let data = json!({"status": status.code()});
        self.tell(event, &format!("{}{media}", status.code()), data);
        self.connect_to_answer(answer);
    }

    fn on_failed(&mut self, failure: &Failure) {
        let cause = translate::failure(failure).name();
        let status = failure.status.code();
        let detail = format!("{status} {}: {cause}", failure.phrase);
        let data = json!({"status": status, "phrase": failure.phrase, "cause": cause});
        self.tell("failed", &detail, data);
        self.over(if failure.local {
            Ending::Unreachable
        } else {
            Ending::NotAnswered
        });
    }

    fn on_ended(&mut self, cause: &EndCause) {
        let cause = translate::ending(cause).name();
        self.tell("ended", cause, json!({"cause": cause}));
        // A call that we cancelled while it rang ends as well.
        self.over(match self.phase {
            Phase::Talking(_) => Ending::Talked,
            Phase::Waiting(_)
            | Phase::Ringing { .. }
            | Phase::AwaitingTheirAnswer { .. }
            | Phase::Calling { .. }
            | Phase::Over(_) => Ending::NotAnswered,
        });
    }

    fn on_reinvite(&mut self, key: CallKey, offer: Option<&[u8]>) {
        let answer = match offer.map(|offer| self.session.answer(offer)) {
            None => ReinviteAnswer::Accept(self.session.offer()),
            Some(Ok((sdp, agreed))) => {
                self.connect(&agreed);
                ReinviteAnswer::Accept(sdp)
            }
            Some(Err(fault)) => ReinviteAnswer::Refuse(fault.status()),
        };
        self.command(Command::AnswerReinvite { key, answer });
    }

    /// In SDP stands the address that the peer sees, not "any".
    fn be_reached_at(&mut self, flow: &Flow) {
        if self.session.local.address.is_unspecified() {
            self.session.local.address = flow.local.ip();
        }
    }

    fn connect_to_answer(&mut self, answer: Option<&[u8]>) {
        match answer.map(|answer| self.session.accept_answer(answer)) {
            Some(Ok(agreed)) => self.connect(&agreed),
            Some(Err(fault)) => self.tell("bad_answer", &fault.to_string(), Value::Null),
            None => {}
        }
    }

    fn connect(&mut self, agreed: &Negotiated) {
        let (codec, remote) = (agreed.codec.name(), agreed.remote_rtp.to_string());
        let data = json!({"codec": codec, "remote": remote});
        self.tell("media", &format!("{codec} with {remote}"), data);
        self.order(Order::Connect(translate::stream(agreed)));
    }

    fn order(&mut self, order: Order) {
        if let Err(full) = self.media.order(self.leg.slot, order) {
            self.tell("media_failed", &full.to_string(), Value::Null);
        }
    }

    fn talk(&mut self, key: CallKey) {
        let now = clock::now();
        self.tell("answered", "", Value::Null);
        self.order(Order::Answered { they_called: false });
        self.record();
        self.play();
        self.phase = Phase::Talking(Talk {
            key,
            since: now,
            next_key: 0,
            played: false,
            speaking: false,
            quiet_since: now,
            hanging_up: false,
        });
    }

    fn record(&mut self) {
        let Some(out) = &self.plan.record else { return };
        let name = tape_name(out);
        match self.media.record(self.leg.slot, &name) {
            Ok(tape) => self.tape = tape,
            Err(full) => self.tell("media_failed", &full.to_string(), Value::Null),
        }
    }

    fn play(&mut self) {
        if let Some(script) = &self.plan.sound {
            let script: Arc<Script> = Arc::clone(script);
            self.order(Order::Play {
                turn: self.turn,
                play: PLAY,
                script,
                interruptible: false,
            });
        }
    }

    fn drain_reports(&mut self) {
        while let Some(report) = self.media.next_report() {
            self.on_report(report);
        }
    }

    fn on_report(&mut self, report: Report) {
        match report.kind {
            ReportKind::Ear(event) => self.on_heard(&event.kind, report.at),
            ReportKind::BargeIn { turn, .. } | ReportKind::Turn { turn } => self.turn = turn,
            ReportKind::EventsLost { turn, speaking, .. } => {
                self.turn = turn;
                self.set_speaking(speaking, report.at);
            }
            ReportKind::Digit(Digit::Key(key)) => {
                let key = char::from(key).to_string();
                self.tell("dtmf", &key, json!({"digit": key}));
            }
            ReportKind::Digit(Digit::Masked) => self.tell("dtmf", "masked", Value::Null),
            ReportKind::Played {
                sent_samples,
                finished,
                ..
            } => self.on_played(sent_samples, finished, report.at),
            // Speech raised the turn before the order came through: again.
            ReportKind::Stale { .. } => self.play(),
            ReportKind::MediaLost { ms } => {
                let detail = format!("no packet for {ms} ms");
                self.tell("media_lost", &detail, json!({"ms": ms}));
            }
            ReportKind::Closed(summary) => self.summary = Some(summary),
            // Only a conversation collects secrets, or has a second leg.
            ReportKind::Latched(_)
            | ReportKind::Sealed { .. }
            | ReportKind::Joined
            | ReportKind::NotJoined => {}
        }
    }

    fn on_heard(&mut self, kind: &EventKind, at: Duration) {
        let detail = match kind {
            EventKind::SpeechStart { .. } => {
                self.set_speaking(true, at);
                String::new()
            }
            EventKind::SpeechEnd { .. } => {
                self.set_speaking(false, at);
                String::new()
            }
            EventKind::Tone { kind, .. } => kind.name().to_owned(),
            EventKind::Answer {
                class, confidence, ..
            } => format!("{} {confidence} %", class.name()),
            EventKind::AnswerCorrected { class, was, .. } => {
                format!("{}, not {}", class.name(), was.name())
            }
            EventKind::Beep { hz, .. } => format!("{hz} Hz"),
            EventKind::SpeechPause { .. }
            | EventKind::BargeIn { .. }
            | EventKind::BargeInRetracted
            | EventKind::Dtmf { .. }
            | EventKind::GreetingEnd { .. }
            | EventKind::TurnEnd { .. }
            | EventKind::Manner(_)
            | EventKind::Silence { .. } => return,
        };
        self.tell(kind.name(), &detail, json!({"detail": detail}));
    }

    fn set_speaking(&mut self, speaking: bool, at: Duration) {
        if let Phase::Talking(talk) = &mut self.phase {
            talk.speaking = speaking;
            talk.quiet_since = at;
        }
    }

    fn on_played(&mut self, sent_samples: u64, finished: bool, at: Duration) {
        let seconds = sent_samples as f64 / f64::from(offhook_dsp::SAMPLE_RATE);
        let detail = if finished { "to its end" } else { "cut" };
        let data = json!({"finished": finished, "seconds": seconds});
        self.tell("played", &format!("{seconds:.1} s, {detail}"), data);
        if let Phase::Talking(talk) = &mut self.phase {
            talk.played = true;
            talk.quiet_since = talk.quiet_since.max(at);
        }
    }

    fn on_time(&mut self) {
        let now = clock::now();
        if wire::interrupted() {
            self.on_interrupt(now);
        }
        match &mut self.phase {
            Phase::Ringing {
                key,
                offer,
                answer_at,
            } if *answer_at <= now => {
                let (key, offer) = (*key, offer.take());
                self.accept(key, offer.as_deref());
            }
            Phase::Talking(_) => self.follow_plan(now),
            Phase::Ringing { .. }
            | Phase::Waiting(_)
            | Phase::AwaitingTheirAnswer { .. }
            | Phase::Calling { .. }
            | Phase::Over(_) => {}
        }
    }

    fn follow_plan(&mut self, now: Duration) {
        let Phase::Talking(talk) = &mut self.phase else {
            return;
        };
        let due = self.plan.keys[talk.next_key..]
            .iter()
            .take_while(|(_, at)| talk.since + *at <= now);
        let keys: media::Digits = due.map(|(key, _)| *key).take(32).collect();
        talk.next_key += keys.len();
        let late = self
            .plan
            .hang_up_after
            .is_some_and(|after| talk.since + after <= now);
        let quiet = talk.quiet_since.max(talk.since) + QUIET <= now;
        // With an end of its own the plan does not end early.
        let done = talk.played && !talk.speaking && quiet && self.plan.hang_up_after.is_none();
        let keys_left = talk.next_key < self.plan.keys.len();
        let (since, key) = (talk.since, talk.key);
        if (late || (done && !keys_left)) && !talk.hanging_up {
            talk.hanging_up = true;
            self.command(Command::Hangup { key, reason: None });
        }
        let due = |(_, at): &mut (String, Duration)| since + *at <= now;
        if let Some((number, _)) = self.plan.transfer.take_if(due) {
            self.tell("transferring", &number, json!({"to": number}));
            let uri = Uri::parse(&number).map(TransferTarget::Uri);
            let to = uri.unwrap_or(TransferTarget::User(number));
            self.command(Command::Transfer(Box::new(TransferOrder { key, to })));
        }
        if !keys.is_empty() {
            let text = String::from_utf8_lossy(&keys).into_owned();
            self.tell("pressed", &text, json!({"digits": text}));
            self.order(Order::SendDigits(keys));
        }
    }

    /// The first Ctrl-C ends the call in order, the second at once.
    fn on_interrupt(&mut self, now: Duration) {
        self.tell("interrupted", "", Value::Null);
        let hang_up = |key| Command::Hangup { key, reason: None };
        match &mut self.phase {
            Phase::Waiting(_) => self.over(Ending::NotAnswered),
            Phase::Ringing { key, .. }
            | Phase::AwaitingTheirAnswer { key }
            | Phase::Calling { key, .. } => {
                let key = *key;
                self.command(hang_up(key));
                self.give_up_at.get_or_insert(now + FAREWELL);
            }
            Phase::Talking(talk) if !talk.hanging_up => {
                talk.hanging_up = true;
                let key = talk.key;
                self.command(hang_up(key));
                self.give_up_at.get_or_insert(now + FAREWELL);
            }
            Phase::Talking(_) | Phase::Over(_) => self.give_up_at = Some(now),
        }
    }

    fn over(&mut self, ending: Ending) {
        if matches!(self.phase, Phase::Over(_)) {
            return;
        }
        self.released = matches!(self.phase, Phase::Waiting(_));
        self.phase = Phase::Over(ending);
        self.give_up_at.get_or_insert(clock::now() + FAREWELL);
        self.order(Order::Close);
    }

    /// The ending, once nothing is left to be done.
    fn finished(&self) -> Option<Ending> {
        let given_up = self.give_up_at.is_some_and(|at| at <= clock::now());
        match self.phase {
            Phase::Over(ending) => {
                (given_up || (self.released && self.summary.is_some())).then_some(ending)
            }
            Phase::Talking(_) => given_up.then_some(Ending::Talked),
            Phase::Waiting(_)
            | Phase::Ringing { .. }
            | Phase::AwaitingTheirAnswer { .. }
            | Phase::Calling { .. } => given_up.then_some(Ending::NotAnswered),
        }
    }

    fn finish(self, ending: Ending) -> Result<Ending, String> {
        let answered = ending == Ending::Talked;
        if let Some(summary) = &self.summary {
            let (text, data) = figures(summary, answered);
            self.tell("summary", &text, data);
        }
        let Self {
            media, plan, tape, ..
        } = self;
        // The recorder finishes what it has when media ends.
        drop(media);
        if let (Some(tape), Some(out)) = (tape, plan.record) {
            plan::keep_heard(&tape, &out)?;
        }
        Ok(ending)
    }

    fn tell(&self, event: &str, detail: &str, data: Value) {
        let t = clock::now().saturating_sub(self.born);
        self.teller.tell(t, event, detail, data);
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::new(code).expect("from 100 to 699: ours, or checked with the arguments")
}

fn accept(key: CallKey, sdp: Vec<u8>) -> Command {
    Command::Accept {
        key,
        sdp,
        headers: Vec::new(),
    }
}

fn media_settings(address: IpAddr, plan: &Plan) -> std::io::Result<media::Settings> {
    let [bits] = random()?;
    let place = u16::try_from(bits % PLACES).unwrap_or_default();
    let first = PORTS_FIRST + place * PAIRS * 2;
    Ok(media::Settings {
        threads: 1,
        max_calls: 1,
        address,
        ports: first..=first + PAIRS * 2 - 1,
        realtime: true,
        sensitivity: offhook_dsp::Sensitivity::DEFAULT,
        recordings: plan.record.as_deref().map(folder),
        reserve: 0,
        cname: format!("offhook@{address}"),
    })
}

fn folder(out: &Path) -> PathBuf {
    match out.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// The stereo tape stands beside the file that it becomes, out of sight.
fn tape_name(out: &Path) -> String {
    let stem = out.file_stem().unwrap_or_default().to_string_lossy();
    format!(".{stem}-{}", std::process::id())
}

fn figures(summary: &Summary, answered: bool) -> (String, Value) {
    let text = format!(
        "{} packets received, {} lost, {} late, {} sent, jitter {:.1} ms",
        summary.received,
        summary.lost,
        summary.late,
        summary.sent,
        f64::from(summary.jitter_us) / 1000.0
    );
    let data = json!({
        "answered": answered,
        "received": summary.received,
        "lost": summary.lost,
        "late": summary.late,
        "duplicate": summary.duplicate,
        "reordered": summary.reordered,
        "malformed": summary.malformed,
        "foreign": summary.foreign,
        "concealed_ms": summary.concealed_ms,
        "recovered_ms": summary.recovered_ms,
        "sent": summary.sent,
        "jitter_ms": f64::from(summary.jitter_us) / 1000.0,
        "round_trip_ms": f64::from(summary.round_trip_us) / 1000.0,
    });
    (text, data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use offhook_sip::sdp::Codec;
    use std::sync::mpsc::channel;

    fn plan() -> Plan {
        Plan {
            codecs: Codec::ALL.to_vec(),
            srtp: None,
            sound: None,
            record: None,
            keys: Vec::new(),
            transfer: None,
            hang_up_after: None,
            name_servers: Vec::new(),
        }
    }

    /// A loud tone of half a second.
    fn tone() -> Arc<Script> {
        let sample = |n: usize| {
            if (n / 8).is_multiple_of(2) {
                8000
            } else {
                -8000
            }
        };
        let clip = media::Clip {
            samples: (0..4000).map(sample).collect(),
            words: Box::default(),
        };
        Arc::new(Script {
            clips: vec![Arc::new(clip)],
        })
    }

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    /// Starts somebody who takes one call; gives their URI.
    fn callee(plan: Plan, line: Line) -> (String, std::thread::JoinHandle<Ending>) {
        let (sender, uri) = channel();
        let thread = std::thread::spawn(move || {
            let agent = Agent::listening(loopback(), plan, Teller::silent()).unwrap();
            sender
                .send(format!("sip:100@{}", agent.wire.address()))
                .unwrap();
            agent.wait(line).unwrap()
        });
        (uri.recv().unwrap(), thread)
    }

    fn call(uri: &str, plan: Plan) -> Ending {
        Agent::call(uri, ("200", None), plan, Teller::silent()).unwrap()
    }

    #[test]
    fn what_one_agent_plays_the_other_records() {
        let folder = std::env::temp_dir().join(format!("offhook-agent-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let out = folder.join("heard.wav");
        let listening = Plan {
            record: Some(out.clone()),
            ..plan()
        };
        let (uri, callee) = callee(listening, Line::default());
        let calling = Plan {
            sound: Some(tone()),
            hang_up_after: Some(Duration::from_millis(1500)),
            keys: vec![(b'5', Duration::from_millis(800))],
            ..plan()
        };
        assert_eq!(call(&uri, calling), Ending::Talked);
        assert_eq!(callee.join().unwrap(), Ending::Talked);
        let heard = crate::wav::read(&out).unwrap();
        assert_eq!((heard.rate, heard.channels), (8000, 1));
        let loud = heard
            .samples
            .iter()
            .filter(|sample| sample.unsigned_abs() > 4000);
        let loud = loud.count();
        assert!(
            (3000..=4200).contains(&loud),
            "half a second of tone: {loud}"
        );
        assert_eq!(
            std::fs::read_dir(&folder).unwrap().count(),
            1,
            "no tape is left"
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_busy_far_end_is_not_answered() {
        let line = Line {
            refuse: Some(486),
            ..Line::default()
        };
        let (uri, callee) = callee(plan(), line);
        assert_eq!(call(&uri, plan()), Ending::NotAnswered);
        assert_eq!(callee.join().unwrap(), Ending::NotAnswered);
    }

    #[test]
    fn where_nobody_listens_the_call_cannot_be_made() {
        let unused = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let uri = format!("sip:100@{}", unused.local_addr().unwrap());
        drop(unused);
        assert_eq!(call(&uri, plan()), Ending::Unreachable);
    }

    #[test]
    fn a_call_that_rings_first_is_answered_then() {
        let line = Line {
            ring: Duration::from_millis(300),
            refuse: None,
        };
        let (uri, callee) = callee(plan(), line);
        let calling = Plan {
            hang_up_after: Some(Duration::from_millis(100)),
            ..plan()
        };
        assert_eq!(call(&uri, calling), Ending::Talked);
        assert_eq!(callee.join().unwrap(), Ending::Talked);
    }
}
