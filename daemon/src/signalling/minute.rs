//! What went on at the SIP sockets: one line a minute in the journal, and only
//! when there is something to tell.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use offhook_sip::Counters;

use crate::house::House;

/// How often a line is written.
const EVERY: Duration = Duration::from_secs(60);
/// Addresses of strangers that are told apart in one minute.
const STRANGERS_MAX: usize = 64;

/// The minute that runs.
#[derive(Debug, Default)]
pub(super) struct Minute {
    began: Duration,
    told: Counters,
    told_edge: Edge,
    strangers: HashMap<IpAddr, u32>,
}

/// What the daemon counts beside its endpoint: who came to the edge and got no further.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Edge {
    streams_refused: u64,
    streams_slow: u64,
    streams_stalled: u64,
    tls_failed: u64,
    calls_refused: u64,
    outbound_refused: u64,
    rtp_foreign: u64,
    rtp_forged: u64,
}

impl Edge {
    /// As it stands.
    pub(super) fn of(house: &House) -> Self {
        // Relaxed: numbers that are shown, they order nothing.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let sip = &house.sip;
        Self {
            streams_refused: read(&sip.streams_refused),
            streams_slow: read(&sip.streams_slow),
            streams_stalled: read(&sip.streams_stalled),
            tls_failed: read(&sip.tls_failed),
            calls_refused: read(&sip.calls_refused),
            outbound_refused: house.trunks.refused_calls(),
            rtp_foreign: read(&house.rtp_foreign),
            rtp_forged: read(&house.rtp_forged),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            streams_refused: self.streams_refused - before.streams_refused,
            streams_slow: self.streams_slow - before.streams_slow,
            streams_stalled: self.streams_stalled - before.streams_stalled,
            tls_failed: self.tls_failed - before.tls_failed,
            calls_refused: self.calls_refused - before.calls_refused,
            outbound_refused: self.outbound_refused - before.outbound_refused,
            rtp_foreign: self.rtp_foreign - before.rtp_foreign,
            rtp_forged: self.rtp_forged - before.rtp_forged,
        }
    }
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
    pub(super) fn due(&self, counters: &Counters, edge: &Edge) -> Option<Duration> {
        let news = counters.received != self.told.received || *edge != self.told_edge;
        news.then_some(self.began + EVERY)
    }

    /// Writes the line when it is time.
    pub(super) fn look(&mut self, now: Duration, counters: &Counters, edge: &Edge) {
        if now < self.began + EVERY {
            return;
        }
        let sum = self.sum(counters);
        let most = self.strangers.iter().max_by_key(|(_, count)| **count);
        let worst = most.map_or_else(String::new, |(address, count)| {
            format!("{address} ({count})")
        });
        let hostile = sum.strangers + sum.malformed + sum.wrong_passwords + sum.over_limit;
        let edge_sum = edge.since(&self.told_edge);
        if hostile > 0 || edge_sum != Edge::default() {
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
                streams_refused = edge_sum.streams_refused,
                streams_slow = edge_sum.streams_slow,
                streams_stalled = edge_sum.streams_stalled,
                tls_failed = edge_sum.tls_failed,
                calls_refused = edge_sum.calls_refused,
                outbound_refused = edge_sum.outbound_refused,
                rtp_foreign = edge_sum.rtp_foreign,
                rtp_forged = edge_sum.rtp_forged,
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
            told_edge: edge.clone(),
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
        let mut edge = Edge::default();
        assert_eq!(minute.due(&counters, &edge), Some(EVERY));
        minute.look(EVERY, &counters, &edge);
        assert_eq!(minute.due(&counters, &edge), None, "nothing more has come");
        edge.calls_refused = 5;
        assert_eq!(minute.due(&counters, &edge), Some(2 * EVERY));
        assert_eq!(edge.since(&minute.told_edge), edge);
        assert!(minute.strangers.is_empty());
        counters.refused_strangers += 3;
        minute.look(EVERY + Duration::from_secs(1), &counters, &edge);
        let sum = minute.sum(&counters);
        assert_eq!(
            (sum.received, sum.strangers),
            (0, 3),
            "the minute still runs"
        );
    }
}
