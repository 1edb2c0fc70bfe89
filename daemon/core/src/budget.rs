//! What contacts cost, and what is left: per lead, per campaign, per day.
//!
//! Points are the operator's own unit (cents, seconds of a closer). It adds up
//! and compares; refusing is the gate's part, which reads what is left as facts.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::memory::LeadId;

/// Limits in points; without one there is no fact, and a rule that reads it denies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// For one lead, all in all.
    pub lead: Option<i64>,
    /// For one campaign, where it does not say itself.
    pub campaign: Option<i64>,
    /// For the box in one day, by its own midnight in UTC.
    pub day: Option<i64>,
    /// An attempt to reach somebody.
    pub attempt: i64,
    /// A minute of talk, begun ones count.
    pub minute: i64,
    /// A minute of a person's who has the call, beside `minute`; begun ones count.
    pub person: i64,
}

/// Points that were spent, and on what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expense {
    /// So much.
    pub points: i64,
    /// For `attempt`, `minutes` (a person's too), or an action's type.
    pub on: String,
    /// In which campaign, if any.
    pub campaign: Option<String>,
    /// Day since 1970 in UTC.
    pub day: u64,
}

/// What was spent so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    leads: BTreeMap<LeadId, i64>,
    campaigns: BTreeMap<String, i64>,
    /// The latest day, and what was spent in it.
    day: (u64, i64),
}

impl Spent {
    /// Adds an expense.
    pub fn add(&mut self, lead: LeadId, expense: &Expense) {
        let spent = self.leads.entry(lead).or_default();
        *spent = spent.saturating_add(expense.points);
        if let Some(campaign) = &expense.campaign {
            let spent = self.campaigns.entry(campaign.clone()).or_default();
            *spent = spent.saturating_add(expense.points);
        }
        if expense.day > self.day.0 {
            self.day = (expense.day, 0);
        }
        if expense.day == self.day.0 {
            self.day.1 = self.day.1.saturating_add(expense.points);
        }
    }

    /// What a lead that turned out to be another was spent on counts for that one.
    pub fn merge(&mut self, from: LeadId, into: LeadId) {
        if let Some(spent) = self.leads.remove(&from) {
            let sum = self.leads.entry(into).or_default();
            *sum = sum.saturating_add(spent);
        }
    }

    /// Nothing is known of a lead that was forgotten.
    pub fn forget(&mut self, lead: LeadId) {
        self.leads.remove(&lead);
    }

    /// What was spent on a lead.
    pub fn on_lead(&self, lead: LeadId) -> i64 {
        self.leads.get(&lead).copied().unwrap_or(0)
    }

    /// What was spent in a campaign.
    pub fn in_campaign(&self, campaign: &str) -> i64 {
        self.campaigns.get(campaign).copied().unwrap_or(0)
    }

    /// What was spent on that day.
    pub fn on_day(&self, day: u64) -> i64 {
        match self.day.0 == day {
            true => self.day.1,
            false => 0,
        }
    }
}

impl Budget {
    /// What talk of that length costs, a part of it with a person.
    pub fn talk(&self, talk: Duration, with_person: Duration) -> i64 {
        let talk = self.minute.saturating_mul(begun_minutes(talk));
        talk.saturating_add(self.person.saturating_mul(begun_minutes(with_person)))
    }
}

fn begun_minutes(time: Duration) -> i64 {
    i64::try_from(time.as_millis().div_ceil(60_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_add_up_by_lead_campaign_and_day() {
        let mut spent = Spent::default();
        let mut spend = |lead, points, campaign: Option<&str>, day| {
            let campaign = campaign.map(str::to_owned);
            let on = "attempt".to_owned();
            spent.add(
                LeadId(lead),
                &Expense {
                    points,
                    on,
                    campaign,
                    day,
                },
            );
        };
        spend(1, 5, Some("spring"), 10);
        spend(1, 7, None, 10);
        spend(2, 11, Some("spring"), 11);
        // A clock that went back: the day is over.
        spend(2, 13, None, 10);
        assert_eq!(spent.on_lead(LeadId(1)), 12);
        assert_eq!(spent.in_campaign("spring"), 16);
        assert_eq!((spent.on_day(11), spent.on_day(10)), (11, 0));
        spent.merge(LeadId(1), LeadId(2));
        assert_eq!(
            (spent.on_lead(LeadId(1)), spent.on_lead(LeadId(2))),
            (0, 36)
        );
    }

    #[test]
    fn begun_minutes_count() {
        let budget = Budget {
            minute: 3,
            person: 50,
            ..Budget::default()
        };
        for (talk, with_person, points) in [
            (0, 0, 0),
            (1, 0, 3),
            (60, 0, 3),
            (61, 0, 6),
            (61, 1, 56),
            (121, 61, 109),
        ] {
            let [talk, with_person] = [talk, with_person].map(Duration::from_secs);
            assert_eq!(budget.talk(talk, with_person), points);
        }
    }
}
