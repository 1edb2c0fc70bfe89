//! What we say, and the turn it is said in.
//!
//! Each onset of the caller and each stop raises the turn; what was decided in
//! an older turn is not begun, and what is being said is faded out within the
//! next packet. It makes 10 ms frames and knows no packets or addresses.
//! Called by the leg. Does not allocate, free or block: scripts that are over
//! wait in `freed` for the leg to hand them back.

use std::sync::Arc;
use std::time::Duration;

use offhook_dsp::noise::{ComfortNoise, LINE_NOISE_LEVEL};
use offhook_dsp::tone::{Sine, ZERO_DBM0_DBOV};
use offhook_dsp::{FRAME, fade};

use super::outlet::Voice;
use super::words::{Clip, Cut, ReportKind, Script};

/// A test tone is sent at -10 dBm0, which no limiter of a line touches (ITU-T O.6 sends below 0 dBm0).
const TONE_DBOV: f32 = ZERO_DBM0_DBOV - 10.0;

/// A command that came too late for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale;

/// When the caller's first speech packet arrived, and what was said by then.
#[derive(Clone, Copy, Debug)]
pub struct Onset {
    /// First sample of the speech.
    pub start: u64,
    /// Arrival of the packet with that sample.
    pub arrived: Duration,
    /// Packets with prompt sound sent until then.
    pub packets: u32,
}

/// What is said.
#[derive(Debug)]
enum Matter {
    /// It was there before.
    Script(Arc<Script>),
    /// It streams in, as this speech.
    Stream(u32),
}

/// What there was of it for one frame.
struct Said {
    samples: usize,
    over: bool,
}

#[derive(Debug)]
struct Speaking {
    matter: Matter,
    play: u32,
    interruptible: bool,
    clip: usize,
    at: usize,
    /// Words of the current clip that were said, and words of all.
    word: usize,
    words: u32,
    sent: u64,
    /// The next sound begins softly: it does not begin with a beginning.
    softly: bool,
    /// The next frame is its last, faded.
    ending: bool,
    onset: Option<Onset>,
}

#[derive(Debug)]
enum Program {
    Prompts,
    Echo,
    Tone(Sine),
}

/// The mouth of one leg.
#[derive(Debug)]
pub struct Mouth {
    turn: u32,
    program: Program,
    speaking: Option<Speaking>,
    /// Begins when the one before it has faded.
    next: Option<Speaking>,
    /// The last one that was cut, for `resume`.
    cut: Option<Speaking>,
    noise: ComfortNoise,
    /// Packets sent with prompt sound.
    packets: u32,
    said: heapless::Deque<ReportKind, 8>,
    freed: heapless::Deque<Arc<Script>, 8>,
    /// The latest speech that is over.
    ended_stream: Option<u32>,
    /// Frames for which a stream had nothing.
    voice_gaps: u32,
    barge_ins: u32,
    worst: Cut,
}

impl Mouth {
    /// Silent, in turn 0. The seed only shapes the noise.
    pub fn new(seed: u32) -> Self {
        Self {
            turn: 0,
            program: Program::Prompts,
            speaking: None,
            next: None,
            cut: None,
            noise: ComfortNoise::new(LINE_NOISE_LEVEL, seed),
            packets: 0,
            said: heapless::Deque::new(),
            freed: heapless::Deque::new(),
            ended_stream: None,
            voice_gaps: 0,
            barge_ins: 0,
            worst: Cut::default(),
        }
    }

    /// The turn of the leg.
    pub fn turn(&self) -> u32 {
        self.turn
    }

    /// The caller's sound is to be returned, nothing else sent.
    pub fn echoes(&self) -> bool {
        matches!(self.program, Program::Echo)
    }

    /// Packets sent with prompt sound.
    pub fn packets(&self) -> u32 {
        self.packets
    }

    /// Barge-ins so far, and the slowest.
    pub fn barge_ins(&self) -> (u32, Cut) {
        (self.barge_ins, self.worst)
    }

    /// The next thing to report.
    pub fn pop_report(&mut self) -> Option<ReportKind> {
        self.said.pop_front()
    }

    /// The next script that is over.
    pub fn pop_freed(&mut self) -> Option<Arc<Script>> {
        self.freed.pop_front()
    }

    /// The latest speech of which no more is wanted, once.
    pub fn take_ended_stream(&mut self) -> Option<u32> {
        self.ended_stream.take()
    }

    /// Frames for which a stream had nothing.
    pub fn voice_gaps(&self) -> u32 {
        self.voice_gaps
    }

    /// Says what streams in; what is being said gives way to it.
    ///
    /// # Errors
    /// It was decided in an older turn, or nothing is said on this line; the speech
    /// is over.
    pub fn stream(
        &mut self,
        turn: u32,
        play: u32,
        speech: u32,
        interruptible: bool,
    ) -> Result<(), Stale> {
        if turn != self.turn || !matches!(self.program, Program::Prompts) {
            self.ended_stream = Some(speech);
            return Err(Stale);
        }
        self.forget_cut();
        self.begin(Speaking::new(Matter::Stream(speech), play, interruptible));
        Ok(())
    }

    /// Says something; what is being said gives way to it.
    ///
    /// # Errors
    /// It was decided in an older turn; the script waits in `freed`.
    pub fn play(
        &mut self,
        turn: u32,
        play: u32,
        script: Arc<Script>,
        interruptible: bool,
    ) -> Result<(), Stale> {
        if turn != self.turn {
            self.free(script);
            return Err(Stale);
        }
        self.forget_cut();
        self.begin(Speaking::new(Matter::Script(script), play, interruptible));
        Ok(())
    }

    /// Fades out and raises the turn, whatever the turn is.
    pub fn stop(&mut self) {
        self.raise(None);
        let turn = self.turn;
        self.say(ReportKind::Turn { turn });
    }

    /// Goes on with what was cut last, from the last word boundary heard. Without one,
    /// answers at once that nothing was said.
    ///
    /// # Errors
    /// It was decided in an older turn.
    pub fn resume(&mut self, turn: u32, play: u32) -> Result<(), Stale> {
        if turn != self.turn {
            return Err(Stale);
        }
        match self.cut.take() {
            Some(cut) => self.begin(cut.again(play)),
            None => self.say(ReportKind::Played {
                play,
                sent_samples: 0,
                words: 0,
                finished: false,
                cut: None,
            }),
        }
        Ok(())
    }

    /// From now on only the caller's sound.
    pub fn echo(&mut self) {
        self.program = Program::Echo;
    }

    /// From now on only this tone.
    pub fn tone(&mut self, hz: u16) {
        self.program = Program::Tone(Sine::new(f32::from(hz), TONE_DBOV));
    }

    /// The caller begins to speak, or goes on over a prompt (`over_prompt`,
    /// which the ear judges). An interruptible prompt is stopped.
    pub fn hear_onset(&mut self, onset: Onset, now: Duration, over_prompt: bool) {
        match &self.speaking {
            Some(speaking) if speaking.ending => {}
            Some(speaking) if speaking.interruptible => {
                let play = speaking.play;
                self.raise(Some(onset));
                self.barge_ins += 1;
                self.say(ReportKind::BargeIn {
                    turn: self.turn,
                    play,
                    start: onset.start,
                    cut: onset.until(now, self.packets),
                });
            }
            // It keeps the floor: a notice that has to be heard.
            Some(_) => {}
            // Over the tail of a prompt: the speech itself has raised the turn.
            None if over_prompt => {}
            None => {
                self.raise(None);
                let turn = self.turn;
                self.say(ReportKind::Turn { turn });
            }
        }
    }

    /// Nothing is being said, and nothing else sent instead.
    pub fn is_silent(&self) -> bool {
        self.speaking.is_none() && matches!(self.program, Program::Prompts)
    }

    /// The next 10 ms: of a prompt, of a stream, which `voice` has, else of the joined
    /// leg (`theirs`), else noise. Gives whether prompt sound is in it.
    pub fn frame(
        &mut self,
        now: Duration,
        frame: &mut [i16; FRAME],
        theirs: Option<&[i16; FRAME]>,
        voice: impl FnOnce(u32, &mut [i16; FRAME]) -> Voice,
    ) -> bool {
        match &mut self.program {
            Program::Tone(sine) => {
                sine.fill(frame);
                false
            }
            Program::Echo => {
                frame.fill(0);
                false
            }
            Program::Prompts => self.prompt_frame(now, frame, theirs, voice),
        }
    }

    /// The packet of this tick had prompt sound in it.
    pub fn count_packet(&mut self) {
        self.packets = self.packets.wrapping_add(1);
    }

    /// Nothing can be sent (hold): what has to end ends without a fade.
    pub fn settle(&mut self, now: Duration) {
        if self
            .speaking
            .as_ref()
            .is_some_and(|speaking| speaking.ending)
        {
            self.end(now, false);
        }
    }

    /// The leg is over: everything is freed.
    pub fn close(&mut self, now: Duration) {
        self.raise(None);
        self.settle(now);
        self.forget_cut();
    }

    fn prompt_frame(
        &mut self,
        now: Duration,
        frame: &mut [i16; FRAME],
        theirs: Option<&[i16; FRAME]>,
        voice: impl FnOnce(u32, &mut [i16; FRAME]) -> Voice,
    ) -> bool {
        let Some(speaking) = &mut self.speaking else {
            match theirs {
                Some(theirs) => *frame = *theirs,
                None => self.noise.fill(frame),
            }
            return false;
        };
        let Said { samples, over } = speaking.say(frame, voice);
        if samples > 0 && std::mem::take(&mut speaking.softly) {
            fade::in_from_silence(frame);
        }
        if speaking.ending {
            frame[samples..].fill(0);
            speaking.sent -= samples.saturating_sub(fade::RAMP) as u64;
            fade::out_to_noise(frame, &mut self.noise);
            self.end(now, true);
            return samples > 0;
        }
        self.noise.fill(&mut frame[samples..]);
        if over {
            self.end(now, false);
        } else if samples == 0 {
            speaking.softly = true;
            self.voice_gaps = self.voice_gaps.saturating_add(1);
        }
        samples > 0
    }

    /// The prompt is over: to its end, or cut (with this tick's packet, if it `fades`).
    fn end(&mut self, now: Duration, fades: bool) {
        let Some(speaking) = self.speaking.take() else {
            return;
        };
        let cut = speaking.onset.map(|onset| {
            let mut cut = onset.until(now, self.packets);
            cut.packets += u32::from(fades);
            cut
        });
        if let Some(cut) = cut {
            self.worst = self.worst.max(cut);
        }
        self.say(speaking.played(!speaking.ending, cut));
        if speaking.ending && self.next.is_none() && speaking.can_resume() {
            if let Some(older) = self.cut.replace(speaking) {
                self.let_go(older);
            }
        } else {
            self.let_go(speaking);
        }
        self.speaking = self.next.take();
    }

    fn begin(&mut self, speaking: Speaking) {
        match &mut self.speaking {
            None => self.speaking = Some(speaking),
            Some(current) => {
                current.ending = true;
                self.discard_next();
                self.next = Some(speaking);
            }
        }
    }

    /// What waited never began.
    fn discard_next(&mut self) {
        if let Some(next) = self.next.take() {
            self.say(next.played(false, None));
            self.let_go(next);
        }
    }

    fn raise(&mut self, onset: Option<Onset>) {
        self.turn = self.turn.wrapping_add(1);
        self.discard_next();
        if let Some(speaking) = &mut self.speaking {
            speaking.ending = true;
            speaking.onset = speaking.onset.or(onset);
        }
    }

    fn say(&mut self, kind: ReportKind) {
        let full = self.said.push_back(kind).is_err();
        debug_assert!(
            !full,
            "the leg drains after each call; none says more than 4"
        );
    }

    fn forget_cut(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.let_go(cut);
        }
    }

    fn let_go(&mut self, speaking: Speaking) {
        match speaking.matter {
            Matter::Script(script) => self.free(script),
            Matter::Stream(speech) => self.ended_stream = Some(speech),
        }
    }

    fn free(&mut self, script: Arc<Script>) {
        self.freed
            .push_back(script)
            .expect("the leg drains after each call; none frees more than 4");
    }
}

impl Onset {
    fn until(&self, now: Duration, packets: u32) -> Cut {
        Cut {
            packets: packets.wrapping_sub(self.packets),
            took: now.saturating_sub(self.arrived),
        }
    }
}

impl Cut {
    fn max(self, other: Self) -> Self {
        Self {
            packets: self.packets.max(other.packets),
            took: self.took.max(other.took),
        }
    }
}

impl Speaking {
    fn new(matter: Matter, play: u32, interruptible: bool) -> Self {
        Self {
            matter,
            play,
            interruptible,
            clip: 0,
            at: 0,
            word: 0,
            words: 0,
            sent: 0,
            softly: false,
            ending: false,
            onset: None,
        }
    }

    /// The same from the last word boundary that was heard.
    fn again(self, play: u32) -> Self {
        let clip = self.script().and_then(|script| script.clips.get(self.clip));
        let last = self.word.checked_sub(1);
        let boundary = clip.zip(last).and_then(|(clip, last)| clip.words.get(last));
        Self {
            at: boundary.map_or(0, |at| (*at as usize).min(self.at)),
            word: self.word,
            clip: self.clip,
            softly: true,
            ..Self::new(self.matter, play, self.interruptible)
        }
    }

    fn script(&self) -> Option<&Script> {
        match &self.matter {
            Matter::Script(script) => Some(script),
            Matter::Stream(_) => None,
        }
    }

    /// What streams in is gone once it was not said.
    fn can_resume(&self) -> bool {
        self.script().is_some()
    }

    fn say(
        &mut self,
        frame: &mut [i16; FRAME],
        voice: impl FnOnce(u32, &mut [i16; FRAME]) -> Voice,
    ) -> Said {
        let Matter::Stream(speech) = self.matter else {
            let samples = self.copy(frame);
            let over = samples < FRAME;
            return Said { samples, over };
        };
        let voice = voice(speech, frame);
        let samples = if voice == Voice::Sound { FRAME } else { 0 };
        self.sent += samples as u64;
        let over = voice == Voice::Over;
        Said { samples, over }
    }

    /// Copies what comes next of a script and gives how much; less than a frame is the end.
    fn copy(&mut self, frame: &mut [i16; FRAME]) -> usize {
        let mut filled = 0;
        while filled < FRAME {
            let Matter::Script(script) = &self.matter else {
                break;
            };
            let Some(clip) = script.clips.get(self.clip) else {
                break;
            };
            let rest = clip.samples.get(self.at..).unwrap_or_default();
            let count = rest.len().min(FRAME - filled);
            frame[filled..filled + count].copy_from_slice(&rest[..count]);
            filled += count;
            let said = words_said(clip, self.word, self.at + count);
            self.words += said as u32;
            self.word += said;
            self.at += count;
            if self.at >= clip.samples.len() {
                (self.clip, self.at, self.word) = (self.clip + 1, 0, 0);
            }
        }
        self.sent += filled as u64;
        filled
    }

    fn played(&self, finished: bool, cut: Option<Cut>) -> ReportKind {
        ReportKind::Played {
            play: self.play,
            sent_samples: self.sent,
            words: self.words,
            finished,
            cut,
        }
    }
}

/// Words that end before `at`, after the first `word` of them.
fn words_said(clip: &Clip, word: usize, at: usize) -> usize {
    let words = clip.words.get(word..).unwrap_or_default();
    words.iter().take_while(|end| (**end as usize) < at).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clip of `ms` at a level no noise reaches, with a word each 100 ms.
    fn script(ms: usize) -> Arc<Script> {
        let clip = Clip {
            samples: vec![8_000; ms * 8].into(),
            words: (0..ms as u32 / 100).map(|word| word * 800).collect(),
        };
        Arc::new(Script {
            clips: vec![Arc::new(clip)],
        })
    }

    fn onset(ms: u64) -> Onset {
        Onset {
            start: ms * 8,
            arrived: Duration::from_millis(ms),
            packets: 0,
        }
    }

    fn frames(mouth: &mut Mouth, count: usize) -> Vec<bool> {
        let mut frame = [0; FRAME];
        (0..count)
            .map(|_| mouth.frame(Duration::ZERO, &mut frame, None, no_voice))
            .collect()
    }

    fn no_voice(_: u32, _: &mut [i16; FRAME]) -> Voice {
        unreachable!("nothing streams in")
    }

    /// The next frames of a stream that has this for them.
    fn streamed(mouth: &mut Mouth, voices: &[Voice]) -> Vec<bool> {
        let one = |voice: &Voice| {
            let mut frame = [0; FRAME];
            let said = mouth.frame(Duration::ZERO, &mut frame, None, |speech, frame| {
                assert_eq!(speech, 9);
                frame.fill(8_000);
                *voice
            });
            assert_eq!(said, frame[FRAME / 2] > 4_000, "what is not said is noise");
            said
        };
        voices.iter().map(one).collect()
    }

    fn reports(mouth: &mut Mouth) -> Vec<ReportKind> {
        std::iter::from_fn(|| mouth.pop_report()).collect()
    }

    #[test]
    fn a_prompt_is_played_to_its_end() {
        let mut mouth = Mouth::new(1);
        mouth.play(0, 7, script(35), true).unwrap();
        assert_eq!(frames(&mut mouth, 5), [true, true, true, true, false]);
        let played = ReportKind::Played {
            play: 7,
            sent_samples: 280,
            words: 0,
            finished: true,
            cut: None,
        };
        assert_eq!(reports(&mut mouth), [played]);
        assert!(mouth.pop_freed().is_some());
    }

    #[test]
    fn a_speech_streams_in_and_where_it_is_late_there_is_comfort_noise() {
        use Voice::{Nothing, Over, Sound};
        let mut mouth = Mouth::new(1);
        mouth.stream(0, 3, 9, true).unwrap();
        let voices = [Nothing, Sound, Sound, Nothing, Sound, Over];
        let said = [false, true, true, false, true, false];
        assert_eq!(streamed(&mut mouth, &voices), said);
        assert_eq!(mouth.voice_gaps(), 2);
        let played = ReportKind::Played {
            play: 3,
            sent_samples: 240,
            words: 0,
            finished: true,
            cut: None,
        };
        assert_eq!(reports(&mut mouth), [played]);
        assert_eq!(mouth.take_ended_stream(), Some(9));
        assert_eq!(frames(&mut mouth, 2), [false; 2]);
    }

    #[test]
    fn speech_over_a_stream_ends_it_in_the_tick_and_nothing_more_is_taken() {
        let mut mouth = Mouth::new(1);
        mouth.stream(0, 3, 9, true).unwrap();
        streamed(&mut mouth, &[Voice::Sound; 3]);
        mouth.hear_onset(onset(0), Duration::from_millis(30), true);
        let mut frame = [0; FRAME];
        let sound = |_, frame: &mut [i16; FRAME]| {
            frame.fill(8_000);
            Voice::Sound
        };
        assert!(mouth.frame(Duration::from_millis(40), &mut frame, None, sound));
        assert!(frame[fade::RAMP..].iter().all(|sample| sample.abs() < 100));
        assert_eq!(mouth.take_ended_stream(), Some(9));
        assert_eq!(frames(&mut mouth, 2), [false; 2], "nobody is asked");
        assert_eq!(mouth.resume(1, 10), Ok(()));
        assert_eq!(frames(&mut mouth, 1), [false], "it cannot be resumed");
    }

    #[test]
    fn a_stream_of_an_older_turn_is_over_before_it_begins() {
        let mut mouth = Mouth::new(1);
        mouth.stop();
        assert_eq!(mouth.stream(0, 3, 9, true), Err(Stale));
        assert_eq!(mouth.take_ended_stream(), Some(9));
        assert_eq!(frames(&mut mouth, 1), [false]);
    }

    #[test]
    fn speech_over_a_prompt_fades_it_within_one_frame_and_raises_the_turn() {
        let mut mouth = Mouth::new(1);
        mouth.play(0, 1, script(1_000), true).unwrap();
        frames(&mut mouth, 25);
        mouth.hear_onset(onset(200), Duration::from_millis(250), true);
        assert_eq!(mouth.turn(), 1);
        let mut frame = [0; FRAME];
        assert!(mouth.frame(Duration::from_millis(260), &mut frame, None, no_voice));
        assert!(frame[0] > 7_000 && frame[20] > 3_000);
        assert!(frame[fade::RAMP..].iter().all(|sample| sample.abs() < 100));
        assert_eq!(frames(&mut mouth, 3), [false; 3]);
        let said = reports(&mut mouth);
        assert!(matches!(
            said[0],
            ReportKind::BargeIn {
                turn: 1,
                play: 1,
                start: 1_600,
                ..
            }
        ));
        let expected = ReportKind::Played {
            play: 1,
            sent_samples: 2_040,
            words: 3,
            finished: false,
            cut: Some(Cut {
                packets: 1,
                took: Duration::from_millis(60),
            }),
        };
        assert_eq!(said[1], expected);
    }

    #[test]
    fn a_notice_that_may_not_be_interrupted_keeps_the_floor() {
        let mut mouth = Mouth::new(1);
        mouth.play(0, 1, script(50), false).unwrap();
        frames(&mut mouth, 1);
        mouth.hear_onset(onset(0), Duration::ZERO, true);
        assert_eq!(mouth.turn(), 0);
        assert_eq!(frames(&mut mouth, 5), [true, true, true, true, false]);
    }

    #[test]
    fn commands_of_an_older_turn_are_stale() {
        let mut mouth = Mouth::new(1);
        mouth.hear_onset(onset(0), Duration::ZERO, false);
        assert_eq!(reports(&mut mouth), [ReportKind::Turn { turn: 1 }]);
        assert_eq!(mouth.play(0, 1, script(50), true), Err(Stale));
        assert!(mouth.pop_freed().is_some());
        assert_eq!(mouth.resume(0, 2), Err(Stale));
        assert_eq!(frames(&mut mouth, 2), [false; 2]);
        assert_eq!(mouth.play(1, 3, script(50), true), Ok(()));
        assert_eq!(frames(&mut mouth, 1), [true]);
    }

    #[test]
    fn a_prompt_decided_before_an_onset_is_stale_even_after_a_stop_of_ours() {
        let mut mouth = Mouth::new(1);
        mouth.play(0, 1, script(50), true).unwrap();
        // The caller speaks; then arrives what was decided before: stop, and say this.
        mouth.hear_onset(onset(0), Duration::ZERO, false);
        mouth.stop();
        assert_eq!(mouth.play(1, 2, script(50), true), Err(Stale));
    }

    #[test]
    fn a_prompt_resumes_at_the_last_word_boundary_heard() {
        let mut mouth = Mouth::new(1);
        mouth.play(0, 1, script(500), true).unwrap();
        frames(&mut mouth, 25);
        mouth.stop();
        frames(&mut mouth, 1);
        mouth.resume(1, 2).unwrap();
        // From the boundary at 200 ms to the end at 500 ms; two more lie between.
        let said = frames(&mut mouth, 40).iter().filter(|said| **said).count();
        assert_eq!(said, 30);
        let last = reports(&mut mouth).pop().unwrap();
        assert!(matches!(
            last,
            ReportKind::Played {
                play: 2,
                sent_samples: 2_400,
                words: 2,
                finished: true,
                cut: None
            }
        ));
        mouth.resume(1, 3).unwrap();
        assert!(matches!(
            reports(&mut mouth)[..],
            [ReportKind::Played {
                play: 3,
                sent_samples: 0,
                finished: false,
                ..
            }]
        ));
    }

    #[test]
    fn a_prompt_gives_way_to_the_next_of_its_turn_with_a_fade() {
        let mut mouth = Mouth::new(1);
        mouth.play(0, 1, script(500), true).unwrap();
        frames(&mut mouth, 2);
        mouth.play(0, 2, script(20), true).unwrap();
        mouth.play(0, 3, script(20), true).unwrap();
        assert_eq!(frames(&mut mouth, 5), [true, true, true, false, false]);
        let plays: Vec<(u32, bool)> = reports(&mut mouth)
            .iter()
            .map(|kind| match kind {
                ReportKind::Played { play, finished, .. } => (*play, *finished),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(plays, [(2, false), (1, false), (3, true)]);
        assert_eq!(std::iter::from_fn(|| mouth.pop_freed()).count(), 3);
    }

    #[test]
    fn every_script_is_handed_back_at_the_end() {
        let mut mouth = Mouth::new(1);
        let mut scripts = Vec::new();
        let play = |mouth: &mut Mouth, scripts: &mut Vec<_>, number| {
            let script = script(100);
            scripts.push(Arc::clone(&script));
            let _ = mouth.play(mouth.turn(), number, script, true);
        };
        play(&mut mouth, &mut scripts, 1);
        frames(&mut mouth, 1);
        mouth.stop();
        frames(&mut mouth, 1);
        play(&mut mouth, &mut scripts, 2);
        frames(&mut mouth, 1);
        play(&mut mouth, &mut scripts, 3);
        mouth.close(Duration::ZERO);
        while mouth.pop_freed().is_some() {}
        assert!(scripts.iter().all(|script| Arc::strong_count(script) == 1));
    }
}
