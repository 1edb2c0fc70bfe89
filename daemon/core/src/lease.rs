//! What is on offer for a while: free slots, prices, free agents. Each has an
//! expiry; what is not renewed is gone, and what is gone is not offered.

use core::time::Duration;
use std::collections::BTreeMap;

use smol_str::format_smolstr;

use crate::action::Action;
use crate::desk::Desk;
use crate::facts::{FactId, Facts};
use crate::gate::NOT_ON_OFFER;
use crate::id::Name;
use crate::input::Lease;

/// Leases of one conversation; what would be one more is not taken.
const LEASES_MAX: usize = 256;

/// Offers and leased facts, each with the instant from which it is gone.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    offers: BTreeMap<String, Duration>,
    facts: BTreeMap<FactId, Duration>,
}

impl Leases {
    /// This very thing is to be had now.
    pub(crate) fn holds(&self, name: &str, now: Duration) -> bool {
        self.offers.get(name).is_some_and(|until| now < *until)
    }

    /// Takes back what is over.
    pub(crate) fn expire(&mut self, now: Duration, facts: &mut Facts) {
        self.offers.retain(|_, until| now < *until);
        self.facts.retain(|fact, until| {
            let lasts = now < *until;
            if !lasts {
                facts.set(*fact, None);
            }
            lasts
        });
    }
}

impl Desk {
    /// What the action needs and nobody offers at this instant.
    pub(crate) fn not_on_offer(
        &self,
        action: &Action,
        fields: &[(String, String)],
    ) -> impl Iterator<Item = Name> {
        let leased = fields
            .iter()
            .filter(|(name, _)| action.leased.contains(name));
        let offers = leased.map(|(name, value)| format!("{name}.{value}"));
        offers
            .filter(|offer| !self.leases.holds(offer, self.now))
            .map(|offer| format_smolstr!("{NOT_ON_OFFER}{offer}"))
    }

    /// Takes what is offered; of the facts only those that may be leased.
    pub(crate) fn lease(&mut self, leases: Vec<Lease>) {
        self.leases.expire(self.now, &mut self.facts);
        for lease in leases {
            let fact = FactId::find(&lease.name);
            let room = self.leases.offers.len() + self.leases.facts.len() < LEASES_MAX;
            match fact {
                Some(fact) if fact.is_fed() && self.now < lease.until => {
                    self.facts.set(fact, Some(lease.value));
                    self.leases.facts.insert(fact, lease.until);
                }
                Some(_) => {}
                None if lease.value <= 0 => drop(self.leases.offers.remove(&lease.name)),
                None if room => drop(self.leases.offers.insert(lease.name, lease.until)),
                None => {}
            }
        }
    }
}
