//! Reports of a leg that wait for room in the ring; what does not fit is counted and
//! said. Called by the leg; does not allocate or block.

use std::time::Duration;

use heapless::Deque;

use super::outlet::Outlet;
use super::words::{Report, ReportKind, SlotId};

/// Reports kept while the ring is full (DESIGN: "the ear keeps up to 8").
const KEPT: usize = 8;

/// Reports that wait for room in the ring.
pub(super) struct Reporter {
    pub(super) slot: SlotId,
    kept: Deque<Report, KEPT>,
    lost: u32,
    /// Since the leg began.
    pub(super) lost_ever: u32,
}

impl Reporter {
    /// Nothing was reported yet.
    pub(super) fn new(slot: SlotId) -> Self {
        Self {
            slot,
            kept: Deque::new(),
            lost: 0,
            lost_ever: 0,
        }
    }

    /// Passes a report on, or keeps it, or counts it as lost.
    pub(super) fn report(
        &mut self,
        out: &mut impl Outlet,
        at: Duration,
        sample: u64,
        kind: ReportKind,
    ) {
        let report = Report {
            slot: self.slot,
            at,
            sample,
            kind,
        };
        if self.lost > 0 {
            self.lose();
            return;
        }
        if self.kept.is_empty() && out.report(&report) {
            return;
        }
        if self.kept.push_back(report).is_err() {
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.lost = self.lost.saturating_add(1);
        self.lost_ever = self.lost_ever.saturating_add(1);
    }

    /// Passes on what waited, then says how much was lost. `false` if there is no room yet.
    pub(super) fn flush(
        &mut self,
        out: &mut impl Outlet,
        stand: impl FnOnce(u32) -> (Duration, u64, ReportKind),
    ) -> bool {
        while let Some(report) = self.kept.front() {
            if !out.report(report) {
                return false;
            }
            self.kept.pop_front();
        }
        if self.lost == 0 {
            return true;
        }
        let (at, sample, kind) = stand(self.lost);
        let slot = self.slot;
        let told = out.report(&Report {
            slot,
            at,
            sample,
            kind,
        });
        if told {
            self.lost = 0;
        }
        told
    }
}
