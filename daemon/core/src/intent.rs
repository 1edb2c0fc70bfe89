//! Intent as a trajectory: what was evidence for it, how it fades, how fast it
//! changes. Thousandths; facts like others, which grant nothing.
//!
//! Integers only: a score is kept in millionths and halves in the half-life of
//! the stage. Each contribution is kept with its age, so that the value can be
//! explained. `dialogue` adds the evidence, `desk` reads the scores.

use core::time::Duration;
use std::collections::VecDeque;

use crate::playbook::StageId;

/// Scores stay within -1,000 … 1,000 thousandths.
const FULL: i64 = 1_000_000;
/// Millionths in a thousandth.
const UNIT: i64 = 1_000;
/// Contributions of which the age is known; older ones have faded.
const TRAIL_MAX: usize = 24;
/// A change is fast within this time.
const SPEED_WINDOW: Duration = Duration::from_secs(10);
/// After this many halvings nothing is left of a full score.
const HALVINGS_MAX: u64 = 40;

/// What a score is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Readiness to do what we offer.
    Readiness,
    /// Comfort with the price.
    Price,
    /// Comfort with the time.
    Timing,
    /// Trust in us.
    Trust,
}

impl Dimension {
    /// All, in the order of their scores.
    pub(crate) const ALL: [Self; 4] = [Self::Readiness, Self::Price, Self::Timing, Self::Trust];

    /// The fact that holds its score.
    pub const fn fact(self) -> &'static str {
        match self {
            Self::Readiness => "intent",
            Self::Price => "intent_price",
            Self::Timing => "intent_timing",
            Self::Trust => "intent_trust",
        }
    }
}

/// One piece of evidence that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contribution {
    /// When.
    pub at: Duration,
    /// In which stage.
    pub stage: StageId,
    /// What it was: `confirm`, `objection`, `hesitation`, `handler`, `reversal`.
    pub kind: &'static str,
    /// About what.
    pub dimension: Dimension,
    /// What it added, in thousandths.
    pub amount: i64,
    /// What was left of it, in millionths, when evidence was last added.
    worth: i64,
    /// The higher of its dimension's scores before and after it, in millionths.
    height: i64,
    /// A later text of the same utterance may still withdraw it.
    provisional: bool,
}

/// From where on the caller counts as ready, and as not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// At or above: ready.
    pub ready: i64,
    /// Below: not ready any more.
    pub relax: i64,
    /// A fall by this much within 10 s ends readiness at once.
    pub fall: i64,
}

/// The caller became ready, or cooled down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Ready,
    Cooled,
}

/// The scores of a conversation.
#[derive(Debug)]
pub(crate) struct Intent {
    /// As of `faded`: looking at them changes nothing.
    scores: [i64; Dimension::ALL.len()],
    faded: Duration,
    half_life_ms: u64,
    /// The oldest first; none before there is evidence, so that a call that only rings
    /// is small.
    trail: VecDeque<Contribution>,
    ready: bool,
}

impl Intent {
    pub(crate) fn new(half_life_ms: u64) -> Self {
        Self {
            scores: [0; Dimension::ALL.len()],
            faded: Duration::ZERO,
            half_life_ms: half_life_ms.max(1),
            trail: VecDeque::new(),
            ready: false,
        }
    }

    /// From now on scores halve in this time.
    pub(crate) fn set_half_life(&mut self, now: Duration, half_life_ms: u64) {
        if half_life_ms.max(1) != self.half_life_ms {
            self.fade(now);
            self.half_life_ms = half_life_ms.max(1);
        }
    }

    /// Adds evidence.
    pub(crate) fn add(&mut self, now: Duration, evidence: Evidence) {
        self.fade(now);
        let score = &mut self.scores[evidence.dimension as usize];
        let amount = evidence.amount.clamp(-FULL / UNIT, FULL / UNIT);
        let before = *score;
        *score = (before + amount * UNIT).clamp(-FULL, FULL);
        let (worth, height) = (*score - before, before.max(*score));
        self.keep(now, evidence, worth, height);
    }

    /// What was suggested by a text that a later one replaces.
    pub(crate) fn withdraw_provisional(&mut self, now: Duration) {
        self.fade(now);
        for kept in self.trail.iter_mut().filter(|kept| kept.provisional) {
            let score = &mut self.scores[kept.dimension as usize];
            *score = (*score - kept.worth).clamp(-FULL, FULL);
            (kept.worth, kept.provisional) = (0, false);
        }
    }

    /// A denial turns what spoke for it around: half of it speaks against it.
    pub(crate) fn reverse(&mut self, now: Duration, stage: StageId, provisional: bool) {
        self.fade(now);
        let score = self.scores[Dimension::Readiness as usize];
        if score > 0 {
            let amount = -(score + score / 2) / UNIT;
            self.add(
                now,
                Evidence {
                    stage,
                    kind: "reversal",
                    dimension: Dimension::Readiness,
                    amount,
                    provisional,
                },
            );
        }
    }

    /// The score now, in thousandths.
    pub(crate) fn score(&self, now: Duration, dimension: Dimension) -> i64 {
        self.left(now, self.scores[dimension as usize]) / UNIT
    }

    /// How far readiness is below its highest of the last 10 s, in thousandths.
    pub(crate) fn speed(&self, now: Duration) -> i64 {
        let recent = |kept: &&Contribution| {
            kept.dimension == Dimension::Readiness && kept.at.saturating_add(SPEED_WINDOW) > now
        };
        let highest = self.trail.iter().filter(recent).map(|kept| kept.height);
        let score = self.score(now, Dimension::Readiness);
        highest
            .max()
            .map_or(0, |highest| (score - highest / UNIT).min(0))
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    /// Judges readiness, with hysteresis; a fast fall ends it wherever it stands.
    pub(crate) fn judge(&mut self, now: Duration, at: Thresholds) -> Option<Change> {
        let score = self.score(now, Dimension::Readiness);
        let falls = self.speed(now) <= -at.fall;
        let ready = match self.ready {
            true => score >= at.relax && !falls,
            false => score >= at.ready && !falls,
        };
        let was = core::mem::replace(&mut self.ready, ready);
        match (was, ready) {
            (false, true) => Some(Change::Ready),
            (true, false) => Some(Change::Cooled),
            (true, true) | (false, false) => None,
        }
    }

    /// What was counted, oldest first, with what is left of it in thousandths.
    pub(crate) fn trail(&self, now: Duration) -> impl Iterator<Item = (&Contribution, i64)> {
        let left = move |kept: &Contribution| self.left(now, kept.worth) / UNIT;
        self.trail.iter().map(move |kept| (kept, left(kept)))
    }

    fn keep(&mut self, at: Duration, evidence: Evidence, worth: i64, height: i64) {
        if self.trail.len() == TRAIL_MAX {
            self.trail.pop_front();
        }
        self.trail.push_back(Contribution {
            at,
            stage: evidence.stage,
            kind: evidence.kind,
            dimension: evidence.dimension,
            amount: worth / UNIT,
            worth,
            height,
            provisional: evidence.provisional,
        });
    }

    fn left(&self, now: Duration, value: i64) -> i64 {
        decay(value, now.saturating_sub(self.faded), self.half_life_ms)
    }

    fn fade(&mut self, now: Duration) {
        let (elapsed, half_life_ms) = (now.saturating_sub(self.faded), self.half_life_ms);
        self.faded = self.faded.max(now);
        let faded = |value: &mut i64| *value = decay(*value, elapsed, half_life_ms);
        self.scores.iter_mut().for_each(faded);
        let trail = self.trail.iter_mut();
        trail.for_each(|kept| faded(&mut kept.worth));
    }
}

/// Evidence to be added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence {
    pub(crate) stage: StageId,
    pub(crate) kind: &'static str,
    pub(crate) dimension: Dimension,
    /// In thousandths.
    pub(crate) amount: i64,
    pub(crate) provisional: bool,
}

/// 2^(-n/16) in 65,536ths.
const SIXTEENTHS: [i64; 17] = [
    65536, 62757, 60097, 57549, 55109, 52773, 50535, 48393, 46341, 44376, 42495, 40693, 38968,
    37316, 35734, 34219, 32768,
];

/// What is left of a value after a time, towards zero: halved for each half-life,
/// between sixteenths of one in a straight line (within 0.03 %).
fn decay(value: i64, elapsed: Duration, half_life_ms: u64) -> i64 {
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let halvings = elapsed_ms / half_life_ms;
    if halvings >= HALVINGS_MAX {
        return 0;
    }
    let sixteenths = (elapsed_ms % half_life_ms) * 16;
    let (place, part) = (sixteenths / half_life_ms, sixteenths % half_life_ms);
    let (from, to) = (SIXTEENTHS[place as usize], SIXTEENTHS[place as usize + 1]);
    let factor = from - (from - to) * (part as i64) / (half_life_ms as i64);
    let left = (value.abs() * factor / 65_536) >> halvings;
    left * value.signum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_LIFE: u64 = 24_000;

    fn evidence(kind: &'static str, amount: i64) -> Evidence {
        Evidence {
            stage: StageId::default(),
            kind,
            dimension: Dimension::Readiness,
            amount,
            provisional: false,
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn readiness(intent: &Intent, now: Duration) -> i64 {
        intent.score(now, Dimension::Readiness)
    }

    #[test]
    fn evidence_halves_in_its_half_life_fades_to_nothing_and_never_overflows() {
        let mut intent = Intent::new(HALF_LIFE);
        intent.add(Duration::ZERO, evidence("confirm", 800));
        assert_eq!(readiness(&intent, seconds(24)), 400);
        intent.add(seconds(24), evidence("confirm", i64::MAX));
        assert_eq!(readiness(&intent, seconds(24)), 1_000);
        assert_eq!(readiness(&intent, seconds(24 + 256)), 0);
        intent.add(seconds(3_600), evidence("deny", i64::MIN));
        assert_eq!(readiness(&intent, seconds(3_600)), -1_000);
    }

    #[test]
    fn looking_at_it_changes_nothing_and_little_by_little_it_fades_as_at_once() {
        let mut intent = Intent::new(HALF_LIFE);
        intent.add(Duration::ZERO, evidence("confirm", 1_000));
        for second in 1..=24 {
            intent.score(seconds(second), Dimension::Trust);
        }
        assert_eq!(readiness(&intent, seconds(24)), 500);
        for second in 1..=24 {
            intent.add(seconds(second), evidence("handler", 0));
        }
        let left = readiness(&intent, seconds(24));
        assert!((500..=510).contains(&left), "{left}");
    }

    #[test]
    fn a_denial_reverses_what_was_there_and_says_so() {
        let mut intent = Intent::new(HALF_LIFE);
        intent.add(Duration::ZERO, evidence("confirm", 600));
        intent.reverse(Duration::ZERO, StageId::default(), false);
        assert_eq!(readiness(&intent, Duration::ZERO), -300);
        let trail = intent.trail(Duration::ZERO);
        let kinds: Vec<_> = trail.map(|(kept, left)| (kept.kind, left)).collect();
        assert_eq!(kinds, [("confirm", 600), ("reversal", -900)]);
    }

    #[test]
    fn readiness_has_hysteresis_and_a_fast_fall_ends_it() {
        let at = Thresholds {
            ready: 600,
            relax: 400,
            fall: 300,
        };
        let mut intent = Intent::new(HALF_LIFE);
        intent.add(Duration::ZERO, evidence("confirm", 700));
        assert_eq!(intent.judge(Duration::ZERO, at), Some(Change::Ready));
        assert_eq!(readiness(&intent, seconds(12)), 494);
        assert_eq!(
            intent.judge(seconds(12), at),
            None,
            "between the two it stays"
        );
        assert_eq!(
            intent.judge(seconds(24), at),
            Some(Change::Cooled),
            "350 by time alone"
        );

        let mut intent = Intent::new(HALF_LIFE);
        intent.add(Duration::ZERO, evidence("confirm", 1_000));
        assert_eq!(intent.judge(Duration::ZERO, at), Some(Change::Ready));
        intent.add(seconds(11), evidence("objection", -310));
        assert_eq!(
            intent.judge(seconds(11), at),
            Some(Change::Cooled),
            "420, but falling"
        );
    }

    #[test]
    fn what_a_provisional_text_suggested_is_taken_back_whole() {
        let mut intent = Intent::new(HALF_LIFE);
        intent.add(Duration::ZERO, evidence("handler", 200));
        let provisional = true;
        intent.add(
            seconds(1),
            Evidence {
                provisional,
                ..evidence("confirm", 400)
            },
        );
        intent.withdraw_provisional(seconds(2));
        let left = readiness(&intent, seconds(24));
        assert!((99..=100).contains(&left), "{left}");
    }
}
