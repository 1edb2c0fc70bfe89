//! From probabilities to speech, pauses, ends and barge-ins.
//!
//! Hysteresis and hangover only: what speech is, `voice` says; who answered,
//! `answer` says. Times are samples. Called by the ear.

use crate::FRAME;
use crate::bands::Bands;
use crate::event::EventKind;
use crate::hum::Hum;
use crate::report::Report;

/// Evidence of speech, summed log-odds, at which it is reported: two or three
/// frames that are sure, or more that are not …
const ONSET: f32 = 4.0;
/// … and twice as much where an echo of our own prompt is about.
const ONSET_OVER_ECHO: f32 = 8.0;
/// One frame counts for at most this, either way.
const MOST_EVIDENCE: f32 = 2.5;
/// log-odds of a frame that says nothing on a line of the caller's own …
const NEUTRAL: f32 = 2.0;
/// … where an echo of our prompt is about …
const NEUTRAL_OVER_ECHO: f32 = 1.75;
/// … and over a prompt that does not come back, where the network is careful by itself.
const NEUTRAL_OVER_PROMPT: f32 = 0.3;
/// Who has just spoken goes on more readily, unless an echo is about: so much less is
/// neutral for this long after an end, 1 s.
const AGAIN: f32 = 0.8;
const AGAIN_WITHIN: u64 = 8_000;
/// Speech goes on above these log-odds …
const STAY: f32 = -0.2;
/// … or, where its own frames are sure, above their mean less this …
const STAY_BELOW_USUAL: f32 = 1.1;
/// … but above these at any rate: what is left of a noise is unsure, of a voice hardly.
const STAY_AT_MOST: f32 = 1.0;
/// The mean begins here, follows with a time constant of 330 ms of speech …
const USUAL: f32 = 1.0;
const USUAL_PACE: f32 = 0.03;
/// … and counts a frame for this much at most.
const USUAL_AT_MOST: f32 = 4.0;
/// Frames of speech over our own prompt that make talking on a barge-in: 60 ms.
const FRAMES_OVER_PROMPT: u32 = 6;
/// A beginning is placed at most this many frames back: 200 ms.
const LONGEST_ONSET: u32 = 20;
/// The window smears a beginning over this many samples before its first likely frame.
const ONSET_LEAD: u64 = 80;
/// A pause is reported after 120 ms.
const PAUSE: u64 = 960;
/// Speech has ended after 380 ms of quiet.
const END: u64 = 3_040;
/// The window smears an end by this many samples.
const END_LAG: u64 = 120;
/// A barge-in shorter than this may be a cough or a "yeah": 0.6 s.
const RETRACTABLE: u64 = 4_800;
/// One that stood still, as a hum or a laugh does, may be as long as this: 1.25 s.
const RETRACTABLE_HUM: u64 = 10_000;
/// Quiet after which a short barge-in is taken back: 0.4 s.
const RETRACT_AFTER: u64 = 3_200;

/// What of our own speech is on the line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prompt {
    /// A prompt of ours was active in the last 600 ms.
    pub(crate) recent: bool,
    /// Its echo may be heard.
    pub(crate) echo_audible: bool,
    /// It goes on, be it with a pause right now.
    pub(crate) goes_on: bool,
}

/// What of the line's sound may be speech.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voiced<'a> {
    /// 0 to 1.
    pub(crate) probability: f32,
    /// Levels without echo, and the background's, dBov.
    pub(crate) levels: &'a Bands,
    pub(crate) background: &'a Bands,
}

/// Turn taking of one line.
#[derive(Clone, Debug)]
pub(crate) struct Speech {
    /// Summed log-odds since it was last 0, and frames since.
    evidence: f32,
    likely: u32,
    /// Set while somebody speaks or pauses.
    current: Option<Utterance>,
    barged: Option<Barged>,
    /// The sound of the barge-in that goes on.
    hum: Option<Hum>,
    spoken: u64,
    last_end: Option<u64>,
}

/// One stretch of speech, until 380 ms of quiet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Utterance {
    pub(crate) start: u64,
    /// End of the last frame that was speech.
    last_voiced: u64,
    /// Mean log-odds of its frames.
    usual: f32,
    paused: bool,
    pub(crate) barge_in: bool,
    /// Frames of speech while a prompt of ours was audible.
    frames_over_prompt: u32,
}

/// A barge-in that ended early and may be taken back.
#[derive(Clone, Copy, Debug)]
struct Barged {
    quiet_since: u64,
}

impl Speech {
    pub(crate) const fn new() -> Self {
        Self {
            evidence: 0.0,
            likely: 0,
            current: None,
            barged: None,
            hum: None,
            spoken: 0,
            last_end: None,
        }
    }

    /// The stretch of speech that goes on, if any.
    pub(crate) const fn current(&self) -> Option<Utterance> {
        self.current
    }

    /// Whether somebody speaks right now: no pause of 120 ms.
    pub(crate) fn is_voiced(&self) -> bool {
        self.current.is_some_and(|utterance| !utterance.paused)
    }

    /// Samples of speech so far, pauses excluded.
    pub(crate) const fn spoken(&self) -> u64 {
        self.spoken
    }

    /// The end of the last finished stretch.
    pub(crate) const fn last_end(&self) -> Option<u64> {
        self.last_end
    }

    /// Quiet since the last voiced frame, while a stretch is open.
    pub(crate) fn pause(&self, at: u64) -> u64 {
        self.current
            .map_or(0, |utterance| at - utterance.last_voiced)
    }

    /// Takes the frame that ends at `at`.
    pub(crate) fn hear(&mut self, at: u64, heard: Voiced, prompt: Prompt, report: &mut Report) {
        match self.current {
            None => self.await_onset(at, heard, prompt, report),
            Some(utterance) => self.follow(utterance, at, heard, prompt, report),
        }
        self.retract(at, report);
    }

    fn await_onset(&mut self, at: u64, heard: Voiced, prompt: Prompt, report: &mut Report) {
        let neutral = match (prompt.recent, prompt.echo_audible) {
            (true, true) => NEUTRAL_OVER_ECHO,
            (true, false) => NEUTRAL_OVER_PROMPT,
            (false, _) => NEUTRAL,
        };
        let again = self.last_end.is_some_and(|end| at - end < AGAIN_WITHIN);
        let neutral = if again && !prompt.echo_audible {
            neutral - AGAIN
        } else {
            neutral
        };
        let evidence = (log_odds(heard.probability) - neutral).clamp(-MOST_EVIDENCE, MOST_EVIDENCE);
        self.evidence = (self.evidence + evidence).max(0.0);
        self.likely = if self.evidence > 0.0 {
            self.likely.saturating_add(1)
        } else {
            0
        };
        let enough = if prompt.echo_audible {
            ONSET_OVER_ECHO
        } else {
            ONSET
        };
        if self.evidence < enough {
            return;
        }
        let oldest = u64::from(self.likely.min(LONGEST_ONSET)) - 1;
        let begin = at.saturating_sub((oldest + 1) * FRAME as u64);
        let start = begin
            .saturating_sub(ONSET_LEAD)
            .max(self.last_end.unwrap_or(0));
        report.push(EventKind::SpeechStart { start });
        self.spoken += at - start;
        let mut utterance = Utterance {
            start,
            last_voiced: at,
            usual: USUAL,
            paused: false,
            barge_in: false,
            frames_over_prompt: 0,
        };
        if prompt.recent || prompt.goes_on {
            self.barge_in(&mut utterance, heard, report);
        }
        self.current = Some(utterance);
    }

    fn follow(
        &mut self,
        mut utterance: Utterance,
        at: u64,
        heard: Voiced,
        prompt: Prompt,
        report: &mut Report,
    ) {
        let odds = log_odds(heard.probability);
        let least = (utterance.usual - STAY_BELOW_USUAL).clamp(STAY, STAY_AT_MOST);
        if odds > least {
            utterance.usual += USUAL_PACE * (odds.min(USUAL_AT_MOST) - utterance.usual);
            self.spoken += FRAME as u64;
            utterance.last_voiced = at;
            utterance.paused = false;
            let over_prompt = prompt.recent || prompt.goes_on;
            utterance.frames_over_prompt += u32::from(over_prompt);
            if over_prompt && utterance.frames_over_prompt >= FRAMES_OVER_PROMPT {
                self.barge_in(&mut utterance, heard, report);
            }
            if let Some(hum) = &mut self.hum {
                hum.hear(heard.levels);
            }
        }
        let quiet = at - utterance.last_voiced;
        let end = utterance
            .last_voiced
            .saturating_sub(END_LAG)
            .max(utterance.start);
        if quiet >= PAUSE && !utterance.paused {
            utterance.paused = true;
            report.push(EventKind::SpeechPause { start: end });
        }
        self.current = Some(utterance);
        if quiet >= END {
            self.finish(utterance, end, report);
        }
    }

    fn finish(&mut self, utterance: Utterance, end: u64, report: &mut Report) {
        report.push(EventKind::SpeechEnd { end });
        self.current = None;
        self.evidence = 0.0;
        self.likely = 0;
        self.last_end = Some(end);
        let still = self.hum.take().is_some_and(|hum| hum.stood_still());
        let longest = if still { RETRACTABLE_HUM } else { RETRACTABLE };
        if utterance.barge_in && end - utterance.start < longest {
            self.barged = Some(Barged {
                quiet_since: utterance.last_voiced,
            });
        }
    }

    fn barge_in(&mut self, utterance: &mut Utterance, heard: Voiced, report: &mut Report) {
        if !utterance.barge_in {
            utterance.barge_in = true;
            self.barged = None;
            self.hum = Some(Hum::over(heard.background));
            report.push(EventKind::BargeIn {
                start: utterance.start,
            });
        }
    }

    fn retract(&mut self, at: u64, report: &mut Report) {
        let Some(barged) = self.barged else { return };
        if self.current.is_some() {
            self.barged = None;
        } else if at - barged.quiet_since >= RETRACT_AFTER {
            self.barged = None;
            report.push(EventKind::BargeInRetracted);
        }
    }
}

fn log_odds(probability: f32) -> f32 {
    let probability = probability.clamp(0.001, 0.999);
    libm::logf(probability / (1.0 - probability))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bands::SILENT;
    use crate::event::Events;

    const OVER_PROMPT: Prompt = Prompt {
        recent: true,
        echo_audible: false,
        goes_on: true,
    };

    /// Whether a barge-in of so many frames, and these levels, is taken back.
    fn taken_back(frames: usize, levels: impl Fn(usize) -> Bands) -> bool {
        let (mut speech, mut out) = (Speech::new(), Events::new());
        let (mut next_seq, mut dropped) = (0, 0);
        for frame in 0..frames + 60 {
            let at = ((frame + 1) * FRAME) as u64;
            let mut report = Report {
                at,
                next_seq: &mut next_seq,
                dropped: &mut dropped,
                out: &mut out,
            };
            let heard = Voiced {
                probability: if frame < frames { 0.99 } else { 0.01 },
                levels: &levels(frame),
                background: &SILENT,
            };
            speech.hear(at, heard, OVER_PROMPT, &mut report);
        }
        let named = |name: &str| out.iter().filter(|e| e.kind.name() == name).count();
        assert_eq!(named("barge_in"), 1, "{out:?}");
        named("barge_in_retracted") == 1
    }

    /// Levels with a hump around a band that moves by so much.
    fn moved(by: f32) -> impl Fn(usize) -> Bands {
        move |frame| {
            let place = 8.0 + by * libm::sinf(frame as f32 / 8.0);
            core::array::from_fn(|band| -20.0 - 2.0 * (band as f32 - place).abs())
        }
    }

    #[test]
    fn what_is_short_or_a_hum_is_taken_back_and_words_are_not() {
        for (milliseconds, movement, back) in [
            (400, 6.0, true),
            (400, 0.0, true),
            (800, 6.0, false),
            (800, 0.0, true),
            (1_150, 0.0, true),
            (1_150, 6.0, false),
            (1_400, 0.0, false),
        ] {
            let heard = taken_back(milliseconds / 10, moved(movement));
            assert_eq!(heard, back, "{milliseconds} ms, moved by {movement}");
        }
    }
}
