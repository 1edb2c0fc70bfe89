//! Intent as a number in thousandths: handlers add evidence, time takes it away.
//! It is a fact like others; it grants nothing.

use core::time::Duration;

/// Time of one step of decay.
const STEP: Duration = Duration::from_millis(250);
/// A step takes this share: the half-life of a full score is about 24 s.
const SHARE: i64 = 128;
/// Scores stay within -1,000 … 1,000.
const FULL: i64 = 1_000;
/// After this many steps nothing is left of a full score.
const STEPS_MAX: u32 = 1_024;

/// A fading score.
#[derive(Debug, Default)]
pub(crate) struct Intent {
    score: i64,
    stepped: Duration,
}

impl Intent {
    /// Adds evidence.
    pub(crate) fn add(&mut self, now: Duration, evidence: i64) {
        self.fade(now);
        self.score = self.score.saturating_add(evidence).clamp(-FULL, FULL);
    }

    /// The score now.
    pub(crate) fn score(&mut self, now: Duration) -> i64 {
        self.fade(now);
        self.score
    }

    fn fade(&mut self, now: Duration) {
        for _ in 0..STEPS_MAX {
            if now.saturating_sub(self.stepped) < STEP {
                return;
            }
            self.stepped += STEP;
            // At least one, so that nothing lasts for ever.
            let share = (self.score.abs() / SHARE).max(1) * self.score.signum();
            self.score -= share;
        }
        self.stepped = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_halves_in_about_24_seconds_fades_to_nothing_and_never_overflows() {
        let mut intent = Intent::default();
        intent.add(Duration::ZERO, 800);
        let later = intent.score(Duration::from_secs(24));
        assert!((380..=420).contains(&later), "{later}");
        intent.add(Duration::from_secs(24), i64::MAX);
        assert_eq!(intent.score(Duration::from_secs(24)), FULL);
        assert_eq!(intent.score(Duration::from_secs(24 + 256)), 0);
        intent.add(Duration::from_secs(3_600), i64::MIN);
        assert_eq!(intent.score(Duration::from_secs(3_600)), -FULL);
    }
}
