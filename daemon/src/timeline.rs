//! A call in lines that a person can read: what happened, in which lane.
//!
//! The same lines serve the live stream (`offhook tail`), a finished call
//! (`offhook call`) and the picture; they are made from the conversation's log
//! and carry nothing that the log does not.

use std::collections::BTreeMap;
use std::time::Duration;

use offhook_core::input::{
    Digit, Fact, Lease, LegEvent, Manner, Referral, SilenceCause, UpstreamAnswer, Words,
};
use offhook_core::{Command, Event, Record};
use serde::{Deserialize, Serialize};

use crate::control::{Lane, TimelineEntry};

/// One line of a timeline, without its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Which side of the house.
    pub lane: Lane,
    /// What happened: `barge_in`, `refused`, `INVITE`.
    pub event: String,
    /// The particulars.
    pub detail: String,
}

impl Line {
    /// A line about SIP.
    pub fn signalling(event: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Lane::Signalling, event, detail)
    }

    /// A line about RTP.
    pub fn media(event: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Lane::Note, event, detail)
    }

    /// A line about something that was done.
    pub fn action(event: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Lane::Action, event, detail)
    }

    fn new(lane: Lane, event: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            lane,
            event: event.into(),
            detail: detail.into(),
        }
    }

    /// Puts the line at its time in a call that began at `born`; what happened
    /// before it is at 0.
    pub fn at(self, born: Duration, at: Duration) -> TimelineEntry {
        let ms = at.saturating_sub(born).as_millis();
        TimelineEntry {
            ms: ms.try_into().unwrap_or(u64::MAX),
            lane: self.lane,
            event: self.event,
            detail: self.detail,
            data: BTreeMap::new(),
        }
    }

    /// What a person wants to know of an input; nothing of a mere wakeup.
    pub fn of_input(event: &Event) -> Option<Self> {
        use Lane::{Action, Note, Signalling};
        Some(match event {
            Event::Offered(offered) => Self::new(
                Signalling,
                "offered",
                format!(
                    "{} calls {} by {}",
                    or_anonymous(&offered.caller),
                    offered.called,
                    offered.trunk
                ),
            ),
            Event::Originate(order) => Self::new(
                Signalling,
                "originate",
                format!("{} by {}, for {}", order.to, order.trunk, order.by),
            ),
            Event::Leg(leg, event) => {
                let line = Self::of_leg_event(event);
                if leg.0 == 0 { line } else { line.on_leg(leg.0) }
            }
            Event::Facts(facts) => Self::new(Note, "facts", facts_text(facts)),
            Event::Stored { seq, durable: true } => {
                Self::new(Action, "durable", format!("commit {}", seq.0))
            }
            Event::Stored {
                seq,
                durable: false,
            } => Self::new(Action, "store_failed", format!("commit {}", seq.0)),
            Event::Upstream { action, answer } => {
                let event = match answer {
                    UpstreamAnswer::Accepted => "accepted",
                    UpstreamAnswer::Rejected => "rejected",
                };
                Self::new(Action, event, format!("{action} by the upstream"))
            }
            Event::Remembered(known) => Self::new(
                Note,
                "remembered",
                format!("lead {}, {}", known.lead, known.identity.name()),
            ),
            Event::Happened(happening) => Self::new(Note, "happened", happening.name.clone()),
            Event::Leased(leases) => Self::new(Note, "leased", leases_text(leases)),
            Event::Approval { approved, by, .. } => {
                let event = if *approved { "approved" } else { "declined" };
                Self::new(Action, event, format!("by {by}"))
            }
            Event::Standing(standing) => Self::new(
                Note,
                "decreed",
                format!(
                    "{} limits, {} overrides",
                    standing.limits.len(),
                    standing.overrides.len()
                ),
            ),
            Event::Governed(texts) => Self::new(
                Note,
                "governed",
                format!("policy {} {}", texts.policy.name, texts.policy.hash),
            ),
            Event::OperatorHangup => Self::new(Note, "operator_hangup", ""),
            Event::Wake => return None,
        })
    }

    fn of_leg_event(event: &LegEvent) -> Self {
        use Lane::{Action, Perception, Signalling};
        match event {
            LegEvent::Ringing { media } => Self::new(
                Signalling,
                "ringing",
                if *media { "with early media" } else { "" },
            ),
            LegEvent::Answered => Self::new(Signalling, "answered", ""),
            LegEvent::Failed(cause) => Self::new(Signalling, "failed", cause.name()),
            LegEvent::Ended(cause) => Self::new(Signalling, "ended", cause.name()),
            LegEvent::Held(true) => Self::new(Signalling, "held", ""),
            LegEvent::Held(false) => Self::new(Signalling, "resumed", ""),
            LegEvent::SpeechStart => Self::new(Perception, "speech_start", ""),
            LegEvent::SpeechPause => Self::new(Perception, "speech_pause", ""),
            LegEvent::SpeechEnd => Self::new(Perception, "speech_end", ""),
            LegEvent::BargeIn { turn } => {
                Self::new(Perception, "barge_in", format!("turn {}", turn.0))
            }
            LegEvent::Turn { turn } => Self::new(Perception, "turn", turn.0.to_string()),
            LegEvent::BargeInRetracted => Self::new(Perception, "barge_in_retracted", ""),
            LegEvent::Answer {
                class,
                confidence,
                corrected,
            } => Self::new(
                Perception,
                if *corrected {
                    "answer_corrected"
                } else {
                    "answer"
                },
                format!("{} ({confidence} %)", class.name()),
            ),
            LegEvent::Beep => Self::new(Perception, "beep", ""),
            LegEvent::GreetingEnd => Self::new(Perception, "greeting_end", ""),
            LegEvent::TurnEnd { confidence } => {
                Self::new(Perception, "turn_end", format!("({confidence} %)"))
            }
            LegEvent::Manner(manner) => Self::new(Perception, "manner", manner_detail(manner)),
            LegEvent::Tone(kind) => Self::new(Perception, "tone", kind.clone()),
            LegEvent::Digit(Digit::Key(key)) => Self::new(Perception, "dtmf", key.to_string()),
            LegEvent::Digit(Digit::Masked) => Self::new(Perception, "dtmf", "masked"),
            LegEvent::Sealed { keys, check_digit } => {
                let right = if *check_digit { "right" } else { "wrong" };
                let keys = usize::from(*keys);
                Self::new(
                    Perception,
                    "sealed",
                    format!("{} ({keys} keys, check digit {right})", "*".repeat(keys)),
                )
            }
            LegEvent::HandedOver { taken: true } => Self::new(Action, "handed_over", ""),
            LegEvent::HandedOver { taken: false } => Self::new(Action, "not_handed_over", ""),
            LegEvent::Silence(cause) => Self::new(Perception, "silence", silence_name(*cause)),
            LegEvent::Played {
                play,
                sent_ms,
                finished,
            } => Self::new(
                Action,
                if *finished { "played" } else { "cut" },
                format!("prompt {play} after {sent_ms} ms"),
            ),
            LegEvent::Stale { turn } => Self::new(Action, "stale", format!("turn {}", turn.0)),
            LegEvent::Words(words) => Self::new(
                Perception,
                if words.last { "words" } else { "words_so_far" },
                heard(words),
            ),
            LegEvent::Joined => Self::new(Action, "joined", ""),
            LegEvent::JoinFailed => Self::new(Action, "join_failed", ""),
            LegEvent::AskedOnward { to, replaces } => {
                let held = replaces.as_ref().map_or("", |_| ", whom they hold");
                Self::new(Signalling, "sends_on", format!("to {to}{held}"))
            }
            LegEvent::Referral(referral) => {
                Self::new(Signalling, "transfer", referral_name(*referral))
            }
            LegEvent::EventsLost { count, .. } => {
                Self::new(Perception, "events_lost", count.to_string())
            }
            LegEvent::MediaLost { ms } => {
                Self::new(Perception, "media_lost", format!("no packet for {ms} ms"))
            }
        }
    }

    fn on_leg(mut self, leg: u8) -> Self {
        self.detail = format!("leg {leg}: {}", self.detail);
        self
    }

    /// A decision: what was proposed, what was said to it, and why.
    pub fn of_record(record: &Record) -> Self {
        let detail = format!(
            "{} {} [{}]",
            record.kind,
            record.object,
            record.rules.join(", ")
        );
        Self::new(Lane::Decision, record.verdict.name(), detail)
    }

    /// What we do on a leg.
    pub fn of_command(command: &Command) -> Self {
        let say = |event, detail| Self::new(Lane::Action, event, detail);
        match command {
            Command::Ring => say("ring", String::new()),
            Command::Answer => say("answer_call", String::new()),
            Command::Refuse(cause) => say("refuse_call", cause.name().to_owned()),
            Command::Dial { to, trunk, .. } => say("dial", format!("{to} by {trunk}")),
            Command::HangUp(cause) => say("hang_up", cause.name().to_owned()),
            Command::Play(play) => say(
                "play",
                format!("prompt {}: {}", play.play, play.prompts.join(", ")),
            ),
            Command::Stop { turn } => say("stop", format!("turn {}", turn.0)),
            Command::Resume { play, .. } => say("resume", format!("prompt {play}")),
            Command::Press { keys } => say("press", keys.clone()),
            Command::Collect { secret } => {
                let how = if secret.is_some() { "secret" } else { "open" };
                say("collect", how.to_owned())
            }
            Command::HandOver { sink, id } => say("hand_over", format!("to {sink} as {id}")),
            Command::Join { with } => say("join", format!("leg {}", with.0)),
            Command::Refer { to, trunk } => say("refer", format!("to {to} by {trunk}")),
            Command::TakeReferral { taken: true } => say("take_referral", String::new()),
            Command::TakeReferral { taken: false } => say("refuse_referral", String::new()),
            Command::ReportReferral { how } => say("report_referral", referral_name(*how)),
            Command::ReferToLeg { with } => say("refer", format!("to leg {}", with.0)),
            Command::Echo => say("echo", String::new()),
            Command::TestTone => say("test_tone", String::new()),
        }
    }
}

fn or_anonymous(caller: &str) -> &str {
    if caller.is_empty() {
        "anonymous"
    } else {
        caller
    }
}

fn facts_text(facts: &[Fact]) -> String {
    let text = |fact: &Fact| match fact.value {
        Some(value) => format!("{}={value}", fact.name),
        None => format!("{} unknown", fact.name),
    };
    facts.iter().map(text).collect::<Vec<_>>().join(" ")
}

fn manner_detail(manner: &Manner) -> String {
    format!(
        "{} syllables a minute, answers after {} ms{}",
        manner.syllables_per_minute,
        manner.latency_ms,
        if manner.hesitating {
            ", hesitating"
        } else {
            ""
        }
    )
}

fn leases_text(leases: &[Lease]) -> String {
    let text = |lease: &Lease| format!("{}={}", lease.name, lease.value);
    leases.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// Words, how sure they are, and whose ear it was, where that says so.
fn heard(words: &Words) -> String {
    let by = match words.engine.as_str() {
        "" => String::new(),
        engine => format!(", {engine}"),
    };
    format!("\"{}\" ({} %{by})", words.text, words.confidence)
}

fn referral_name(referral: Referral) -> String {
    match referral {
        Referral::Rings => "it rings there".to_owned(),
        Referral::Reached => "they talk to each other".to_owned(),
        Referral::Refused => "the far end does not do it".to_owned(),
        Referral::Missed(cause) => format!("not reached: {}", cause.name()),
        Referral::Unreported => "never told how it went".to_owned(),
        Referral::HungUp => "the far end left for there".to_owned(),
    }
}

const fn silence_name(cause: SilenceCause) -> &'static str {
    match cause {
        SilenceCause::NoRtp => "no_rtp",
        SilenceCause::ComfortNoise => "comfort_noise",
        SilenceCause::HoldMusic => "hold_music",
        SilenceCause::Quiet => "quiet",
        SilenceCause::Thinking => "thinking",
        SilenceCause::Gone => "gone",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use offhook_core::{LegId, Turn};

    #[test]
    fn a_barge_in_is_a_perception_at_its_time() {
        let event = Event::Leg(LegId(0), LegEvent::BargeIn { turn: Turn(3) });
        let line = Line::of_input(&event).unwrap();
        let moment = line.at(Duration::from_millis(100), Duration::from_millis(350));
        assert_eq!((moment.ms, moment.lane), (250, Lane::Perception));
        assert_eq!(
            (moment.event.as_str(), moment.detail.as_str()),
            ("barge_in", "turn 3")
        );
    }

    #[test]
    fn a_wakeup_is_nobodys_business() {
        assert_eq!(Line::of_input(&Event::Wake), None);
    }
}
