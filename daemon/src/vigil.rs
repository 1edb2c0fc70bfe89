//! Watches how authorised actions fare, and says when an action should not go
//! by itself any more. It only ever narrows; widening is a person's business,
//! for which it keeps the evidence. The decision thread owns and feeds it; after a
//! start it is read back from the chain.

use std::collections::{BTreeMap, VecDeque};

use offhook_core::autonomy::{Level, Limit};
use offhook_core::{ActionId, ConversationId, Verdict};
use serde::{Deserialize, Serialize};

use crate::store::chain::Kind;
use crate::store::reader::{Reader, What, what};

/// Actions of one role and kind that are looked back upon.
const WINDOW: usize = 20;
/// Fewer than this say nothing.
const LEAST: usize = 10;
/// One in so many gone wrong is drift.
const ONE_IN: usize = 4;
/// Utterances that are looked back upon, of all calls.
const HEARD: usize = 20;
/// Words below this confidence (0 to 100) are a guess.
const GUESSED_BELOW: u8 = 50;
/// One in so many guessed is uncertainty.
const GUESSED_ONE_IN: usize = 2;
/// Rows that the upstream has not acknowledged: beyond it the box is overloaded.
pub const BACKLOG_MAX: u64 = 1_000;
/// Roles and kinds that are watched; policies grant far fewer.
const WATCHED_MAX: usize = 1_024;

/// Rows of the chain that are read back after a start; what is older says little.
const READ_BACK: u32 = 20_000;

/// How one action fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Nothing was heard against it.
    Stands,
    /// The caller took it back.
    TakenBack,
    /// The upstream refused it.
    Rejected,
}

/// A role and an action type.
pub type Key = (String, String);

/// What the recent actions of one role and kind came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// In which role.
    pub role: String,
    /// Which action.
    pub action: String,
    /// Looked back upon.
    pub recent: usize,
    /// Taken back by the caller.
    pub taken_back: usize,
    /// Refused by the upstream.
    pub rejected: usize,
}

/// The recent past.
#[derive(Debug, Default)]
pub struct Vigil {
    recent: BTreeMap<Key, VecDeque<(ActionId, Fate)>>,
    /// Of the last utterances, which were guessed.
    heard: VecDeque<bool>,
}

impl Vigil {
    /// The recent past as the chain has it.
    ///
    /// # Errors
    /// SQLite's.
    pub fn read_back(reader: &Reader) -> rusqlite::Result<Self> {
        let mut vigil = Self::default();
        let mut limits = Vec::new();
        let kinds = [
            Kind::Decision,
            Kind::Withdrawn,
            Kind::Answered,
            Kind::Decree,
        ];
        reader.lately(
            READ_BACK,
            &kinds,
            |conversation, kind, payload| match kind {
                Kind::Decree => vigil.decreed(&mut limits, payload),
                _ => vigil.told(conversation, kind, payload),
            },
        )?;
        Ok(vigil)
    }

    fn told(&mut self, conversation: ConversationId, kind: Kind, payload: &[u8]) {
        match what(conversation, kind, payload) {
            Ok(What::Decision(it, _)) if it.verdict == Verdict::Authorised => {
                self.authorised(it.action, &it.role, &it.kind);
            }
            Ok(What::Withdrawn(action)) => drop(self.went_wrong(action, Fate::TakenBack)),
            Ok(What::Answered(action, Some(_))) => drop(self.went_wrong(action, Fate::Rejected)),
            // Other decisions, or what a newer release wrote.
            _ => {}
        }
    }

    /// Limits that a person has widened since they were `before` are judged anew.
    fn decreed(&mut self, before: &mut Vec<Limit>, payload: &[u8]) {
        #[derive(Deserialize)]
        struct Decreed {
            limits: Vec<Limit>,
        }
        let Ok(Decreed { limits }) = serde_json::from_slice(payload) else {
            return;
        };
        for limit in limits.iter().filter(|it| !before.contains(it)) {
            let same = |it: &&Limit| it.role == limit.role && it.action == limit.action;
            let level = before.iter().find(same).map_or(Level::Ask, |it| it.level);
            if limit.level > level {
                self.forget(&limit.role, &limit.action);
            }
        }
        *before = limits;
    }

    /// An action was authorised.
    pub fn authorised(&mut self, id: ActionId, role: &str, action: &str) {
        let key = (role.to_owned(), action.to_owned());
        if self.recent.len() >= WATCHED_MAX && !self.recent.contains_key(&key) {
            return;
        }
        let recent = self.recent.entry(key).or_default();
        if recent.len() == WINDOW {
            recent.pop_front();
        }
        recent.push_back((id, Fate::Stands));
    }

    /// It went wrong. Why its kind should be narrowed, where it should.
    pub fn went_wrong(&mut self, id: ActionId, fate: Fate) -> Option<(Key, String)> {
        let (key, recent) = self
            .recent
            .iter_mut()
            .find(|(_, recent)| recent.iter().any(|(known, _)| *known == id))?;
        let entry = recent.iter_mut().find(|(known, _)| *known == id)?;
        entry.1 = fate;
        let wrong = recent.iter().filter(|(_, fate)| *fate != Fate::Stands);
        let (wrong, all) = (wrong.count(), recent.len());
        (all >= LEAST && wrong * ONE_IN >= all).then(|| {
            let reason = format!(
                "{wrong} of the last {all} `{}` were taken back or rejected",
                key.1
            );
            (key.clone(), reason)
        })
    }

    /// Words of a whole utterance were recognised. Why what cannot be undone should ask
    /// first, where callers are not understood any more.
    pub fn heard(&mut self, confidence: u8) -> Option<String> {
        self.heard.push_back(confidence < GUESSED_BELOW);
        if self.heard.len() < HEARD {
            return None;
        }
        let guessed = self.heard.iter().filter(|guessed| **guessed).count();
        if guessed * GUESSED_ONE_IN < HEARD {
            self.heard.pop_front();
            return None;
        }
        self.heard.clear();
        Some(format!(
            "{guessed} of the last {HEARD} utterances were hardly understood"
        ))
    }

    /// A person has widened it again: it is judged anew.
    pub fn forget(&mut self, role: &str, action: &str) {
        self.recent.remove(&(role.to_owned(), action.to_owned()));
    }

    /// The evidence, for people.
    pub fn tallies(&self) -> Vec<Tally> {
        let count = |recent: &VecDeque<(ActionId, Fate)>, fate| {
            recent.iter().filter(|(_, known)| *known == fate).count()
        };
        let all = self.recent.iter();
        all.map(|((role, action), recent)| Tally {
            role: role.clone(),
            action: action.clone(),
            recent: recent.len(),
            taken_back: count(recent, Fate::TakenBack),
            rejected: count(recent, Fate::Rejected),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use offhook_core::ConversationId;

    fn id(number: u32) -> ActionId {
        ActionId {
            conversation: ConversationId(1),
            number,
        }
    }

    #[test]
    fn half_of_what_is_said_only_guessed_is_uncertainty_and_is_told_once() {
        let mut vigil = Vigil::default();
        for _ in 0..100 {
            assert_eq!(vigil.heard(90), None);
        }
        let told: Vec<_> = (0..20).filter_map(|_| vigil.heard(30)).collect();
        let words = "10 of the last 20 utterances were hardly understood";
        assert_eq!(told, [words.to_owned()]);
    }

    #[test]
    fn one_in_four_gone_wrong_narrows_once_there_are_ten() {
        let mut vigil = Vigil::default();
        for number in 0..9 {
            vigil.authorised(id(number), "booking", "schedule");
        }
        for number in 0..3 {
            assert_eq!(
                vigil.went_wrong(id(number), Fate::TakenBack),
                None,
                "too few"
            );
        }
        vigil.authorised(id(9), "booking", "schedule");
        let (key, reason) = vigil.went_wrong(id(3), Fate::Rejected).unwrap();
        assert_eq!(key, ("booking".to_owned(), "schedule".to_owned()));
        assert_eq!(
            reason,
            "4 of the last 10 `schedule` were taken back or rejected"
        );
        let tally = &vigil.tallies()[0];
        assert_eq!((tally.recent, tally.taken_back, tally.rejected), (10, 3, 1));
        vigil.forget("booking", "schedule");
        assert_eq!(vigil.tallies(), []);
        assert_eq!(
            vigil.went_wrong(id(77), Fate::Rejected),
            None,
            "nobody knows it"
        );
    }

    #[test]
    fn only_the_last_twenty_count() {
        let mut vigil = Vigil::default();
        for number in 0..25 {
            vigil.authorised(id(number), "booking", "schedule");
        }
        for number in 0..9 {
            assert_eq!(vigil.went_wrong(id(number), Fate::TakenBack), None);
        }
        assert_eq!(vigil.tallies()[0].taken_back, 4, "5 to 8 of 5 to 24");
    }
}
