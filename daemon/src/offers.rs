//! What upstream says is to be had, and until when: free slots, prices, free
//! agents. The decision thread owns it and tells every call; what is not
//! renewed is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use offhook_core::input::Lease;

/// Offers that are kept; what would be one more is not taken.
const OFFERS_MAX: usize = 256;

/// Offers by name.
#[derive(Debug, Default)]
pub struct Offers(BTreeMap<String, (i64, Duration)>);

impl Offers {
    /// Takes an offer, or takes it back. False: there is no room.
    pub fn take(&mut self, lease: &Lease, now: Duration) -> bool {
        self.0.retain(|_, (_, until)| now < *until);
        if self.0.len() >= OFFERS_MAX && !self.0.contains_key(&lease.name) {
            return false;
        }
        self.0
            .insert(lease.name.clone(), (lease.value, lease.until));
        true
    }

    /// The value, while it lasts.
    pub fn value(&self, name: &str, now: Duration) -> Option<i64> {
        let (value, until) = self.0.get(name)?;
        (now < *until).then_some(*value)
    }

    /// All that a call that begins now is told.
    pub fn all(&self, now: Duration) -> Vec<Lease> {
        let lasting = self.0.iter().filter(|(_, (_, until))| now < *until);
        lasting
            .map(|(name, (value, until))| Lease {
                name: name.clone(),
                value: *value,
                until: *until,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_ends_when_it_is_not_renewed_and_there_is_a_limit() {
        let second = Duration::from_secs(1);
        let lease = |name: &str, until| Lease {
            name: name.to_owned(),
            value: 2,
            until,
        };
        let mut offers = Offers::default();
        assert!(offers.take(&lease("agents_free", second), Duration::ZERO));
        assert_eq!(offers.value("agents_free", Duration::ZERO), Some(2));
        assert_eq!(offers.value("agents_free", second), None);
        let more =
            (0..300).filter(|n| offers.take(&lease(&format!("slot.{n}"), second * 9), second));
        assert_eq!(more.count(), OFFERS_MAX);
        assert_eq!(offers.all(second).len(), OFFERS_MAX);
    }
}
