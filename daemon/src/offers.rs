//! What upstream says is to be had, and until when: free slots, prices, free
//! agents; and of one person, how their account stands. The decision thread owns it
//! and tells every call that it concerns; what is not renewed is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use offhook_core::LeadId;
use offhook_core::input::Lease;

/// Offers that are kept; what would be one more is not taken.
const OFFERS_MAX: usize = 256;
/// The same of what concerns one person alone.
const OWN_MAX: usize = 10_000;

/// To everybody, or to this person, by name.
type Key = (Option<LeadId>, String);

/// Offers by name.
#[derive(Debug, Default)]
pub struct Offers(BTreeMap<Key, (i64, Duration)>);

impl Offers {
    /// Takes an offer to everybody, or to one person, or takes it back. False: there
    /// is no room.
    pub fn take(&mut self, of: Option<LeadId>, lease: &Lease, now: Duration) -> bool {
        self.0.retain(|_, (_, until)| now < *until);
        let most = if of.is_some() { OWN_MAX } else { OFFERS_MAX };
        let alike = self.0.keys().filter(|(to, _)| to.is_some() == of.is_some());
        let key = (of, lease.name.clone());
        if alike.count() >= most && !self.0.contains_key(&key) {
            return false;
        }
        self.0.insert(key, (lease.value, lease.until));
        true
    }

    /// What was offered to everybody and somebody has now. False: nobody offered it.
    pub fn give(&mut self, name: &str) -> bool {
        self.0.remove(&(None, name.to_owned())).is_some()
    }

    /// The value, while it lasts.
    pub fn value(&self, name: &str, now: Duration) -> Option<i64> {
        let (value, until) = self.0.get(&(None, name.to_owned()))?;
        (now < *until).then_some(*value)
    }

    /// All that a call that begins now is told; or one with that person, besides.
    pub fn all(&self, of: Option<LeadId>, now: Duration) -> Vec<Lease> {
        let lasting = self.0.range((of, String::new())..);
        lasting
            .take_while(|((to, _), _)| *to == of)
            .filter(|(_, (_, until))| now < *until)
            .map(|((_, name), (value, until))| Lease {
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
        assert!(offers.take(None, &lease("agents_free", second), Duration::ZERO));
        assert_eq!(offers.value("agents_free", Duration::ZERO), Some(2));
        assert_eq!(offers.value("agents_free", second), None);
        assert!(!offers.give("slot.1"), "nobody offered it");
        assert!(offers.take(None, &lease("slot.1", second * 9), second));
        assert!(offers.give("slot.1"));
        assert_eq!(offers.value("slot.1", second), None);
        let more = (0..300)
            .filter(|n| offers.take(None, &lease(&format!("slot.{n}"), second * 9), second));
        assert_eq!(more.count(), OFFERS_MAX);
        assert_eq!(offers.all(None, second).len(), OFFERS_MAX);
    }

    #[test]
    fn what_is_one_persons_is_told_to_nobody_else() {
        let minute = Duration::from_secs(60);
        let lease = Lease {
            name: "account_ok".to_owned(),
            value: 0,
            until: minute,
        };
        let mut offers = Offers::default();
        assert!(offers.take(Some(LeadId(7)), &lease, Duration::ZERO));
        assert_eq!(offers.all(Some(LeadId(7)), Duration::ZERO), [lease]);
        assert_eq!(offers.all(Some(LeadId(8)), Duration::ZERO), []);
        assert_eq!(offers.all(None, Duration::ZERO), []);
        assert_eq!(offers.value("account_ok", Duration::ZERO), None);
        assert_eq!(offers.all(Some(LeadId(7)), minute), []);
    }
}
