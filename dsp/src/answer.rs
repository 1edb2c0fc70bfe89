//! Who or what answered: a rule over speech, pause, tones and beep.
//!
//! Short speech and then a pause is a person who waits; long speech is a
//! recording; tones decide by themselves. Words are not heard here, so menus
//! and call screening pass for machines. Before the answer the same rule runs
//! on early media, but silence and doubt say nothing. Called by the ear.

use crate::event::{AnswerClass, EventKind, ToneKind};
use crate::report::Report;
use crate::speech::Speech;

/// Samples per millisecond.
const MS: u64 = 8;
/// Nothing at all for this long after the answer is silence.
const SILENCE: u64 = 4_500 * MS;
/// Nothing decided this long after the answer is doubt.
const UNSURE: u64 = 12_000 * MS;
/// Speech that goes on for this long without a decisive pause is a recording.
const MACHINE: u64 = 2_000 * MS;
/// Less speech than this is none: 200 ms.
const LEAST_SPEECH: u64 = 200 * MS;
/// A person whose first turn goes on for this long was none.
const NOT_HUMAN: u64 = 4_500 * MS;
/// Pauses that tell a person, by the length of the speech before them.
const HUMAN_PAUSES: [(u64, u64); 3] = [
    (900 * MS, 400 * MS),
    (1_800 * MS, 500 * MS),
    (u64::MAX, 900 * MS),
];
/// Only so long after the verdict it may change.
const CORRECTION: u64 = 12_000 * MS;

/// Evidence and verdict of one call.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    answered: bool,
    /// From here on evidence counts: the start, then the answer.
    origin: u64,
    /// Speech before it, in samples.
    spoken_before: u64,
    /// First speech since then.
    first_speech: Option<u64>,
    /// When it was last voiced.
    last_voiced: u64,
    last_sound: u64,
    verdict: Option<Verdict>,
    ringing: bool,
    doubted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Verdict {
    class: AnswerClass,
    at: u64,
    corrected: bool,
}

/// What else the frame brought.
#[derive(Clone, Copy)]
pub(crate) struct Evidence {
    pub(crate) answered: bool,
    pub(crate) tone: Option<ToneKind>,
    pub(crate) beep: bool,
    pub(crate) tonal: bool,
}

impl Answer {
    pub(crate) const fn new() -> Self {
        Self {
            answered: false,
            origin: 0,
            spoken_before: 0,
            first_speech: None,
            last_voiced: 0,
            last_sound: 0,
            verdict: None,
            ringing: false,
            doubted: false,
        }
    }

    /// The verdict so far.
    pub(crate) fn class(&self) -> Option<AnswerClass> {
        self.verdict.map(|verdict| verdict.class)
    }

    /// Takes the frame that ends at `at`.
    pub(crate) fn hear(
        &mut self,
        at: u64,
        evidence: Evidence,
        speech: &Speech,
        report: &mut Report,
    ) {
        if evidence.answered && !self.answered {
            self.begin(at, speech.spoken());
        }
        self.gather(at, evidence, speech);
        if let Some((class, confidence)) = evidence.tone.and_then(by_tone) {
            self.decide(at, class, confidence, report);
        }
        if evidence.beep {
            self.decide(at, AnswerClass::Machine, 95, report);
        }
        if let Some((class, confidence)) = self.by_speech(at, speech) {
            self.decide(at, class, confidence, report);
        }
        if self.answered && self.verdict.is_none() {
            self.by_silence(at, report);
        }
    }

    /// The call is answered: what early media said about speech is forgotten.
    fn begin(&mut self, at: u64, spoken_before: u64) {
        let frame = crate::FRAME as u64;
        let verdict = self.verdict.filter(|verdict| !is_by_speech(verdict.class));
        *self = Self {
            answered: true,
            origin: at - frame,
            spoken_before,
            last_sound: at - frame,
            verdict,
            ..Self::new()
        };
    }

    fn gather(&mut self, at: u64, evidence: Evidence, speech: &Speech) {
        if let Some(utterance) = speech.current() {
            let start = utterance.start.max(self.origin);
            self.first_speech.get_or_insert(start);
            self.last_voiced = at - speech.pause(at);
        } else if self.spoken(speech) < LEAST_SPEECH {
            // A click, a cough, the end of a tone: nobody spoke yet.
            self.first_speech = None;
            self.spoken_before = speech.spoken();
        }
        if speech.is_voiced() || evidence.tonal {
            self.last_sound = at;
        }
    }

    /// Samples of speech since the origin.
    fn spoken(&self, speech: &Speech) -> u64 {
        speech.spoken() - self.spoken_before
    }

    /// The rule over span and pause.
    fn by_speech(&self, at: u64, speech: &Speech) -> Option<(AnswerClass, u8)> {
        let first = self.first_speech?;
        let span = self.last_voiced.saturating_sub(first);
        let limit = if self.class() == Some(AnswerClass::Human) {
            NOT_HUMAN
        } else {
            MACHINE
        };
        if speech.is_voiced() && span >= limit {
            let surplus = (span - limit) / (100 * MS);
            return Some((AnswerClass::Machine, 75 + surplus.min(20) as u8));
        }
        if self.verdict.is_some() && self.class() != Some(AnswerClass::Silence) {
            return None;
        }
        if self.spoken(speech) < LEAST_SPEECH {
            return None;
        }
        let pause = at - self.last_voiced;
        let enough = HUMAN_PAUSES
            .iter()
            .find(|row| span < row.0)
            .map(|row| row.1)?;
        let confidence = 90 - (span / (100 * MS)).min(40) as u8;
        (pause >= enough).then_some((AnswerClass::Human, confidence))
    }

    fn by_silence(&mut self, at: u64, report: &mut Report) {
        if self.first_speech.is_none() && at - self.last_sound >= SILENCE {
            self.decide(at, AnswerClass::Silence, 80, report);
        } else if at - self.origin >= UNSURE && !self.doubted {
            self.doubted = true;
            report.push(EventKind::Answer {
                class: AnswerClass::Unsure,
                confidence: 50,
            });
        }
    }

    fn decide(&mut self, at: u64, class: AnswerClass, confidence: u8, report: &mut Report) {
        if class == AnswerClass::Ringback {
            if !self.ringing && self.verdict.is_none() {
                self.ringing = true;
                report.push(EventKind::Answer { class, confidence });
            }
            return;
        }
        match self.verdict {
            None => {
                self.verdict = Some(Verdict {
                    class,
                    at,
                    corrected: false,
                });
                report.push(EventKind::Answer { class, confidence });
            }
            Some(was) if may_change(&was, class) && at - was.at <= CORRECTION => {
                self.verdict = Some(Verdict {
                    class,
                    at,
                    corrected: true,
                });
                report.push(EventKind::AnswerCorrected {
                    class,
                    was: was.class,
                    confidence,
                });
            }
            Some(_) => {}
        }
    }
}

/// One change of mind, and only where the new evidence is stronger.
fn may_change(was: &Verdict, class: AnswerClass) -> bool {
    if was.corrected || was.class == class {
        return false;
    }
    match was.class {
        AnswerClass::Silence | AnswerClass::Unsure | AnswerClass::Ringback => true,
        AnswerClass::Human => true,
        AnswerClass::Machine | AnswerClass::Screening | AnswerClass::Ivr => !is_by_speech(class),
        AnswerClass::Fax | AnswerClass::Sit | AnswerClass::Busy | AnswerClass::Reorder => false,
    }
}

fn is_by_speech(class: AnswerClass) -> bool {
    match class {
        AnswerClass::Human | AnswerClass::Machine | AnswerClass::Screening | AnswerClass::Ivr => {
            true
        }
        AnswerClass::Silence | AnswerClass::Unsure => true,
        AnswerClass::Fax | AnswerClass::Sit | AnswerClass::Busy | AnswerClass::Reorder => false,
        AnswerClass::Ringback => false,
    }
}

fn by_tone(kind: ToneKind) -> Option<(AnswerClass, u8)> {
    match kind {
        ToneKind::Ringback | ToneKind::RingbackUk => Some((AnswerClass::Ringback, 90)),
        ToneKind::Busy => Some((AnswerClass::Busy, 95)),
        ToneKind::Reorder => Some((AnswerClass::Reorder, 95)),
        ToneKind::Sit => Some((AnswerClass::Sit, 98)),
        ToneKind::FaxCng | ToneKind::FaxCed => Some((AnswerClass::Fax, 95)),
        ToneKind::Dial
        | ToneKind::Dtmf
        | ToneKind::CallWaiting
        | ToneKind::Music
        | ToneKind::BellRing => None,
    }
}
