//! What came of each person who was called: named in the outcome with what was heard
//! there. A recording that is not known yet for a voicemail or a menu is listened to for
//! a while longer; the caller is back meanwhile. Called where a person is consulted
//! (`transfer`).

use core::time::Duration;

use smol_str::{SmolStr, format_smolstr};

use super::Dialogue;
use crate::desk::Desk;
use crate::id::LegId;
use crate::input::{AnswerClass, Cause, LegEvent};
use crate::output::{ATTEMPTS_MAX, Attempt, Came, Command, SIGNS_MAX, Sign};
use crate::timers::Timer;

/// A recording is listened to so much longer: most greetings are over by then.
const NAMING_MS: u64 = 12_000;
/// Quiet without a beep may still become a person who waits, 200 ms later.
const QUIET_MS: u64 = 500;
/// Characters of words that are kept.
const WORDS_MAX: usize = 120;

/// A person who was called, as it is kept.
#[derive(Debug)]
struct Called {
    since: Duration,
    ended: Option<Duration>,
    told: Attempt,
}

/// All persons who were called, the last one last.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    called: Vec<Called>,
    /// Its recording is still listened to.
    naming: Option<LegId>,
}

impl Attempts {
    /// A person is called; beyond the limit it is not told of.
    pub(super) fn begin(&mut self, now: Duration, to: &str, trunk: &str, leg: Option<LegId>) {
        if self.called.len() == ATTEMPTS_MAX {
            return;
        }
        self.called.push(Called {
            since: now,
            ended: None,
            told: Attempt {
                to: to.to_owned(),
                trunk: trunk.to_owned(),
                leg: leg.map(|leg| leg.0),
                ms: 0,
                came: Came::Unfinished,
                signs: Vec::new(),
            },
        });
    }

    /// It has come to that; what was known first stays.
    pub(super) fn end(&mut self, now: Duration, came: Came) {
        if let Some(called) = self.called.last_mut()
            && called.ended.is_none()
        {
            called.ended = Some(now);
            called.told.came = came;
        }
    }

    /// The recording on a leg is known now.
    fn rename(&mut self, leg: LegId, came: Came) {
        if let Some(called) = self.of(leg) {
            called.told.came = came;
        }
    }

    fn of(&mut self, leg: LegId) -> Option<&mut Called> {
        let mut all = self.called.iter_mut().rev();
        all.find(|called| called.told.leg == Some(leg.0))
    }

    /// What happened on a leg, as far as it tells who is there.
    pub(super) fn note(&mut self, now: Duration, leg: LegId, event: &LegEvent) {
        let Some(what) = sign(event) else { return };
        let Some(called) = self.of(leg) else { return };
        if called.told.signs.len() < SIGNS_MAX {
            let ms = now.saturating_sub(called.since).as_millis();
            let ms = ms.try_into().unwrap_or(u64::MAX);
            let what = what.into();
            called.told.signs.push(Sign { ms, what });
        }
    }

    /// A beep was heard there already.
    fn has_beeped(&mut self, leg: LegId) -> bool {
        let beep = |called: &mut Called| called.told.signs.iter().any(|sign| sign.what == BEEP);
        self.of(leg).is_some_and(beep)
    }

    /// All of them, in a conversation that ended then. What a person said to us is not
    /// told, what a recording says is.
    pub(super) fn told(&self, end: Duration) -> Vec<Attempt> {
        let one = |called: &Called| {
            let until = called.ended.unwrap_or(end);
            let ms = until.saturating_sub(called.since).as_millis();
            let mut told = called.told.clone();
            told.ms = ms.try_into().unwrap_or(u64::MAX);
            if !told.came.is_recording() {
                told.signs.retain(|sign| !sign.what.starts_with('"'));
            }
            told
        };
        self.called.iter().map(one).collect()
    }
}

const BEEP: &str = "beep";

/// What an event says of who is there.
fn sign(event: &LegEvent) -> Option<SmolStr> {
    let fixed = SmolStr::new_static;
    Some(match event {
        LegEvent::Ringing { .. } => fixed("ringing"),
        LegEvent::Answered => fixed("answered"),
        LegEvent::Failed(cause) | LegEvent::Ended(cause) => fixed(cause.name()),
        LegEvent::Answer {
            class, confidence, ..
        } => format_smolstr!("{} {confidence} %", class.name()),
        LegEvent::Beep => fixed(BEEP),
        LegEvent::GreetingEnd => fixed("greeting_end"),
        LegEvent::Tone(kind) => kind.into(),
        LegEvent::Words(words) if words.last => {
            let text: String = words.text.chars().take(WORDS_MAX).collect();
            format_smolstr!("\"{text}\"")
        }
        LegEvent::Words(_)
        | LegEvent::Held(_)
        | LegEvent::Turn { .. }
        | LegEvent::BargeIn { .. }
        | LegEvent::BargeInRetracted
        | LegEvent::SpeechStart
        | LegEvent::SpeechPause
        | LegEvent::SpeechEnd
        | LegEvent::TurnEnd { .. }
        | LegEvent::Manner(_)
        | LegEvent::Digit(_)
        | LegEvent::Sealed { .. }
        | LegEvent::HandedOver { .. }
        | LegEvent::Silence(_)
        | LegEvent::Played { .. }
        | LegEvent::Stale { .. }
        | LegEvent::Joined
        | LegEvent::JoinFailed
        | LegEvent::AskedOnward { .. }
        | LegEvent::Referral(_)
        | LegEvent::EventsLost { .. }
        | LegEvent::MediaLost { .. } => return None,
    })
}

impl Dialogue {
    /// A recording has answered there; which, may come out. Gives what is known.
    pub(super) fn name_recording(&mut self, desk: &mut Desk, leg: LegId) -> Came {
        if self.attempts.has_beeped(leg) {
            desk.command_on(leg, Command::HangUp(Cause::NearHangup));
            return Came::Voicemail;
        }
        self.stop_naming(desk);
        self.attempts.naming = Some(leg);
        let until = desk.after_ms(NAMING_MS);
        desk.timers.set(Timer::Naming, until);
        Came::Machine
    }

    /// Something happened where a recording is listened to; `false`: not there.
    pub(super) fn heard_recording(
        &mut self,
        desk: &mut Desk,
        leg: LegId,
        event: &LegEvent,
    ) -> bool {
        if self.attempts.naming != Some(leg) {
            return false;
        }
        match event {
            LegEvent::Beep => self.named(desk, leg, Came::Voicemail),
            LegEvent::GreetingEnd => {
                self.attempts.rename(leg, Came::Ivr);
                let until = desk.after_ms(QUIET_MS);
                desk.timers.set(Timer::Naming, until);
            }
            LegEvent::Answer { class, .. } => match class {
                // It waits for us as a person does, or for keys.
                AnswerClass::Human => self.named(desk, leg, Came::Machine),
                AnswerClass::Screening => self.named(desk, leg, Came::Screening),
                AnswerClass::Ivr => self.named(desk, leg, Came::Ivr),
                AnswerClass::Fax => self.named(desk, leg, Came::Fax),
                AnswerClass::Sit => self.named(desk, leg, Came::Unreachable),
                AnswerClass::Machine
                | AnswerClass::Busy
                | AnswerClass::Reorder
                | AnswerClass::Ringback
                | AnswerClass::Silence
                | AnswerClass::Unsure => {}
            },
            LegEvent::Failed(_) | LegEvent::Ended(_) => {
                self.attempts.naming = None;
                desk.timers.cancel(Timer::Naming);
            }
            _ => {}
        }
        true
    }

    fn named(&mut self, desk: &mut Desk, leg: LegId, came: Came) {
        self.attempts.rename(leg, came);
        self.values_of_transfer(came);
        self.stop_naming(desk);
    }

    /// It has been listened to for long enough.
    pub(super) fn stop_naming(&mut self, desk: &mut Desk) {
        if let Some(leg) = self.attempts.naming.take() {
            desk.timers.cancel(Timer::Naming);
            desk.command_on(leg, Command::HangUp(Cause::NearHangup));
        }
    }

    /// What came of all persons who were called.
    pub(crate) fn attempts(&self, end: Duration) -> Vec<Attempt> {
        self.attempts.told(end)
    }
}
