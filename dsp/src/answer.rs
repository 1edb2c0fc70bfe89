//! Who or what answered: a rule over speech, pause, tones, beep and words.
//!
//! Short speech and then a pause is a person who waits; long speech is a
//! recording; tones decide by themselves. A turn ends with a second of quiet, or, in a
//! recording, where another voice begins: somebody picks up. Without words menus and call
//! screening pass for machines. Before the answer the same rule runs on early
//! media, but silence and doubt say nothing. Its limits are learnt
//! (`answer_table`, by `dsp/train/answer.py`). Called by the ear.

use crate::answer_table::{Limits, SENSITIVITIES};
use crate::event::{AnswerClass, EventKind, Evidence, Phrase, Rule, ToneKind, Words};
use crate::manner::Spoken;
use crate::report::Report;
use crate::speech::Speech;

/// Samples per millisecond.
const MS: u64 = 8;
/// Nothing at all for this long after the answer is silence.
const SILENCE: u64 = 4_500 * MS;
/// Nothing decided this long after the answer is doubt.
const UNSURE: u64 = 12_000 * MS;
/// A voice begins so long after the answer, half of the time: what counts in early
/// media, which has none.
const USUAL_ONSET: u64 = 900 * MS;
/// Less speech than this is none: 200 ms.
const LEAST_SPEECH: u64 = 200 * MS;
/// A voice stands still in less than this share of its frames, percent.
const MOST_TONAL: u64 = 60;
/// If it stood still nevertheless, it was one when this much quiet follows.
const CERTAIN_PAUSE: u64 = 1_500 * MS;
/// Whoever falls quiet is at most this loud beside their speech, as a power: 2 dB
/// less, which a voice as loud as the noise around it still is.
const QUIETER: f32 = 0.63;
/// Whoever is not quiet by so long after the pause that tells them never spoke: a buzz
/// of which only the beginning seemed a voice.
const FALLS_QUIET: u64 = 3_000 * MS;
/// Quiet after which what comes is another turn.
const NEW_TURN: u64 = 1_000 * MS;
/// Pauses shorter than this are closed; they tell nothing.
const LEAST_PAUSE: u64 = 120 * MS;
/// A person whose turn, unanswered by us, goes on for this long was none.
const NOT_HUMAN: u64 = 4_500 * MS;
/// A turn that seemed recorded, followed by this much quiet and no beep, was a person's:
/// told before its greeting counts as over, or they would be left a message …
const NO_BEEP: u64 = GREETING_OVER;
/// … unless it was longer than this.
const LONGEST_ANSWER: u64 = 4_500 * MS;
/// A voice so many semitones off the greeting's is another one: stretches of one greeting
/// differ by 2.9 at the most (of 25 that end in a stretch of their own), two voices in two
/// of three pairs by more.
const OTHER_VOICE: f32 = 4.0;
/// Quiet after a recording, without a beep, that ends the greeting: beeps come
/// within 1.6 s of 19 greetings in 20.
const GREETING_OVER: u64 = 1_800 * MS;
/// Only so long after the verdict it may change.
const CORRECTION: u64 = 12_000 * MS;
/// Words from which on a recogniser keeps up with the turn: what a recording says will be
/// understood, and until then its length alone tells little.
const WORDS_ENOUGH: u16 = 2;

/// How readily a voice is called a machine: 0 (never loses a person) to 6
/// (never talks to a recording). Both error rates of each are in the crate's
/// README.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sensitivity(u8);

impl Sensitivity {
    /// The middle of the curve: nearly all short answers kept, nearly all
    /// machines caught, within 3.5 s of the answer.
    pub const DEFAULT: Self = Self(4);

    /// 0 to 6; `None` above.
    pub const fn new(level: u8) -> Option<Self> {
        if (level as usize) < SENSITIVITIES.len() {
            Some(Self(level))
        } else {
            None
        }
    }

    /// 0 to 6.
    pub const fn level(self) -> u8 {
        self.0
    }

    const fn limits(self) -> &'static Limits {
        &SENSITIVITIES[self.0 as usize]
    }
}

impl Default for Sensitivity {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Evidence and verdict of one call.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    sensitivity: Sensitivity,
    /// Somebody answered us, or will.
    asked: bool,
    answered: bool,
    /// From here on evidence counts: the start, then the answer.
    origin: u64,
    /// Speech before it, in samples.
    spoken_before: u64,
    /// First speech of the turn.
    turn: Option<u64>,
    /// Pitch of the stretches of one voice, semitones over 1 Hz.
    pitch: Mean,
    /// When it was last voiced.
    last_voiced: u64,
    longest_pause: u64,
    /// Frames of the turn that were voiced, and those of them that were a tone or notes.
    voiced_frames: u32,
    tonal_frames: u32,
    /// When a tone or notes were last heard.
    last_tonal: u64,
    /// Power of the voiced frames, and of those since the last of them.
    voice: Mean,
    pause: Mean,
    last_sound: u64,
    words: Words,
    verdict: Option<Verdict>,
    ringing: bool,
    doubted: bool,
    /// A prompt of ours was heard since the answer: speech may be a reply to it.
    replied: bool,
    /// The recording ended, or a beep came.
    greeted: bool,
    beeped: bool,
}

/// A sum of so many.
#[derive(Clone, Copy, Debug)]
struct Mean {
    sum: f32,
    count: u32,
}

impl Mean {
    const NONE: Self = Self { sum: 0.0, count: 0 };

    fn take(&mut self, value: f32) {
        self.sum += value;
        self.count += 1;
    }

    fn value(&self) -> f32 {
        self.sum / self.count.max(1) as f32
    }
}

#[derive(Clone, Copy, Debug)]
struct Verdict {
    class: AnswerClass,
    at: u64,
    corrected: bool,
}

/// What else the frame brought.
#[derive(Clone, Copy)]
pub(crate) struct Heard {
    pub(crate) answered: bool,
    pub(crate) tone: Option<ToneKind>,
    /// A beep ended, Hz.
    pub(crate) beep: Option<u16>,
    pub(crate) tonal: bool,
    /// Notes are held.
    pub(crate) held: bool,
    pub(crate) prompt: bool,
    /// Power of the frame, full scale = 1.0.
    pub(crate) power: f32,
    /// A stretch of speech that ended.
    pub(crate) voice: Option<Spoken>,
}

impl Answer {
    pub(crate) const fn new(sensitivity: Sensitivity) -> Self {
        Self {
            sensitivity,
            asked: true,
            answered: false,
            origin: 0,
            spoken_before: 0,
            turn: None,
            pitch: Mean::NONE,
            last_voiced: 0,
            longest_pause: 0,
            voiced_frames: 0,
            tonal_frames: 0,
            last_tonal: 0,
            voice: Mean::NONE,
            pause: Mean::NONE,
            last_sound: 0,
            words: Words {
                count: 0,
                phrase: None,
            },
            verdict: None,
            ringing: false,
            doubted: false,
            replied: false,
            greeted: false,
            beeped: false,
        }
    }

    /// The verdict so far.
    pub(crate) fn class(&self) -> Option<AnswerClass> {
        self.verdict.map(|verdict| verdict.class)
    }

    /// What a recogniser understood so far; judged with the next frame.
    pub(crate) fn understand(&mut self, words: Words) {
        self.words = words;
    }

    /// Nobody answered us: we did. There is no verdict from now on.
    pub(crate) fn rest(&mut self) {
        *self = Self {
            asked: false,
            ..Self::new(self.sensitivity)
        };
    }

    /// Takes the frame that ends at `at`.
    pub(crate) fn hear(&mut self, at: u64, heard: Heard, speech: &Speech, report: &mut Report) {
        if !self.asked {
            return;
        }
        if heard.answered && !self.answered {
            self.begin(at, speech.spoken());
        }
        self.gather(at, heard, speech);
        if let Some(voice) = heard.voice {
            self.compare(voice, speech);
        }
        if let Some((kind, (class, confidence))) = heard.tone.and_then(|k| Some((k, by_tone(k)?))) {
            let evidence = Evidence {
                tone: Some(kind),
                ..self.evidence(at, Rule::Tone, speech)
            };
            self.decide(at, class, confidence, evidence, report);
        }
        if let Some(hz) = heard.beep {
            self.greeted = true;
            self.beeped = true;
            let evidence = Evidence {
                beep_hz: Some(hz),
                ..self.evidence(at, Rule::Beep, speech)
            };
            self.decide(at, AnswerClass::Machine, 95, evidence, report);
        }
        if let Some((class, confidence, rule)) = self.judge(at, speech) {
            let evidence = self.evidence(at, rule, speech);
            self.decide(at, class, confidence, evidence, report);
        }
        if self.answered && self.verdict.is_none() {
            self.by_silence(at, speech, report);
        }
        self.end_greeting(at, speech, report);
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
            words: self.words,
            verdict,
            ..Self::new(self.sensitivity)
        };
    }

    fn gather(&mut self, at: u64, heard: Heard, speech: &Speech) {
        self.replied |= heard.prompt && self.answered;
        if let Some(utterance) = speech.current() {
            let voiced = (at - speech.pause(at)).max(self.origin);
            let gap = utterance.start.max(self.last_voiced) - self.last_voiced;
            let start = utterance.start.max(self.origin);
            if self.turn.is_none() || (gap >= NEW_TURN && self.verdict.is_some()) {
                self.turn = Some(start);
                self.longest_pause = 0;
                (self.voiced_frames, self.tonal_frames) = (0, 0);
                self.voice = Mean::NONE;
                self.spoken_before = speech.spoken() - voiced.saturating_sub(start);
            } else if voiced > self.last_voiced {
                let pause = voiced - self.last_voiced;
                if pause >= LEAST_PAUSE {
                    self.longest_pause = self.longest_pause.max(pause);
                }
            }
            self.last_voiced = self.last_voiced.max(voiced);
        } else if self.spoken(speech) < LEAST_SPEECH {
            // A click, a cough, the end of a tone: nobody spoke yet.
            self.turn = None;
            self.spoken_before = speech.spoken();
        }
        if speech.current().is_some() && speech.pause(at) == 0 {
            self.voiced_frames += 1;
            self.tonal_frames += u32::from(heard.tonal || heard.held);
            self.voice.take(heard.power);
            self.pause = Mean::NONE;
        } else {
            self.pause.take(heard.power);
        }
        if heard.tonal || heard.held {
            self.last_tonal = at;
        }
        if speech.is_voiced() || heard.tonal {
            self.last_sound = at;
        }
    }

    /// Somebody may pick up while the greeting runs: another voice begins another turn.
    fn compare(&mut self, voice: Spoken, speech: &Speech) {
        let off = (voice.pitch - self.pitch.value()).abs();
        let other = self.pitch.count > 0 && off >= OTHER_VOICE;
        if other && self.class() == Some(AnswerClass::Machine) {
            self.turn = Some(voice.start);
            self.longest_pause = 0;
            self.spoken_before = speech.spoken().saturating_sub(voice.samples);
            self.pitch = Mean::NONE;
        }
        self.pitch.take(voice.pitch);
    }

    /// Samples of speech since the turn began.
    fn spoken(&self, speech: &Speech) -> u64 {
        speech.spoken().saturating_sub(self.spoken_before)
    }

    /// From the first to the last speech of the turn.
    fn span(&self) -> u64 {
        self.turn
            .map_or(0, |first| self.last_voiced.saturating_sub(first))
    }

    fn evidence(&self, at: u64, rule: Rule, speech: &Speech) -> Evidence {
        let ms = |samples: u64| u32::try_from(samples / MS).unwrap_or(u32::MAX);
        Evidence {
            rule,
            span_ms: ms(self.span()),
            spoken_ms: ms(self.turn.map_or(0, |_| self.spoken(speech))),
            pause_ms: ms(self.turn.map_or(0, |_| at.saturating_sub(self.last_voiced))),
            longest_pause_ms: ms(self.longest_pause),
            quiet_ms: ms(at - self.last_sound),
            tone: None,
            beep_hz: None,
            words: self.words.count,
            phrase: self.words.phrase,
        }
    }

    /// What speech and words say now.
    fn judge(&self, at: u64, speech: &Speech) -> Option<(AnswerClass, u8, Rule)> {
        if let Some((class, confidence)) = self.telling_phrase().and_then(by_phrase) {
            return Some((class, confidence, Rule::Phrase));
        }
        self.turn?;
        match self.class() {
            None | Some(AnswerClass::Silence | AnswerClass::Unsure | AnswerClass::Ringback) => {
                self.by_turn(at, speech)
            }
            Some(AnswerClass::Human) => self.goes_on(speech),
            Some(AnswerClass::Machine) => self.waits(at),
            Some(
                AnswerClass::Screening
                | AnswerClass::Ivr
                | AnswerClass::Fax
                | AnswerClass::Sit
                | AnswerClass::Busy
                | AnswerClass::Reorder,
            ) => None,
        }
    }

    /// The phrase that was understood. A person who is asked by us may say of somebody
    /// that they are not available: then only a beep makes a recording of them.
    fn telling_phrase(&self) -> Option<Phrase> {
        let asked = self.replied && self.class() == Some(AnswerClass::Human);
        self.words
            .phrase
            .filter(|phrase| !asked || *phrase != Phrase::Greeting)
    }

    /// The rule over span and pause.
    fn by_turn(&self, at: u64, speech: &Speech) -> Option<(AnswerClass, u8, Rule)> {
        let limits = self.sensitivity.limits();
        let span = self.span();
        let machine = u64::from(limits.machine_ms) * MS;
        // What is said after a prompt of ours may be an answer to it; and words that say
        // nothing of a machine make it less likely.
        let machine = if self.replied || self.words.count >= WORDS_ENOUGH {
            machine.max(NOT_HUMAN)
        } else {
            machine
        };
        let waited = if self.answered {
            at - self.origin
        } else {
            span + USUAL_ONSET
        };
        let late = waited >= u64::from(limits.earliest_ms) * MS;
        if speech.is_voiced() && span >= machine && late {
            let surplus = (span - machine) / (100 * MS);
            let confidence = 75 + surplus.min(20) as u8;
            return Some((AnswerClass::Machine, confidence, Rule::LongTurn));
        }
        if self.spoken(speech) < LEAST_SPEECH {
            return None;
        }
        if self.is_no_voice() && at - self.last_voiced.max(self.last_tonal) < CERTAIN_PAUSE {
            return None;
        }
        if self.pause.value() > QUIETER * self.voice.value() {
            return None;
        }
        let enough = u64::from(limits.pause_ms(span / MS)) * MS;
        if at - self.last_voiced > enough + FALLS_QUIET {
            return None;
        }
        let confidence = 90 - (span / (100 * MS)).min(40) as u8;
        (at - self.last_voiced >= enough).then_some((
            AnswerClass::Human,
            confidence,
            Rule::TurnThenPause,
        ))
    }

    /// A ring, a tone or music may seem voiced, but most of it stands still.
    fn is_no_voice(&self) -> bool {
        u64::from(self.tonal_frames) * 100 > u64::from(self.voiced_frames) * MOST_TONAL
    }

    /// A person who talks on and on, though we have said nothing, is a recording.
    fn goes_on(&self, speech: &Speech) -> Option<(AnswerClass, u8, Rule)> {
        let endless = speech.is_voiced() && self.span() >= NOT_HUMAN && !self.replied;
        endless.then_some((AnswerClass::Machine, 80, Rule::WentOn))
    }

    /// A recording ends with a beep; a person with a pause that waits for us.
    fn waits(&self, at: u64) -> Option<(AnswerClass, u8, Rule)> {
        let quiet = at.saturating_sub(self.last_sound.max(self.last_voiced));
        let waits = quiet >= NO_BEEP && self.span() <= LONGEST_ANSWER;
        (waits && !self.beeped && !self.replied).then_some((AnswerClass::Human, 60, Rule::NoBeep))
    }

    fn by_silence(&mut self, at: u64, speech: &Speech, report: &mut Report) {
        if self.turn.is_none() && at - self.last_sound >= SILENCE {
            let evidence = self.evidence(at, Rule::NoSound, speech);
            self.decide(at, AnswerClass::Silence, 80, evidence, report);
        } else if at - self.origin >= UNSURE && !self.doubted {
            self.doubted = true;
            report.push(EventKind::Answer {
                class: AnswerClass::Unsure,
                confidence: 50,
                evidence: self.evidence(at, Rule::Undecided, speech),
            });
        }
    }

    /// A greeting without a beep is over when its quiet is longer than any
    /// before a beep.
    fn end_greeting(&mut self, at: u64, speech: &Speech, report: &mut Report) {
        let recorded = matches!(
            self.class(),
            Some(AnswerClass::Machine | AnswerClass::Screening | AnswerClass::Ivr)
        );
        let quiet = at.saturating_sub(self.last_sound.max(self.last_voiced));
        if recorded && !self.greeted && self.turn.is_some() && quiet >= GREETING_OVER {
            self.greeted = true;
            let end = speech.last_end().unwrap_or(self.last_voiced);
            report.push(EventKind::GreetingEnd { end });
        }
    }

    fn decide(
        &mut self,
        at: u64,
        class: AnswerClass,
        confidence: u8,
        evidence: Evidence,
        report: &mut Report,
    ) {
        if class == AnswerClass::Ringback {
            if !self.ringing && self.verdict.is_none() {
                self.ringing = true;
                report.push(EventKind::Answer {
                    class,
                    confidence,
                    evidence,
                });
            }
            return;
        }
        let corrected = match self.verdict {
            None => {
                report.push(EventKind::Answer {
                    class,
                    confidence,
                    evidence,
                });
                false
            }
            Some(was) if may_change(&was, class, evidence.rule) && at - was.at <= CORRECTION => {
                report.push(EventKind::AnswerCorrected {
                    class,
                    was: was.class,
                    confidence,
                    evidence,
                });
                true
            }
            Some(_) => return,
        };
        self.verdict = Some(Verdict {
            class,
            at,
            corrected,
        });
    }
}

/// One change of mind, and only where the new evidence is stronger: a beep or a
/// phrase may even follow another change.
fn may_change(was: &Verdict, class: AnswerClass, rule: Rule) -> bool {
    let strong = matches!(rule, Rule::Beep | Rule::Phrase | Rule::Tone);
    if was.class == class || (was.corrected && !strong) {
        return false;
    }
    match was.class {
        AnswerClass::Silence | AnswerClass::Unsure | AnswerClass::Ringback => true,
        AnswerClass::Human => true,
        AnswerClass::Machine => strong && class != AnswerClass::Human || rule == Rule::NoBeep,
        AnswerClass::Screening | AnswerClass::Ivr => rule == Rule::Tone,
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

/// What recordings say decides at once; what people say, recordings say too
/// ("hi, this is Karen"), so it only makes us wait for their pause.
fn by_phrase(phrase: Phrase) -> Option<(AnswerClass, u8)> {
    match phrase {
        Phrase::Greeting => Some((AnswerClass::Machine, 95)),
        Phrase::Menu => Some((AnswerClass::Ivr, 95)),
        Phrase::Screening => Some((AnswerClass::Screening, 95)),
        Phrase::Person => None,
    }
}

fn by_tone(kind: ToneKind) -> Option<(AnswerClass, u8)> {
    match kind {
        ToneKind::Ringback | ToneKind::RingbackUk => Some((AnswerClass::Ringback, 90)),
        ToneKind::Busy => Some((AnswerClass::Busy, 95)),
        ToneKind::Reorder => Some((AnswerClass::Reorder, 95)),
        ToneKind::Sit | ToneKind::SitNc | ToneKind::SitIc | ToneKind::SitVc | ToneKind::SitRo => {
            Some((AnswerClass::Sit, 98))
        }
        ToneKind::FaxCng | ToneKind::FaxCed | ToneKind::FaxV21 => Some((AnswerClass::Fax, 95)),
        ToneKind::Dial
        | ToneKind::Dtmf
        | ToneKind::CallWaiting
        | ToneKind::Music
        | ToneKind::BellRing => None,
    }
}
