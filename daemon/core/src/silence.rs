//! How long silence is left alone: by what was said before it, by its cause, and
//! by how long this caller usually takes. It counts; `dialogue` asks.

use core::time::Duration;

use crate::input::SilenceCause;

/// An answer within this long of our last word is a quick one. Turn-taking takes
/// 200 ms on average (Stivers et al. 2009); the telephone adds its delay.
const QUICK_MS: u64 = 700;
/// Answers count for a quarter each: four of a kind make a habit.
const WEIGHT: u64 = 4;
/// Slower than this is no answer to our last word any more.
const LATENCY_MAX_MS: u64 = 10_000;
/// A habit lengthens or shortens the wait by no more than this, in percent.
const HABIT_PCT: (u64, u64) = (80, 200);

/// Of the wait, in percent, for somebody who has spoken and is on a live line: an answer
/// is being prepared, and asking now would take the word from them.
const THINKING_PCT: u64 = 150;
/// Muted, not gone: somebody is asked, or a child cries.
const MUTED_PCT: u64 = 150;
/// Nothing comes any more, no packet or not even a background: there is nobody whom a
/// question could disturb, and the sooner it is known the sooner the line is free.
const GONE_PCT: u64 = 50;

/// What a silence after a stage's words means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// The caller thinks, e.g. about a price: left alone for twice as long.
    Thinking,
    /// A question waits for its answer.
    #[default]
    Question,
    /// Nothing is awaited, e.g. after a confirmation: half as long.
    DeadAir,
}

impl Pace {
    pub(crate) const WORDS: [(&'static str, Self); 3] = [
        ("question", Self::Question),
        ("thinking", Self::Thinking),
        ("dead_air", Self::DeadAir),
    ];

    const fn percent(self) -> u64 {
        match self {
            Self::Thinking => 200,
            Self::Question => 100,
            Self::DeadAir => 50,
        }
    }
}

/// How long this caller usually takes to answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cadence {
    usual_ms: Option<u64>,
}

impl Cadence {
    /// An answer began so long after our last word. Gives how that compares with
    /// the answers before, in percent; 100 for the first.
    pub(crate) fn answered(&mut self, latency: Duration) -> Option<i64> {
        let ms = u64::try_from(latency.as_millis()).ok()?;
        if ms > LATENCY_MAX_MS {
            return None;
        }
        let usual = self.usual_ms.unwrap_or(ms);
        self.usual_ms = Some((usual * (WEIGHT - 1) + ms) / WEIGHT);
        i64::try_from(ms.max(1) * 100 / usual.max(QUICK_MS)).ok()
    }

    /// The wait that a base means for this caller, this pace and this cause.
    pub(crate) fn patience(
        &self,
        base_ms: u64,
        pace: Pace,
        cause: Option<SilenceCause>,
    ) -> Duration {
        let habit = self.usual_ms.map_or(100, |usual| usual * 100 / QUICK_MS);
        let habit = habit.clamp(HABIT_PCT.0, HABIT_PCT.1);
        let cause = match cause {
            Some(SilenceCause::Thinking) => THINKING_PCT,
            Some(SilenceCause::ComfortNoise) => MUTED_PCT,
            Some(SilenceCause::Gone | SilenceCause::NoRtp) => GONE_PCT,
            // Nobody has spoken yet, or music plays and nobody is asked anyway.
            Some(SilenceCause::Quiet | SilenceCause::HoldMusic) | None => 100,
        };
        let ms = base_ms.saturating_mul(pace.percent() * habit * cause) / 1_000_000;
        Duration::from_millis(ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn thinking_is_left_alone_for_longer_than_dead_air() {
        let caller = Cadence::default();
        let waits = [Pace::Thinking, Pace::Question, Pace::DeadAir];
        let waits = waits.map(|pace| caller.patience(6_000, pace, None));
        assert_eq!(waits, [ms(12_000), ms(6_000), ms(3_000)]);
    }

    #[test]
    fn the_wait_differs_by_cause() {
        let caller = Cadence::default();
        for (cause, wait) in [
            (None, 6_000),
            (Some(SilenceCause::Quiet), 6_000),
            (Some(SilenceCause::HoldMusic), 6_000),
            (Some(SilenceCause::Thinking), 9_000),
            (Some(SilenceCause::ComfortNoise), 9_000),
            (Some(SilenceCause::Gone), 3_000),
            (Some(SilenceCause::NoRtp), 3_000),
        ] {
            let patience = caller.patience(6_000, Pace::Question, cause);
            assert_eq!(patience, ms(wait), "{cause:?}");
        }
    }

    #[test]
    fn a_slow_caller_is_given_more_time_and_a_quick_one_a_little_less() {
        let mut slow = Cadence::default();
        for _ in 0..4 {
            slow.answered(ms(1_400));
        }
        assert_eq!(slow.patience(6_000, Pace::Question, None), ms(12_000));
        let mut quick = Cadence::default();
        quick.answered(ms(100));
        assert_eq!(quick.patience(6_000, Pace::Question, None), ms(4_800));
    }

    #[test]
    fn an_answer_is_compared_with_those_before() {
        let mut caller = Cadence::default();
        assert_eq!(caller.answered(ms(1_000)), Some(100));
        assert_eq!(caller.answered(ms(3_000)), Some(300));
        assert_eq!(caller.answered(ms(60_000)), None, "that was no answer");
    }
}
