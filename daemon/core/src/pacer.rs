//! Works a list of people to be called: who is next, and when again.
//!
//! Pure: no clock, no calls. The daemon asks it for the next one, tells it what
//! came of each, and asks the gate before anything is dialled. It knows
//! attempts, spacing and pace; what is allowed is policy's to say.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::input::Cause;
use crate::memory::LeadId;

/// Leads of one campaign.
pub const LIST_MAX: usize = 100_000;
/// Failures of the line, in a row, that stop dialling for a while.
const OPENS_AFTER: u32 = 5;
/// First and longest pause after that, in ms.
const PAUSE_FIRST_MS: u64 = 10_000;
const PAUSE_LAST_MS: u64 = 600_000;
/// Jitter to either side, in thousandths of a wait.
const JITTER_PERMILLE: u64 = 200;
/// What policy refused now is asked again after this long, in ms.
const REFUSED_AGAIN_MS: u64 = 600_000;
/// A line that failed is no attempt at the person, but is tried so many times
/// in all, else a number that breaks a trunk would be dialled for ever.
const LINE_TRIES_MAX: u32 = 10;

/// How a list is worked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Attempts to reach a person, at most.
    pub attempts: u32,
    /// From the end of one attempt to the next, in ms.
    pub spacing_ms: u64,
    /// Calls of this campaign at the same time.
    pub at_once: u32,
    /// Dialled in a minute, at most.
    pub per_minute: u32,
    /// Only while somebody is free to take each call over.
    pub agents: bool,
}

/// What there is room for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Free slots on the box that may be used for this.
    pub slots: u32,
    /// People free to take a call; `None`: nobody has said so lately.
    pub agents: Option<u32>,
    /// Dials that the trunk may still bear now (see [`Line::room`]).
    pub line: u32,
}

/// How a trunk bears calls that nobody waits for; all lists that go by it share it.
/// A trunk that fails for everybody is left alone for longer and longer, then asked
/// by one call at a time.
#[derive(Clone, Debug, Default)]
pub struct Line {
    seed: u64,
    failures: u32,
    not_before_ms: u64,
}

impl Line {
    /// One that nothing is known of; the seed decides the jitter.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// Dials that may begin now, while so many calls of lists are under way on it.
    pub fn room(&self, now_ms: u64, calling: u32) -> u32 {
        match (now_ms < self.not_before_ms, self.failures >= OPENS_AFTER) {
            (true, _) => 0,
            (false, true) => 1u32.saturating_sub(calling),
            (false, false) => u32::MAX,
        }
    }

    /// Nothing is dialled before then, where it is being left alone.
    pub fn paused_until(&self, now_ms: u64) -> Option<u64> {
        Some(self.not_before_ms).filter(|until| *until > now_ms)
    }

    /// A call went through it, or failed in it.
    pub fn carried(&mut self, works: bool, now_ms: u64) {
        if works {
            (self.failures, self.not_before_ms) = (0, 0);
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= OPENS_AFTER {
            let doublings = (self.failures - OPENS_AFTER).min(16);
            let wait_ms = (PAUSE_FIRST_MS << doublings).min(PAUSE_LAST_MS);
            let wait_ms = jitter(self.seed, u64::from(self.failures), wait_ms);
            self.not_before_ms = self.not_before_ms.max(now_ms.saturating_add(wait_ms));
        }
    }
}

/// Where a lead stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// To be called, not before then (wall time, ms since 1970).
    Waiting(u64),
    /// Being called.
    Calling,
    /// Not called again, and why.
    Done(String),
}

/// What is known of one lead in a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    standing: Standing,
    /// Attempts at the person.
    attempts: u32,
    /// Dials that the line failed.
    line_failures: u32,
    readiness: i64,
}

/// How a campaign does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// All leads.
    pub leads: u64,
    /// To be called, now or later.
    pub waiting: u64,
    /// Being called.
    pub calling: u64,
    /// Not called again, by reason.
    pub done: BTreeMap<String, u64>,
    /// Attempts made.
    pub attempts: u64,
    /// Nothing is dialled before then (wall time, ms since 1970): the line fails.
    pub paused_until_ms: Option<u64>,
}

/// A list and how far it is worked.
#[derive(Clone, Debug)]
pub struct Pacer {
    pace: Pace,
    seed: u64,
    entries: BTreeMap<LeadId, Entry>,
    /// Those whose time has not come: the soonest first.
    later: BTreeSet<(u64, LeadId)>,
    /// Those who may be called now: the readiest first.
    due: BTreeSet<(i64, LeadId)>,
    calling: u32,
    /// When the dials of the last minute were.
    recent: std::collections::VecDeque<u64>,
    attempts: u64,
}

impl Pacer {
    /// An empty list; the seed decides the jitter, the same one always alike.
    pub fn new(pace: Pace, seed: u64) -> Self {
        Self {
            pace,
            seed,
            entries: BTreeMap::new(),
            later: BTreeSet::new(),
            due: BTreeSet::new(),
            calling: 0,
            recent: std::collections::VecDeque::new(),
            attempts: 0,
        }
    }

    /// How it is worked.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Works it differently from now on.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Puts a lead on the list. False: it is there already, or the list is full.
    pub fn add(&mut self, lead: LeadId, readiness: i64) -> bool {
        if self.entries.len() >= LIST_MAX || self.entries.contains_key(&lead) {
            return false;
        }
        let entry = Entry {
            standing: Standing::Waiting(0),
            attempts: 0,
            line_failures: 0,
            readiness,
        };
        self.due.insert((-readiness, lead));
        self.entries.insert(lead, entry);
        true
    }

    /// This is how far a lead has come since.
    pub fn rate(&mut self, lead: LeadId, readiness: i64) {
        let Some(entry) = self.entries.get_mut(&lead) else {
            return;
        };
        if self.due.remove(&(-entry.readiness, lead)) {
            self.due.insert((-readiness, lead));
        }
        entry.readiness = readiness;
    }

    /// Whom to call now, if anybody: of all whose time has come the readiest.
    pub fn next(&mut self, now_ms: u64, room: Room) -> Option<LeadId> {
        while let Some((due_ms, lead)) = self.later.first().copied()
            && due_ms <= now_ms
        {
            self.later.remove(&(due_ms, lead));
            let readiness = self.entries.get(&lead).map_or(0, |entry| entry.readiness);
            self.due.insert((-readiness, lead));
        }
        let (_, lead) = *self.due.first()?;
        let agents = match self.pace.agents {
            true => room.agents.unwrap_or(0),
            false => u32::MAX,
        };
        let minute_ago = now_ms.saturating_sub(60_000);
        let lately = self.recent.iter().filter(|at| **at > minute_ago).count();
        let open = room.slots > 0
            && room.line > 0
            && self.calling < self.pace.at_once.min(agents)
            && lately < self.pace.per_minute as usize;
        open.then_some(lead)
    }

    /// When it is worth asking again, at the latest; `None`: nobody waits.
    pub fn next_at(&self, now_ms: u64) -> Option<u64> {
        let soonest_ms = self.later.first().map(|(due_ms, _)| *due_ms);
        let due_ms = match self.due.is_empty() {
            true => soonest_ms?,
            false => now_ms,
        };
        let minute = self.pace.per_minute as usize;
        let full = self
            .recent
            .len()
            .checked_sub(minute)
            .and_then(|at| self.recent.get(at));
        let pace_ms = full.map_or(0, |at| at.saturating_add(60_000));
        Some(due_ms.max(pace_ms).max(now_ms))
    }

    /// This lead is dialled; to be kept before anything leaves the box.
    pub fn dialled(&mut self, lead: LeadId, now_ms: u64) {
        if self.unqueue(lead) {
            self.calling = self.calling.saturating_add(1);
        }
        let Some(entry) = self.entries.get_mut(&lead) else {
            return;
        };
        entry.standing = Standing::Calling;
        entry.attempts = entry.attempts.saturating_add(1);
        self.attempts = self.attempts.saturating_add(1);
        self.recent.push_back(now_ms);
        while self.recent.len() > self.pace.per_minute.max(1) as usize {
            self.recent.pop_front();
        }
    }

    /// The attempt is over, as `result` says; reached: nobody need call again. Says
    /// whether the line carried it, where there was such an attempt.
    pub fn ended(&mut self, lead: LeadId, cause: Cause, result: &str, now_ms: u64) -> Option<bool> {
        let spacing_ms = self.pace.spacing_ms;
        let entry = self.entries.get_mut(&lead)?;
        if entry.standing != Standing::Calling {
            return None;
        }
        let reach = Reach::of(cause);
        match reach {
            Reach::Answered => self.finish(lead, result),
            Reach::Never => self.finish(lead, cause.name()),
            Reach::Unanswered => self.again(lead, spacing_ms, now_ms),
            Reach::Line => {
                entry.attempts = entry.attempts.saturating_sub(1);
                entry.line_failures = entry.line_failures.saturating_add(1);
                let tries = entry.line_failures;
                match tries >= LINE_TRIES_MAX {
                    true => self.finish(lead, cause.name()),
                    false => self.again(lead, spacing_ms, now_ms),
                }
            }
        }
        Some(reach != Reach::Line)
    }

    /// An attempt that a crash cut off was one; how it went nobody knows.
    pub fn interrupted(&mut self, lead: LeadId, now_ms: u64) {
        let calling = self.entries.get(&lead).map(|entry| &entry.standing);
        if calling == Some(&Standing::Calling) {
            let spacing_ms = self.pace.spacing_ms;
            self.again(lead, spacing_ms, now_ms);
        }
    }

    /// The gate, or the store, said no before anything was dialled.
    pub fn refused(&mut self, lead: LeadId, now_ms: u64) {
        if self.unqueue(lead) {
            self.wait(lead, REFUSED_AGAIN_MS, now_ms);
        }
    }

    /// This lead is not to be called, whatever was planned.
    pub fn drop_lead(&mut self, lead: LeadId, reason: &str) {
        if self.unqueue(lead) {
            self.stand(lead, Standing::Done(reason.to_owned()));
        }
    }

    /// Those being called.
    pub fn calling(&self) -> impl Iterator<Item = LeadId> {
        let calling = |entry: &&Entry| entry.standing == Standing::Calling;
        let entries = self.entries.iter();
        entries
            .filter(move |(_, entry)| calling(entry))
            .map(|(lead, _)| *lead)
    }

    /// How many are being called.
    pub fn under_way(&self) -> u32 {
        self.calling
    }

    /// Nobody waits and nobody is being called.
    pub fn is_done(&self) -> bool {
        self.waiting() == 0 && self.calling == 0
    }

    /// How it does.
    pub fn progress(&self) -> Progress {
        let mut progress = Progress {
            leads: self.entries.len() as u64,
            waiting: self.waiting() as u64,
            calling: u64::from(self.calling),
            attempts: self.attempts,
            ..Progress::default()
        };
        for entry in self.entries.values() {
            if let Standing::Done(reason) = &entry.standing {
                *progress.done.entry(reason.clone()).or_default() += 1;
            }
        }
        progress
    }

    fn waiting(&self) -> usize {
        self.later.len() + self.due.len()
    }

    /// Takes out one that waits; false: it does not.
    fn unqueue(&mut self, lead: LeadId) -> bool {
        let Some(entry) = self.entries.get(&lead) else {
            return false;
        };
        let Standing::Waiting(due_ms) = entry.standing else {
            return false;
        };
        self.later.remove(&(due_ms, lead)) || self.due.remove(&(-entry.readiness, lead))
    }

    fn again(&mut self, lead: LeadId, after_ms: u64, now_ms: u64) {
        self.calling = self.calling.saturating_sub(1);
        let attempts = self.entries.get(&lead).map_or(0, |entry| entry.attempts);
        if attempts >= self.pace.attempts {
            return self.stand(lead, Standing::Done("not_reached".to_owned()));
        }
        self.wait(lead, after_ms, now_ms);
    }

    fn wait(&mut self, lead: LeadId, after_ms: u64, now_ms: u64) {
        let Some(entry) = self.entries.get_mut(&lead) else {
            return;
        };
        let tries = u64::from(entry.attempts) << 32 | u64::from(entry.line_failures);
        let after_ms = after_ms.max(jitter(self.seed ^ lead.0, tries, after_ms));
        let due_ms = now_ms.saturating_add(after_ms);
        entry.standing = Standing::Waiting(due_ms);
        self.later.insert((due_ms, lead));
    }

    fn finish(&mut self, lead: LeadId, reason: &str) {
        self.calling = self.calling.saturating_sub(1);
        self.stand(lead, Standing::Done(reason.to_owned()));
    }

    fn stand(&mut self, lead: LeadId, standing: Standing) {
        if let Some(entry) = self.entries.get_mut(&lead) {
            entry.standing = standing;
        }
    }
}

/// What the end of an attempt says about reaching the person.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Somebody, or something, took the call.
    Answered,
    /// They were called and did not take it.
    Unanswered,
    /// The number is none.
    Never,
    /// The call never reached them.
    Line,
}

impl Reach {
    fn of(cause: Cause) -> Self {
        match cause {
            Cause::FarHangup | Cause::NearHangup | Cause::MediaTimeout => Self::Answered,
            Cause::Busy | Cause::NoAnswer | Cause::Declined | Cause::Cancelled => Self::Unanswered,
            Cause::Unallocated | Cause::NoRoute => Self::Never,
            Cause::Interrupted | Cause::InternalError | Cause::NoAck => Self::Unanswered,
            Cause::Congestion
            | Cause::NoCommonCodec
            | Cause::SdpRefused
            | Cause::NoSdp
            | Cause::Overload
            | Cause::TrunkDown
            | Cause::Forbidden => Self::Line,
        }
    }
}

/// A wait up to a fifth longer or shorter, always the same for the same arguments.
fn jitter(seed: u64, count: u64, wait_ms: u64) -> u64 {
    // SplitMix64 (Steele, Lea, Flood 2014).
    let mut z = seed.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    let permille = 1_000 - JITTER_PERMILLE + z % (2 * JITTER_PERMILLE + 1);
    wait_ms / 1_000 * permille + wait_ms % 1_000 * permille / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOM: Room = Room {
        slots: 10,
        agents: None,
        line: u32::MAX,
    };

    fn pace(attempts: u32, at_once: u32) -> Pace {
        Pace {
            attempts,
            spacing_ms: 3_600_000,
            at_once,
            per_minute: 1_000,
            agents: false,
        }
    }

    fn pacer(leads: u64, pace: Pace) -> Pacer {
        let mut pacer = Pacer::new(pace, 7);
        for lead in 1..=leads {
            assert!(pacer.add(LeadId(lead), 0));
        }
        pacer
    }

    #[test]
    fn the_readiest_is_called_first_and_nobody_is_listed_twice() {
        let mut pacer = Pacer::new(pace(1, 1), 7);
        for (lead, readiness) in [(1, 0), (2, 3), (3, 1)] {
            assert!(pacer.add(LeadId(lead), readiness));
        }
        assert!(!pacer.add(LeadId(2), 0));
        assert_eq!(pacer.next(0, ROOM), Some(LeadId(2)));
        // Among those whose time has come it does not matter whose came first.
        let mut pacer = Pacer::new(pace(3, 5), 7);
        for (lead, now_ms) in [(1, 0), (2, 60_000), (3, 120_000)] {
            pacer.add(LeadId(lead), 0);
            pacer.dialled(LeadId(lead), now_ms);
            pacer.ended(LeadId(lead), Cause::Busy, "busy", now_ms);
        }
        pacer.rate(LeadId(2), 2);
        let late = 2 * 3_600_000;
        assert_eq!(pacer.next(late, ROOM), Some(LeadId(2)));
        pacer.rate(LeadId(3), 3);
        assert_eq!(pacer.next(late, ROOM), Some(LeadId(3)));
        pacer.drop_lead(LeadId(3), "opted_out");
        assert_eq!(pacer.next(late, ROOM), Some(LeadId(2)));
    }

    #[test]
    fn no_more_calls_than_people_who_are_free_to_take_them() {
        let agents = Pace {
            agents: true,
            ..pace(1, 10)
        };
        let mut pacer = pacer(5, agents);
        let room = |agents| Room { agents, ..ROOM };
        assert_eq!(pacer.next(0, room(None)), None, "nobody has said so lately");
        assert_eq!(pacer.next(0, room(Some(0))), None);
        pacer.dialled(LeadId(1), 0);
        assert_eq!(pacer.next(0, room(Some(1))), None);
        assert!(pacer.next(0, room(Some(2))).is_some());
        let full = Room {
            slots: 0,
            agents: Some(9),
            ..ROOM
        };
        assert_eq!(pacer.next(0, full), None);
    }

    #[test]
    fn a_busy_number_is_tried_again_after_its_spacing_and_then_left_alone() {
        let mut pacer = pacer(1, pace(2, 1));
        let lead = LeadId(1);
        pacer.dialled(lead, 0);
        pacer.ended(lead, Cause::Busy, "busy", 1_000);
        assert_eq!(pacer.next(3_600_000, ROOM), None);
        let due = pacer.next_at(0).unwrap();
        assert!((3_601_000..=4_321_000).contains(&due), "{due}");
        assert_eq!(pacer.next(due, ROOM), Some(lead));
        pacer.dialled(lead, due);
        pacer.ended(lead, Cause::NoAnswer, "no_answer", due);
        assert!(pacer.is_done());
        assert_eq!(pacer.progress().done["not_reached"], 1);
    }

    #[test]
    fn an_attempt_that_a_crash_cut_off_counts() {
        let mut pacer = pacer(1, pace(1, 1));
        pacer.dialled(LeadId(1), 0);
        pacer.interrupted(LeadId(1), 5);
        assert!(
            pacer.is_done(),
            "nobody is called twice because we fell over"
        );
    }

    /// Dials what the lists and their line let; how many, and each fails or rings out.
    fn dial_all(lists: &mut [Pacer], line: &mut Line, now_ms: u64, cause: Cause) -> u32 {
        let mut dials = 0;
        for list in lists {
            loop {
                let room = Room {
                    line: line.room(now_ms, 0),
                    ..ROOM
                };
                let Some(lead) = list.next(now_ms, room) else {
                    break;
                };
                dials += 1;
                list.dialled(lead, now_ms);
                let carried = list.ended(lead, cause, "result", now_ms);
                line.carried(carried.expect("it was being called"), now_ms);
            }
        }
        dials
    }

    #[test]
    fn a_trunk_that_fails_for_all_starts_no_storm_whatever_lists_go_by_it() {
        let mut lists = [1, 2, 3].map(|_| pacer(1_000, pace(3, 50)));
        let mut line = Line::new(7);
        let (mut now_ms, mut dials) = (0, 0);
        // An hour in which everything fails at once.
        while now_ms < 3_600_000 {
            dials += dial_all(&mut lists, &mut line, now_ms, Cause::Congestion);
            now_ms += 1_000;
        }
        assert!(dials <= 25, "{dials} dials into a dead trunk");
        // When it works again one call finds out, and the lists go on at full width.
        let probe_at = line.paused_until(now_ms).unwrap_or(now_ms);
        assert_eq!(line.room(probe_at, 0), 1);
        assert_eq!(line.room(probe_at, 1), 0, "one at a time");
        assert!(dial_all(&mut lists, &mut line, probe_at, Cause::Busy) > 1_000);
    }

    #[test]
    fn a_trunk_that_works_knows_nothing_of_one_that_fails() {
        let (mut dead, mut sound) = (Line::new(1), Line::new(2));
        (0..9).for_each(|at| dead.carried(false, at));
        sound.carried(true, 9);
        assert_eq!((dead.room(9, 0), sound.room(9, 0)), (0, u32::MAX));
    }

    #[test]
    fn those_that_failed_together_do_not_come_back_together() {
        let mut pacer = pacer(100, pace(2, 100));
        for lead in 1..=100 {
            pacer.dialled(LeadId(lead), 0);
            pacer.ended(LeadId(lead), Cause::Busy, "busy", 0);
        }
        let due: BTreeSet<u64> = pacer.later.iter().map(|(due, _)| *due).collect();
        assert!(due.len() > 40, "{}", due.len());
    }

    proptest! {
        #[test]
        fn never_more_than_allowed_whatever_happens(
            steps in prop::collection::vec((0u8..8, 0u64..100_000, 0u32..4), 1..400),
            attempts in 1u32..4, at_once in 1u32..5, per_minute in 1u32..6,
        ) {
            let pace = Pace { attempts, spacing_ms: 30_000, at_once, per_minute, agents: true };
            let mut pacer = pacer(6, pace);
            let mut now_ms = 0;
            let mut made: BTreeMap<LeadId, Vec<u64>> = BTreeMap::new();
            let mut dials: Vec<u64> = Vec::new();
            for (what, step, agents) in steps {
                now_ms += step;
                let calling: Vec<LeadId> = pacer.calling().collect();
                prop_assert!(calling.len() as u32 <= at_once);
                let causes = [Cause::Busy, Cause::NoAnswer, Cause::FarHangup, Cause::TrunkDown,
                    Cause::Unallocated];
                if let (Some(cause), Some(lead)) = (causes.get(usize::from(what)), calling.first()) {
                    if *cause == Cause::TrunkDown {
                        made.get_mut(lead).unwrap().pop();
                    }
                    pacer.ended(*lead, *cause, "result", now_ms);
                    // An answer that comes twice changes nothing.
                    let before = pacer.progress();
                    pacer.ended(*lead, Cause::Busy, "result", now_ms);
                    prop_assert_eq!(before, pacer.progress());
                    continue;
                }
                let room = Room { slots: 3, agents: Some(agents), line: u32::MAX };
                if let Some(lead) = pacer.next(now_ms, room) {
                    prop_assert!((calling.len() as u32) < agents);
                    if what == 7 {
                        pacer.refused(lead, now_ms);
                        continue;
                    }
                    let mine = made.entry(lead).or_default();
                    prop_assert!(mine.last().is_none_or(|last| now_ms >= last + 30_000));
                    mine.push(now_ms);
                    prop_assert!(mine.len() as u32 <= attempts, "{lead} too often");
                    dials.push(now_ms);
                    let minute = dials.iter().filter(|at| **at + 60_000 > now_ms).count();
                    prop_assert!(minute as u32 <= per_minute);
                    pacer.dialled(lead, now_ms);
                }
            }
        }
    }
}
