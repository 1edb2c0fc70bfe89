//! What went on at the SIP sockets: one line a minute in the journal, and only
//! when there is something to tell.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use offhook_sip::Counters;

/// How often a line is written.
const EVERY: Duration = Duration::from_secs(60);
/// Addresses of strangers that are told apart in one minute.
const STRANGERS_MAX: usize = 64;

/// The minute that runs.
#[derive(Debug, Default)]
pub(super) struct Minute {
    began: Duration,
    told: Counters,
    strangers: HashMap<IpAddr, u32>,
}

/// What one minute brought.
#[derive(Debug, PartialEq, Eq)]
struct Sum {
    received: u64,
    strangers: u64,
    ignored: u64,
    malformed: u64,
    wrong_passwords: u64,
    unknown_dialog: u64,
    over_limit: u64,
    retransmitted: u64,
}

impl Minute {
    /// A message of a stranger came.
    pub(super) fn stranger(&mut self, address: IpAddr) {
        if self.strangers.len() < STRANGERS_MAX || self.strangers.contains_key(&address) {
            *self.strangers.entry(address).or_insert(0) += 1;
        }
    }

    /// When there will be something to tell, if nothing more comes.
    pub(super) fn due(&self, counters: &Counters) -> Option<Duration> {
        (counters.received != self.told.received).then_some(self.began + EVERY)
    }

    /// Writes the line when it is time.
    pub(super) fn look(&mut self, now: Duration, counters: &Counters) {
        if now < self.began + EVERY {
            return;
        }
        let sum = self.sum(counters);
        let most = self.strangers.iter().max_by_key(|(_, count)| **count);
        let worst = most.map_or_else(String::new, |(address, count)| {
            format!("{address} ({count})")
        });
        let hostile = sum.strangers + sum.malformed + sum.wrong_passwords + sum.over_limit;
        if hostile > 0 {
            tracing::warn!(
                message = "sip_minute",
                received = sum.received,
                strangers = sum.strangers,
                ignored = sum.ignored,
                malformed = sum.malformed,
                wrong_passwords = sum.wrong_passwords,
                unknown_dialog = sum.unknown_dialog,
                over_limit = sum.over_limit,
                retransmitted = sum.retransmitted,
                worst
            );
        } else if sum.received > 0 {
            tracing::info!(
                message = "sip_minute",
                received = sum.received,
                unknown_dialog = sum.unknown_dialog,
                retransmitted = sum.retransmitted
            );
        }
        *self = Self {
            began: now,
            told: counters.clone(),
            strangers: HashMap::new(),
        };
    }

    fn sum(&self, now: &Counters) -> Sum {
        let before = &self.told;
        Sum {
            received: now.received - before.received,
            strangers: now.refused_strangers - before.refused_strangers,
            ignored: now.ignored_strangers - before.ignored_strangers,
            malformed: now.malformed_total() - before.malformed_total(),
            wrong_passwords: now.wrong_passwords - before.wrong_passwords,
            unknown_dialog: now.unknown_dialog - before.unknown_dialog,
            over_limit: now.refused_by_limit - before.refused_by_limit,
            retransmitted: now.retransmitted - before.retransmitted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_minute_counts_for_itself_and_strangers_are_bounded() {
        let mut minute = Minute::default();
        let mut counters = Counters {
            received: 10,
            refused_strangers: 4,
            ..Counters::default()
        };
        for number in 0..200_u8 {
            minute.stranger(IpAddr::from([192, 0, 2, number]));
        }
        assert_eq!(minute.strangers.len(), STRANGERS_MAX);
        assert_eq!(minute.sum(&counters).strangers, 4);
        assert_eq!(minute.due(&counters), Some(EVERY));
        minute.look(EVERY, &counters);
        assert_eq!(minute.due(&counters), None, "nothing more has come");
        assert!(minute.strangers.is_empty());
        counters.refused_strangers += 3;
        minute.look(EVERY + Duration::from_secs(1), &counters);
        let sum = minute.sum(&counters);
        assert_eq!(
            (sum.received, sum.strangers),
            (0, 3),
            "the minute still runs"
        );
    }
}
