//! What is known of numbers across calls: attempts of the last day, opt-outs.
//!
//! Owned by the decision thread, filled from the store at the start; a later
//! memory of leads grows from here.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use offhook_core::input::Fact;

use crate::clock;
use crate::facts::fact;
use crate::store::reader::Reader;

/// Contacts count for a day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Numbers and what is known of them.
#[derive(Debug, Default)]
pub struct Leads {
    contacts: HashMap<String, VecDeque<Duration>>,
    opted_out: BTreeSet<String>,
    /// Actions of all leads that the upstream has not acknowledged.
    pub backlog: u64,
}

impl Leads {
    /// What the store remembers: calls of the last day, opt-outs for ever.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn load(reader: &Reader) -> rusqlite::Result<Self> {
        let mut leads = Self::default();
        let since = clock::wall().saturating_sub(DAY);
        for (number, started_ms) in reader.dialled_since(since.as_millis() as u64)? {
            leads.contacted(&number, Duration::from_millis(started_ms));
        }
        reader
            .opted_out()?
            .iter()
            .for_each(|number| leads.opt_out(number));
        let counts = reader.counts()?;
        leads.backlog = counts.pending + counts.held;
        Ok(leads)
    }

    /// We called this number at this wall time.
    pub fn contacted(&mut self, number: &str, wall: Duration) {
        let contacts = self.contacts.entry(number.to_owned()).or_default();
        contacts.push_back(wall);
        while contacts.front().is_some_and(|first| *first + DAY <= wall) {
            contacts.pop_front();
        }
    }

    /// This number does not want to be called.
    pub fn opt_out(&mut self, number: &str) {
        self.opted_out.insert(number.to_owned());
    }

    /// What the gate may know of a number at this wall time.
    pub fn facts(&self, number: &str, wall: Duration) -> Vec<Fact> {
        let recent = |contact: &&Duration| **contact + DAY > wall;
        let contacts = self
            .contacts
            .get(number)
            .map_or(0, |times| times.iter().filter(recent).count());
        vec![
            fact("contacts_24h", contacts.try_into().unwrap_or(i64::MAX)),
            fact("do_not_call", self.opted_out.contains(number).into()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(leads: &Leads, name: &str, wall: Duration) -> Option<i64> {
        let facts = leads.facts("+1", wall);
        facts
            .iter()
            .find(|fact| fact.name == name)
            .and_then(|fact| fact.value)
    }

    #[test]
    fn a_contact_counts_for_a_day() {
        let mut leads = Leads::default();
        let start = DAY * 100;
        leads.contacted("+1", start);
        leads.contacted("+1", start + DAY / 2);
        leads.contacted("+2", start);
        assert_eq!(value(&leads, "contacts_24h", start + DAY / 2), Some(2));
        assert_eq!(value(&leads, "contacts_24h", start + DAY), Some(1));
        assert_eq!(value(&leads, "contacts_24h", start + DAY * 2), Some(0));
    }

    #[test]
    fn an_opt_out_is_not_forgotten() {
        let mut leads = Leads::default();
        assert_eq!(value(&leads, "do_not_call", DAY), Some(0));
        leads.opt_out("+1");
        assert_eq!(value(&leads, "do_not_call", DAY * 400), Some(1));
    }
}
