//! Which signalling tone a row of tone stretches is.
//!
//! Frequencies and cadences of ITU-T E.180/Q.35 with the national values of its
//! supplement 2 (North America, United Kingdom, continental Europe, France,
//! Japan, Australia: `tests/plans.rs` has them all). A rule looks at finished stretches and the one that goes on; it keeps no state but
//! what was reported last. Called by the ear.

use crate::event::ToneKind;
use crate::signal::{SEGMENTS, Segment, Signal};

/// Samples per millisecond.
const MS: u64 = 8;
/// The same kind is reported again after it was away for this long: a ring
/// every 4 to 6 s is one ringback.
const FORGET: u64 = 8_000 * MS;

/// Frequencies that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// 440 + 480 Hz: North American ringback.
    Ring,
    /// 480 + 620 Hz: North American busy and reorder.
    Busy,
    /// 350 + 440 or 350 + 450 Hz: dial tone.
    Dial,
    /// 400 to 450 Hz, single or beating: Europe and most of the world.
    European,
    /// 1,100 Hz: a calling fax (ITU-T T.30 §4.2).
    Calling,
    /// 2,100 Hz: an answering fax (ITU-T T.30 §4.1).
    Answering,
    /// The three of ITU-T E.180 §7: 950, 1,400 and 1,800 Hz.
    SitLow,
    SitMiddle,
    SitHigh,
    Other,
}

fn family(segment: &Segment) -> Family {
    let near = |hertz: f32, wanted: f32, tolerance: f32| (hertz - wanted).abs() <= tolerance;
    let both = |low, high| near(segment.low, low, 14.0) && near(segment.high, high, 14.0);
    if both(440.0, 480.0) {
        return Family::Ring;
    }
    if both(480.0, 620.0) {
        return Family::Busy;
    }
    if both(350.0, 440.0) || both(350.0, 450.0) {
        return Family::Dial;
    }
    if both(400.0, 450.0) {
        return Family::European;
    }
    if !segment.is_single() {
        return Family::Other;
    }
    match segment.low {
        hertz if near(hertz, 460.0, 8.0) => Family::Ring,
        hertz if near(hertz, 424.0, 28.0) => Family::European,
        hertz if near(hertz, 1_100.0, 40.0) => Family::Calling,
        hertz if near(hertz, 2_100.0, 30.0) => Family::Answering,
        hertz if near(hertz, 950.0, 60.0) => Family::SitLow,
        hertz if near(hertz, 1_400.0, 60.0) => Family::SitMiddle,
        hertz if near(hertz, 1_790.0, 60.0) => Family::SitHigh,
        _ => Family::Other,
    }
}

/// The last few stretches, the newest first, and what is known of now.
struct Row {
    segments: heapless::Vec<Segment, { SEGMENTS + 1 }>,
    /// Whether the newest goes on.
    sounding: bool,
    at: u64,
    spoken: u64,
}

impl Row {
    /// 0 for a stretch that was not.
    fn start(&self, index: usize) -> u64 {
        self.segments.get(index).map_or(0, |segment| segment.start)
    }

    /// 0 for a stretch that was not.
    fn length(&self, index: usize) -> u64 {
        self.segments.get(index).map_or(0, Segment::length)
    }

    /// Silence between a stretch and the one before it; endless if there was none.
    fn gap(&self, index: usize) -> u64 {
        match self.segments.get(index..=index + 1) {
            Some([later, earlier]) => later.start.saturating_sub(earlier.end),
            Some(_) | None => u64::MAX,
        }
    }

    /// Silence since the newest ended.
    fn quiet(&self) -> u64 {
        if self.sounding {
            0
        } else {
            self.at - self.segments[0].end
        }
    }

    fn alike(&self, count: usize) -> bool {
        self.segments.len() >= count
            && self.segments[..count]
                .iter()
                .all(|s| s.resembles(&self.segments[0]))
    }
}

/// What was reported, and when it was last heard.
#[derive(Clone, Debug)]
pub(crate) struct Cadence {
    last: Option<(ToneKind, u64)>,
}

impl Cadence {
    pub(crate) const fn new() -> Self {
        Self { last: None }
    }

    /// Looks at the row after a frame. Reports a kind once, with its first
    /// sample, until something else is heard or it stays away.
    pub(crate) fn hear(
        &mut self,
        at: u64,
        signal: &Signal,
        spoken: u64,
    ) -> Option<(ToneKind, u64)> {
        let row = row(at, signal, spoken)?;
        let (kind, start) = recognise(&row)?;
        let is_new = self
            .last
            .is_none_or(|(last, seen)| last != kind || at - seen > FORGET);
        self.last = Some((kind, at));
        is_new.then_some((kind, start))
    }
}

fn row(at: u64, signal: &Signal, spoken: u64) -> Option<Row> {
    let open = signal.open();
    let mut segments = heapless::Vec::new();
    for segment in open.iter().chain(signal.past().rev()) {
        segments
            .push(*segment)
            .expect("one more than the tracker keeps");
    }
    let newest = segments.first()?;
    let recent = at - newest.end <= 1_500 * MS;
    recent.then_some(Row {
        segments,
        sounding: open.is_some(),
        at,
        spoken,
    })
}

fn recognise(row: &Row) -> Option<(ToneKind, u64)> {
    let newest = family(&row.segments[0]);
    let start = row.start(0);
    if is_sit(row) {
        return known_sit(row).map(|kind| (kind, row.start(2)));
    }
    if let Some(kind) = congestion_of_two_lengths(row) {
        return Some((kind, row.start(2)));
    }
    if is_call_waiting(row) {
        return Some((ToneKind::CallWaiting, start));
    }
    match newest {
        Family::Answering => answering_fax(row).then_some((ToneKind::FaxCed, start)),
        Family::Calling => calling_fax(row).then_some((ToneKind::FaxCng, start)),
        Family::Dial => (row.length(0) >= 1_200 * MS).then_some((ToneKind::Dial, start)),
        Family::Ring => (row.length(0) >= 600 * MS).then_some((ToneKind::Ringback, start)),
        Family::Busy => interrupted(row).or_else(|| single_busy(row)),
        Family::European => european(row).or_else(|| interrupted(row)),
        Family::SitLow | Family::SitMiddle | Family::SitHigh | Family::Other => None,
    }
}

/// Three rising tones without pauses (ITU-T E.180 §7: 330 ± 70 ms each, gaps up to 30 ms).
fn is_sit(row: &Row) -> bool {
    let [third, second, first, ..] = row.segments.as_slice() else {
        return false;
    };
    let rising = [family(first), family(second), family(third)]
        == [Family::SitLow, Family::SitMiddle, Family::SitHigh];
    let long_enough = first.length() >= 180 * MS && second.length() >= 180 * MS;
    let joined = row.gap(0) <= 100 * MS && row.gap(1) <= 100 * MS;
    rising && long_enough && joined && third.length() >= 100 * MS
}

/// Which one, by the first two tones: each is low or high (913.8 or 985.2 Hz,
/// 1,370.6 or 1,428.5 Hz) and short or long (274 or 380 ms; Telcordia SR-2275
/// §6.21.2). `None` until the third goes on long enough to be sure of the row.
fn known_sit(row: &Row) -> Option<ToneKind> {
    let (first, second) = (&row.segments[2], &row.segments[1]);
    let high = (first.low > 950.0, second.low > 1_400.0);
    let long = |segment: &Segment| segment.length() > 327 * MS;
    Some(match (high, (long(first), long(second))) {
        ((false, false), (false, false)) => ToneKind::SitIc,
        ((true, false), (true, false)) => ToneKind::SitVc,
        ((false, true), (false, true)) | ((true, false), (false, true)) => ToneKind::SitRo,
        ((true, true), (true, true)) | ((false, false), (true, true)) => ToneKind::SitNc,
        _ => ToneKind::Sit,
    })
}

/// The British congestion tone: 0.4 s on, 0.35 off, 0.225 on, 0.525 off
/// (ITU-T E.180 supplement 2).
fn congestion_of_two_lengths(row: &Row) -> Option<ToneKind> {
    if !row.alike(3) || row.sounding || family(&row.segments[0]) != Family::European {
        return None;
    }
    let near = |value: u64, wanted: u64| (value / MS).abs_diff(wanted) <= 60;
    let long = |index: usize| near(row.length(index), 400);
    let short = |index: usize| near(row.length(index), 225);
    let from_long =
        long(0) && short(1) && long(2) && near(row.gap(0), 525) && near(row.gap(1), 350);
    let from_short =
        short(0) && long(1) && short(2) && near(row.gap(0), 350) && near(row.gap(1), 525);
    (from_long || from_short).then_some(ToneKind::Reorder)
}

/// 2.6 to 4.0 s by T.30 §4.1; a second of it is enough unless somebody spoke
/// before, as the beep of a voicemail may have this frequency too.
fn answering_fax(row: &Row) -> bool {
    let enough = if row.spoken < 300 * MS { 800 } else { 1_800 };
    row.length(0) >= enough * MS
}

/// 0.5 s ± 15 % every 3 s (T.30 §4.2); the first alone counts if nobody spoke before.
fn calling_fax(row: &Row) -> bool {
    let one = |index: usize| (400..=620).contains(&(row.length(index) / MS));
    if row.sounding || !one(0) || row.quiet() < 100 * MS {
        return false;
    }
    let repeated = row.alike(2) && one(1) && (2_400..=3_600).contains(&(row.gap(0) / MS));
    repeated || row.spoken < 300 * MS
}

/// On and off in equal parts, heard twice: busy, or congestion if it is quick.
fn interrupted(row: &Row) -> Option<(ToneKind, u64)> {
    if !row.alike(3) || (row.sounding && row.length(0) < 60 * MS) {
        return None;
    }
    let (on, gap, gap_before) = (row.length(1) / MS, row.gap(0) / MS, row.gap(1) / MS);
    let alike = |one: u64, other: u64| one.abs_diff(other) * 3 <= one.max(other);
    if !alike(gap, gap_before) || !alike(on, gap) || !(140..=800).contains(&on) {
        return None;
    }
    let kind = if on + gap < 620 {
        ToneKind::Reorder
    } else {
        ToneKind::Busy
    };
    Some((kind, row.start(2)))
}

/// 480 + 620 Hz are used for nothing else: one burst of half a second is busy.
fn single_busy(row: &Row) -> Option<(ToneKind, u64)> {
    let one = (420..=600).contains(&(row.length(0) / MS));
    (one && row.quiet() >= 300 * MS).then_some((ToneKind::Busy, row.start(0)))
}

/// Single or beating tones around 425 Hz: ringback, the double ring of the
/// United Kingdom, or dial tone, told apart by time alone.
fn european(row: &Row) -> Option<(ToneKind, u64)> {
    let length = row.length(0) / MS;
    let start = row.start(0);
    if row.sounding {
        return (length >= 2_700).then_some((ToneKind::Dial, start));
    }
    let quiet = row.quiet() / MS;
    if (800..=2_600).contains(&length) && quiet >= 700 {
        return Some((ToneKind::Ringback, start));
    }
    let double = row.alike(2)
        && (300..=500).contains(&length)
        && (300..=500).contains(&(row.length(1) / MS))
        && (120..=280).contains(&(row.gap(0) / MS));
    (double && quiet >= 600).then_some((ToneKind::RingbackUk, row.start(1)))
}

/// 440 Hz for 0.3 s every 10 s, while people talk (North America).
fn is_call_waiting(row: &Row) -> bool {
    let one = |index: usize| (150..=500).contains(&(row.length(index) / MS));
    !row.sounding
        && row.alike(2)
        && (row.segments[0].low - 440.0).abs() < 10.0
        && one(0)
        && one(1)
        && (7_500..=12_500).contains(&(row.gap(0) / MS))
}
