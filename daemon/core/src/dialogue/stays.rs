//! What came of each stay in a stage: kept as the dialogue walks, told in the outcome.

use core::time::Duration;

use smallvec::SmallVec;

use super::Dialogue;
use crate::id::Name;
use crate::output::{STAYS_MAX, Stay};
use crate::playbook::StageId;

/// A stay, as it is kept.
#[derive(Debug)]
pub(super) struct Visit {
    stage: StageId,
    since: Duration,
    turns: u32,
    answers: SmallVec<[(Name, Name); 1]>,
}

impl Dialogue {
    /// A stay begins.
    pub(super) fn visit(&mut self, now: Duration, stage: StageId) {
        if self.visits.len() == STAYS_MAX {
            self.visits.pop_front();
        }
        self.visits.push_back(Visit {
            stage,
            since: now,
            turns: 0,
            answers: SmallVec::new(),
        });
    }

    /// The caller has said something in it.
    pub(super) fn turn_here(&mut self) {
        if let Some(visit) = self.visits.back_mut() {
            visit.turns = visit.turns.saturating_add(1);
        }
    }

    /// The caller has answered something in it; an answer to the same takes its place.
    pub(super) fn answer_here(&mut self, name: &Name, value: &Name) {
        let Some(visit) = self.visits.back_mut() else {
            return;
        };
        match visit.answers.iter_mut().find(|(known, _)| known == name) {
            Some((_, before)) => *before = value.clone(),
            None => visit.answers.push((name.clone(), value.clone())),
        }
    }

    /// All stays, the last of which ended then.
    pub(crate) fn stays(&self, end: Duration) -> Vec<Stay> {
        let ends = self.visits.iter().skip(1).map(|next| next.since);
        let visits = self.visits.iter().zip(ends.chain([end]));
        let told = |(name, value): &(Name, Name)| (name.to_string(), value.to_string());
        let stay = |(visit, end): (&Visit, Duration)| {
            let stage = self.playbook.stage(visit.stage);
            let ms = end.saturating_sub(visit.since).as_millis();
            Stay {
                role: self.playbook.role(stage.role).name.to_string(),
                stage: stage.name.to_string(),
                ms: ms.try_into().unwrap_or(u64::MAX),
                turns: visit.turns,
                result: stage.result.clone(),
                answers: visit.answers.iter().map(told).collect(),
            }
        };
        visits.map(stay).collect()
    }
}
