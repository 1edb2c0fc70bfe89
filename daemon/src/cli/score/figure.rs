//! Figures for tables: shares with their intervals, percentiles, areas.
//!
//! Pure arithmetic; what is counted is said by the tables. Called by `score`.

/// 97.5 % of a normal distribution lie below this many deviations.
const Z: f64 = 1.959_964;

/// Of `n` cases, `k`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) k: usize,
    pub(super) n: usize,
}

impl Share {
    /// Counts one case.
    pub(super) fn count(&mut self, hit: bool) {
        self.k += usize::from(hit);
        self.n += 1;
    }

    /// `None` of no cases.
    pub(super) fn value(self) -> Option<f64> {
        (self.n > 0).then(|| self.k as f64 / self.n as f64)
    }

    /// Wilson's interval: 95 % of such counts come from a true share within it.
    pub(super) fn interval(self) -> Option<(f64, f64)> {
        let share = self.value()?;
        let n = self.n as f64;
        let middle = share + Z * Z / (2.0 * n);
        let reach = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        let whole = 1.0 + Z * Z / n;
        Some((
            ((middle - reach) / whole).max(0.0),
            ((middle + reach) / whole).min(1.0),
        ))
    }
}

impl FromIterator<bool> for Share {
    fn from_iter<I: IntoIterator<Item = bool>>(cases: I) -> Self {
        let mut share = Self::default();
        cases.into_iter().for_each(|hit| share.count(hit));
        share
    }
}

/// In so many minutes, `count`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    pub(super) count: usize,
    pub(super) minutes: f64,
}

impl Rate {
    /// A minute; `None` of no time.
    pub(super) fn value(self) -> Option<f64> {
        (self.minutes > 0.0).then(|| self.count as f64 / self.minutes)
    }

    /// What Wilson's interval is where each moment is a case: 95 % of such counts come
    /// from a true rate within it.
    pub(super) fn interval(self) -> Option<(f64, f64)> {
        let count = self.value()? * self.minutes;
        let middle = count + Z * Z / 2.0;
        let reach = Z * (count + Z * Z / 4.0).sqrt();
        let low = (middle - reach).max(0.0);
        Some((low / self.minutes, (middle + reach) / self.minutes))
    }
}

/// The value below which this share (0 to 1) of the values lies; `None` of none.
pub(super) fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    sorted.get((share * last as f64).round() as usize).copied()
}

/// Area under the ROC curve: how often a positive has the higher score, ties
/// half. `None` without positives or without negatives.
pub(super) fn area(cases: &[(f32, bool)]) -> Option<f64> {
    let mut sorted = cases.to_vec();
    sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut rank_sum, mut positives, mut before) = (0.0, 0usize, 0usize);
    for tied in sorted.chunk_by(|one, other| one.0 == other.0) {
        let hits = tied.iter().filter(|case| case.1).count();
        let rank = before as f64 + (tied.len() as f64 + 1.0) / 2.0;
        rank_sum += rank * hits as f64;
        positives += hits;
        before += tied.len();
    }
    let negatives = before - positives;
    let least = positives as f64 * (positives as f64 + 1.0) / 2.0;
    let pairs = positives as f64 * negatives as f64;
    (pairs > 0.0).then(|| (rank_sum - least) / pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_intervals_are_those_of_the_textbook() {
        let (low, high) = Share { k: 81, n: 263 }.interval().expect("cases");
        assert!((low - 0.2553).abs() < 1e-4 && (high - 0.3662).abs() < 1e-4);
        let (low, high) = Share { k: 10, n: 10 }.interval().expect("cases");
        assert!((low - 0.7225).abs() < 1e-4 && (high - 1.0).abs() < 1e-9);
        assert_eq!(Share::default().interval(), None);
    }

    #[test]
    fn the_interval_of_a_rate_is_that_of_a_share_of_very_many_cases() {
        let (k, n) = (6, 10_000_000);
        let rate = Rate {
            count: k,
            minutes: 10.7,
        };
        let share = Share { k, n }.interval().expect("cases");
        let (low, high) = rate.interval().expect("it took time");
        let cases_a_minute = n as f64 / 10.7;
        assert!((low - share.0 * cases_a_minute).abs() < 1e-4);
        assert!((high - share.1 * cases_a_minute).abs() < 1e-4);
        let never = Rate {
            count: 0,
            minutes: 0.0,
        };
        assert_eq!(never.interval(), None);
    }

    #[test]
    fn an_area_counts_ties_half() {
        let all = [(0.1, false), (0.4, true), (0.4, false), (0.9, true)];
        assert_eq!(area(&all), Some(0.875));
        assert_eq!(area(&all[1..2]), None);
    }

    #[test]
    fn a_percentile_is_a_value_of_the_list() {
        assert_eq!(percentile(&[3.0, 1.0, 2.0], 0.5), Some(2.0));
        assert_eq!(percentile(&[3.0, 1.0, 2.0], 0.95), Some(3.0));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
